package vhd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

const (
	// copyChunk is the size of a buffer through which data is copied: small enough to
	// stay in a cache of the processor between the read and the write.
	copyChunk = 256 << 10
	// mergeChunk is the same where who reads a buffer also writes it.
	mergeChunk = 128 << 10
	// kernelChunk is what the kernel copies between two looks at the context.
	kernelChunk = 8 << 20
)

// filePair copies ranges of one file to another by the best way that both
// allow: sharing the extents (FICLONERANGE), copying inside the kernel
// (copy_file_range), or through a buffer. What does not work is tried once per
// pair. It may be used by several goroutines.
type filePair struct {
	dst    io.WriterAt
	src    io.ReaderAt
	kernel *kernelPair // nil unless both are files of the operating system
	shared *copyBuffers
}

// copyBuffers is what all pairs with the same destination share.
type copyBuffers struct {
	chunk int64 // bytes of a buffer
	pool  sync.Pool

	// queue takes what is to be written to a file of the operating system. The
	// kernel lets one write to a file at a time, and those who wait for it spin:
	// so one goroutine writes, and the others read meanwhile. nil: each writes.
	queue chan queuedWrite
}

// queuedWrite is a part of a buffer of the pool and where it goes.
type queuedWrite struct {
	buf *[]byte
	n   int64
	off int64
}

func newFilePair(dst io.WriterAt, src io.ReaderAt, shared *copyBuffers) *filePair {
	return &filePair{dst: dst, src: src, kernel: newKernelPair(dst, src), shared: shared}
}

// local reports whether a look at a few bytes of the source is cheap.
func (p *filePair) local() bool { return p.kernel != nil }

// zeroProbe is how much of a range is read to find out that it is not zeros,
// before all of it is.
const zeroProbe = 4096

// zero reports whether n bytes of the source are zeros. Mostly the first few tell.
func (p *filePair) zero(srcOff, n int64) (bool, error) {
	buf := p.shared.get()
	defer p.shared.pool.Put(buf)
	for size := int64(zeroProbe); n > 0; size = p.shared.chunk {
		part := (*buf)[:min(n, size)]
		if err := readExact(p.src, part, srcOff); err != nil {
			return false, err
		}
		if !isZero(part) {
			return false, nil
		}
		srcOff, n = srcOff+int64(len(part)), n-int64(len(part))
	}
	return true, nil
}

// copy copies n bytes. A source that ends before is [ErrTruncated].
func (p *filePair) copy(ctx context.Context, dstOff, srcOff, n int64) error {
	for n > 0 && p.kernel != nil {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		done, err := p.kernel.copy(dstOff, srcOff, min(n, kernelChunk))
		if err != nil {
			return fmt.Errorf("copy %d bytes from offset %d to %d: %w", n, srcOff, dstOff, err)
		}
		if done == 0 {
			break
		}
		p.kernel.flush(dstOff, done)
		dstOff, srcOff, n = dstOff+done, srcOff+done, n-done
	}
	if n == 0 {
		return nil
	}
	return p.copyBuffered(ctx, dstOff, srcOff, n)
}

func (p *filePair) copyBuffered(ctx context.Context, dstOff, srcOff, n int64) error {
	for n > 0 {
		w := queuedWrite{p.shared.get(), min(n, p.shared.chunk), dstOff}
		if err := readExact(p.src, (*w.buf)[:w.n], srcOff); err != nil {
			return err
		}
		if err := p.shared.write(ctx, p.dst, w); err != nil {
			return err
		}
		dstOff, srcOff, n = dstOff+w.n, srcOff+w.n, n-w.n
	}
	return nil
}

// write writes, or hands over to who does, and gives the buffer back.
func (c *copyBuffers) write(ctx context.Context, dst io.WriterAt, w queuedWrite) error {
	if c.queue == nil {
		defer c.pool.Put(w.buf)
		if err := context.Cause(ctx); err != nil {
			return err
		}
		_, err := dst.WriteAt((*w.buf)[:w.n], w.off)
		return err
	}
	select {
	case c.queue <- w:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// drain writes what comes through the queue until it is closed. After an error,
// of which it tells at once, it only empties it.
func (c *copyBuffers) drain(dst io.WriterAt, fail func(error)) {
	failed := false
	for w := range c.queue {
		if !failed {
			_, err := dst.WriteAt((*w.buf)[:w.n], w.off)
			if failed = err != nil; failed {
				fail(err)
			}
		}
		c.pool.Put(w.buf)
	}
}

// readExact fills p; the end of the file is [ErrTruncated].
func readExact(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = ErrTruncated
	}
	return fmt.Errorf("read at offset %d: %w", off+int64(n), err)
}

// get lends a buffer.
func (c *copyBuffers) get() *[]byte {
	if b, ok := c.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, c.chunk)
	return &b
}
