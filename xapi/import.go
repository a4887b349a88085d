package xapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
)

// ImportVDIOptions of [Client.ImportVDI]; nil and zero fields mean the default.
type ImportVDIOptions struct {
	Format string // vhd, the default, or raw
	Name   string // of the pool's task; by default it names the disk
}

// ImportVDI writes body into an existing disk and returns nil only when the pool has reported success. length is the exact size of
// the stream in bytes: the pool finds the end of a VHD by it, and reads no other framing. A differencing VHD is applied on top of
// what the disk holds. After an error the disk's content is undefined.
//
// body is read from another goroutine, never again after ImportVDI has returned; a Read that is under way when ctx ends is waited
// for, at most Options.CancelTimeout. A body that ends early is io.ErrUnexpectedEOF, an error of body is returned as it is, a pool that
// refuses or fails is an *Error, one that stops reading is ErrStalled.
func (c *Client) ImportVDI(ctx context.Context, vdi Ref[VDI], length int64, body io.Reader, opts *ImportVDIOptions) error {
	if opts == nil {
		opts = &ImportVDIOptions{}
	}
	what := "import into VDI " + string(vdi)
	if length <= 0 {
		return fmt.Errorf("xapi: %s: length %d is not positive", what, length)
	}
	query := url.Values{"vdi": {string(vdi)}, "format": {"vhd"}}
	if opts.Format != "" {
		query.Set("format", opts.Format)
	}
	return c.upload(ctx, what, opts.Name, "import_raw_vdi", query, func() *upload { return newUpload(body, length) }, nil)
}

// upload makes the transfer of an import, again when the handler wants another session. result is where the task's result goes.
func (c *Client) upload(
	ctx context.Context, what, name, path string, query url.Values, source func() *upload, result any,
) error {
	for logins := 0; ; logins++ {
		t, err := c.newTransfer(ctx, what, name)
		if err != nil {
			return err
		}
		t.result = result
		up := source()
		err = t.put(ctx, t.url(path, query), up)
		if !errors.Is(err, ErrSessionInvalid) || logins == maxLogins || up.touched() {
			return err
		}
		if err := t.renew(ctx); err != nil {
			return err
		}
	}
}

// put uploads, waits for the task, and leaves no task behind.
func (t *transfer) put(outer context.Context, to *url.URL, up *upload) error {
	opts := &t.client.opts
	ctx, end := context.WithCancelCause(outer)
	defer end(context.Canceled)
	up.dog, up.limit, up.last = newWatchdog(opts.FirstByteTimeout, end), opts.StallTimeout, opts.FirstByteTimeout
	broken := t.stream(ctx, to, up)
	sent, sourceErr := up.stop(opts.CancelTimeout)
	defer up.dog.rest() // after the last Read, which would wake it
	switch {
	case sourceErr != nil:
		t.abandon(outer)
		return fmt.Errorf("%s: %w", t.what, sourceErr)
	case outer.Err() != nil:
		t.abandon(outer)
		return fmt.Errorf("xapi: %s: after %d bytes: %w", t.what, sent, context.Cause(outer))
	}
	if broken == nil && !up.partial && sent < up.length {
		broken = hostError(to.Host, ErrConnectionLost, errors.New("the host hung up"))
	}
	up.dog.moved(opts.StallTimeout) // the connection is over, so the task will be
	waiting, cancel := ctx, func() {}
	if broken != nil && (!up.partial || sent == 0) { // the task knows more, and soon
		waiting, cancel = t.client.cleanup(outer)
	}
	defer cancel()
	err := t.verdict(waiting)
	var refused *Error
	switch {
	case err == nil && !up.partial && sent < up.length:
		err = fmt.Errorf("xapi: %s: %w: the pool took %d of %d bytes: %w", t.what, ErrTruncated, sent, up.length, io.ErrUnexpectedEOF)
	case err == nil:
	case errors.As(err, &refused) && broken != nil:
		err = fmt.Errorf("%w (%w)", refused, broken)
	case broken != nil:
		err = fmt.Errorf("%s: after %d bytes: %w", t.what, sent, broken)
	}
	if err == nil || refused != nil {
		t.end(outer)
		return err
	}
	t.abandon(outer)
	return err
}

// stream sends the request and its body. Its error says how the connection ended, which is not the outcome: hosts hang up when they
// have all they need, and accept a request before they read it. The answer's body must be read to its end: closing it earlier would
// abort the upload.
func (t *transfer) stream(ctx context.Context, to *url.URL, up *upload) error {
	resp, err := t.send(ctx, to, up)
	if err != nil {
		return err
	}
	up.flow()
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close() // at its end
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("xapi: %s: %w", to.Host, context.Cause(ctx))
	}
	return hostError(to.Host, ErrConnectionLost, t.client.secrets.wrap(err))
}
