package xapi

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/url"
)

// DumpDatabaseOptions of [Client.DumpDatabase]; nil and zero fields mean the default.
type DumpDatabaseOptions struct {
	Name string // of the pool's task
}

// DumpDatabase opens the pool's whole database for reading, as XML; it needs the role of a pool administrator. The dump holds secrets.
// It has no length and no checksum: Finish accepts it when the pool reports success and it ends as such a document does. Always Close
// the download.
func (c *Client) DumpDatabase(ctx context.Context, opts *DumpDatabaseOptions) (*Download, error) {
	if opts == nil {
		opts = &DumpDatabaseOptions{}
	}
	d, err := c.download(ctx, "dump of the database", opts.Name, "pool/xmldbdump", url.Values{})
	if err == nil {
		d.proof = (*Download).isDocument
	}
	return d, err
}

// isDocument looks at the end of a dump.
func (d *Download) isDocument() error {
	if bytes.HasSuffix(bytes.TrimSpace(d.last.bytes()), []byte("</database>")) {
		return nil
	}
	return fmt.Errorf("xapi: %s: %w: no end of the document after %d bytes: %w", d.transfer.what, ErrTruncated, d.count, io.ErrUnexpectedEOF)
}

// lastBytes are the last ones of a stream.
type lastBytes struct {
	kept [32]byte
	n    int
}

func (l *lastBytes) add(p []byte) {
	p = p[max(0, len(p)-len(l.kept)):]
	drop := max(0, l.n+len(p)-len(l.kept))
	copy(l.kept[:], l.kept[drop:l.n])
	l.n = l.n - drop + copy(l.kept[l.n-drop:], p)
}

func (l *lastBytes) bytes() []byte { return l.kept[:l.n] }
