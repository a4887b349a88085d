package nbd

import (
	"context"
	"errors"
	"io"
)

// ReadAt reads len(p) bytes at off, as io.ReaderAt has it.
func (c *Client) ReadAt(p []byte, off int64) (int, error) {
	return c.ReadAtContext(context.Background(), p, off)
}

// ReadAtContext is ReadAt with a context that ends it. What ends early, by the
// context or an error, reports 0 bytes: parts may have been written to p. After
// it has returned p is not written any more.
//
// A failure of the server to read is a [*CommandError], and leaves the
// connection usable; all other errors do not.
func (c *Client) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("nbd: negative offset")
	}
	size := c.Size()
	if off >= size {
		return 0, io.EOF
	}
	var end error
	if int64(len(p)) > size-off {
		p, end = p[:size-off], io.EOF
	}
	if err := c.readAligned(ctx, p, off); err != nil {
		return 0, err
	}
	return len(p), end
}

// readAligned rounds a read to the server's blocks: through a buffer at the
// ends where they are not on a boundary.
func (c *Client) readAligned(ctx context.Context, p []byte, off int64) error {
	block := int64(c.info.minBlock)
	if head := off % block; head != 0 || int64(len(p)) < block {
		n := min(int64(len(p)), block-head)
		if n == 0 {
			return nil
		}
		if err := c.readPartial(ctx, p[:n], off-head, head); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	tail := int64(len(p)) % block
	body := p[:int64(len(p))-tail]
	if err := c.readBlocks(ctx, body, off); err != nil {
		return err
	}
	if tail == 0 {
		return nil
	}
	return c.readPartial(ctx, p[len(body):], off+int64(len(body)), 0)
}

// readPartial reads the part of one block that starts at skip. The last block
// of a disk ends with the disk.
func (c *Client) readPartial(ctx context.Context, p []byte, off, skip int64) error {
	block := make([]byte, min(int64(c.info.minBlock), c.Size()-off))
	if err := c.readBlocks(ctx, block, off); err != nil {
		return err
	}
	copy(p, block[skip:])
	return nil
}

// readBlocks sends the requests for p one after the other, without waiting for
// answers as long as there are slots, and then waits for all of them.
func (c *Client) readBlocks(ctx context.Context, p []byte, off int64) error {
	var first error
	var under []*request
	for len(p) > 0 && first == nil {
		n := min(len(p), int(c.info.maxBlock))
		r := &request{command: cmdRead, off: off, length: uint32(n), buf: p[:n]} // at most maxRequest
		if first = c.start(ctx, r); first == nil {
			under = append(under, r)
		}
		p, off = p[n:], off+int64(n)
	}
	for _, r := range under {
		if err := r.wait(ctx, c); err != nil && first == nil {
			first = err
		}
	}
	return first
}
