package xapi

import (
	"context"
	"net/url"
)

// DumpDatabaseOptions of [Client.DumpDatabase]; nil and zero fields mean the default.
type DumpDatabaseOptions struct {
	Name string // of the pool's task
}

// DumpDatabase opens the pool's whole database for reading, as XML; it needs the role of a pool administrator. The dump holds secrets.
// It has no length and no checksum: complete is what Finish accepts and what ends with </database>. Always Close the download.
func (c *Client) DumpDatabase(ctx context.Context, opts *DumpDatabaseOptions) (*Download, error) {
	if opts == nil {
		opts = &DumpDatabaseOptions{}
	}
	return c.download(ctx, "dump of the database", opts.Name, "pool/xmldbdump", url.Values{})
}
