package xapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"sync"
)

// ExportVDIOptions of [Client.ExportVDI]; nil and zero fields mean the default.
type ExportVDIOptions struct {
	Format string   // vhd, the default, or raw
	Base   Ref[VDI] // vhd only: export what differs from this disk, in blocks of 2 MiB
	Name   string   // of the pool's task; by default it names the disk
}

// A Download is a disk, a VM, or metadata on its way from the pool. Reading to io.EOF proves nothing: the pool ends a failed export the same way.
// [Download.Finish] does; what the bytes mean is for the reader of the format to prove. Read and Finish are for one goroutine;
// Close may be called from any.
type Download struct {
	transfer *transfer
	outer    context.Context //nolint:containedctx // a download belongs to the context it was opened with, as http.Response.Body does
	ctx      context.Context //nolint:containedctx // ends when the download is closed or stalls
	end      context.CancelCauseFunc
	body     io.ReadCloser
	sized    bool                  // a length was announced
	proof    func(*Download) error // that it is complete, when the pool says so; nil where only a reader of the format can tell
	dog      *watchdog
	pulse    *pulse // nil where silence is a stall
	count    int64
	last     lastBytes
	err      error // of Read, for good

	once     sync.Once
	finished error
}

// ExportVDI opens a disk for reading: a VHD stream, or with format raw exactly VirtualSize bytes, which Finish insists on. It returns when
// the host has begun to answer; the first byte may take minutes more, while the host looks for blocks that are not zero. The download
// ends with ctx. Always Close it.
func (c *Client) ExportVDI(ctx context.Context, vdi Ref[VDI], opts *ExportVDIOptions) (*Download, error) {
	if opts == nil {
		opts = &ExportVDIOptions{}
	}
	query := url.Values{"vdi": {string(vdi)}, "format": {"vhd"}}
	if opts.Format != "" {
		query.Set("format", opts.Format)
	}
	if !opts.Base.IsNull() {
		query.Set("base", string(opts.Base))
	}
	what := "export of VDI " + string(vdi)
	if opts.Format != "raw" {
		return c.download(ctx, what, opts.Name, "export_raw_vdi", query)
	}
	if !opts.Base.IsNull() {
		return nil, fmt.Errorf("xapi: %s: a raw export has no base: what did not change could not be told from zeros", what)
	}
	var size int64
	if err := c.Call(ctx, "VDI.get_virtual_size", &size, vdi); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	d, err := c.download(ctx, what, opts.Name, "export_raw_vdi", query)
	if err == nil {
		d.proof = func(d *Download) error { return d.measure(size) }
	}
	return d, err
}

// measure is for a stream of known size.
func (d *Download) measure(size int64) error {
	switch {
	case d.count < size:
		return fmt.Errorf("xapi: %s: %w: %d of %d bytes: %w", d.transfer.what, ErrTruncated, d.count, size, io.ErrUnexpectedEOF)
	case d.count > size:
		return fmt.Errorf("xapi: %s: %w: %d bytes, and the disk has %d", d.transfer.what, ErrProtocol, d.count, size)
	default:
		return nil
	}
}

// download makes the transfer of an export, again when the handler wants another session.
func (c *Client) download(ctx context.Context, what, name, path string, query url.Values) (*Download, error) {
	for logins := 0; ; logins++ {
		t, err := c.newTransfer(ctx, what, name)
		if err != nil {
			return nil, err
		}
		d, err := t.download(ctx, t.url(path, query))
		if err == nil {
			return d, nil
		}
		unauthorized := errors.Is(err, ErrSessionInvalid)
		err = t.explain(ctx, err)
		if !unauthorized || logins == maxLogins {
			return nil, err
		}
		if err := t.renew(ctx); err != nil {
			return nil, err
		}
	}
}

// download sends the request and returns when the status has come.
func (t *transfer) download(outer context.Context, from *url.URL) (*Download, error) {
	ctx, end := context.WithCancelCause(outer)
	dog := newWatchdog(t.client.opts.FirstByteTimeout, end)
	resp, err := t.send(ctx, from, nil) //nolint:bodyclose // the Download closes it
	dog.rest()
	if err != nil {
		end(context.Canceled)
		return nil, err
	}
	return &Download{
		transfer: t, outer: outer, ctx: ctx, end: end, dog: dog,
		body: resp.Body, sized: resp.ContentLength >= 0 || len(resp.TransferEncoding) > 0,
	}, nil
}

// Read implements io.Reader. Besides io.EOF its errors are ErrStalled, ErrTruncated for a connection that broke, ErrClosed, and the
// cause of the context; each is final. Nothing is on the clock between two Reads.
func (d *Download) Read(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	d.dog.watch()
	n, err := d.body.Read(p)
	d.dog.rest()
	if n > 0 && d.count == 0 {
		d.dog.moved(d.transfer.client.opts.StallTimeout)
		d.dog.rest()
	}
	d.count += int64(n)
	d.last.add(p[:n])
	if err != nil {
		d.err = d.readError(err)
	}
	return n, d.err
}

// readError keeps io.EOF. Without a length the end of the stream is the end of the connection, and a TLS peer that just hangs up is
// no more suspicious than one that says goodbye: Finish has the last word.
func (d *Download) readError(err error) error {
	switch {
	case d.ctx.Err() != nil:
		return fmt.Errorf("xapi: %s: after %d bytes: %w", d.transfer.what, d.count, context.Cause(d.ctx))
	case errors.Is(err, io.EOF), !d.sized && errors.Is(err, io.ErrUnexpectedEOF):
		return io.EOF
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("xapi: %s: after %d bytes: %w: %w", d.transfer.what, d.count, ErrTruncated, err)
	default:
		err = d.transfer.client.secrets.wrap(err)
		return fmt.Errorf("xapi: %s: after %d bytes: %w: %w: %w", d.transfer.what, d.count, ErrTruncated, io.ErrUnexpectedEOF, err)
	}
}

// Finish discards what was not read, waits for the pool's verdict, and returns nil only when the pool sent all it meant to. A failed
// export is an *Error, also when the connection broke over it. It ends the download: later calls return the same error, and Close
// has nothing left to do. Without a verdict for Options.StallTimeout after the last byte the error is ErrStalled.
func (d *Download) Finish(ctx context.Context) error {
	d.once.Do(func() { d.finished = d.finish(ctx) })
	return d.finished
}

func (d *Download) finish(ctx context.Context) error {
	both, cancel := context.WithCancelCause(ctx)
	defer cancel(context.Canceled)
	defer context.AfterFunc(ctx, func() { d.end(context.Cause(ctx)) })()
	defer context.AfterFunc(d.ctx, func() { cancel(context.Cause(d.ctx)) })()
	defer d.release()
	t := d.transfer
	_, err := io.Copy(io.Discard, d)
	if err == nil {
		waiting, cancel := context.WithTimeoutCause(both, t.client.opts.StallTimeout, ErrStalled)
		defer cancel()
		var refused *Error
		if err = t.verdict(waiting); err == nil || errors.As(err, &refused) {
			t.end(ctx)
			if err == nil && d.proof != nil {
				err = d.proof(d)
			}
			return err
		}
	}
	if d.outer.Err() != nil { // whichever ended, there is no time to ask why
		return t.explain(d.outer, err)
	}
	return t.explain(ctx, err)
}

// release gives the connection back, or cuts it; the pool then sees its export fail.
func (d *Download) release() {
	d.end(ErrClosed)
	d.dog.rest()
	d.pulse.wait()
	_ = d.body.Close() // nothing was written
}

// Close ends the download. Unless Finish was called before, the export is aborted, and its task cancelled and destroyed.
func (d *Download) Close() error {
	d.end(ErrClosed)
	d.once.Do(func() {
		d.finished = fmt.Errorf("xapi: %s: download %w", d.transfer.what, ErrClosed)
		d.release()
		d.transfer.abandon(d.outer)
	})
	return nil
}
