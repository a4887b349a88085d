package vhd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

const (
	// copyChunk is the size of a buffer through which data is copied: small
	// enough for the cache of a processor, so that what was read is still there
	// when it is written.
	copyChunk = 256 << 10
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
	pool sync.Pool

	// writing is held while one writes to a file of the operating system. The
	// kernel lets one write to a file at a time too, but those who wait for it spin.
	writing sync.Mutex
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
	for size := int64(zeroProbe); n > 0; size = copyChunk {
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
		dstOff, srcOff, n = dstOff+done, srcOff+done, n-done
	}
	if n == 0 {
		return nil
	}
	return p.copyBuffered(ctx, dstOff, srcOff, n)
}

func (p *filePair) copyBuffered(ctx context.Context, dstOff, srcOff, n int64) error {
	buf := p.shared.get()
	defer p.shared.pool.Put(buf)
	for n > 0 {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		part := (*buf)[:min(n, copyChunk)]
		if err := readExact(p.src, part, srcOff); err != nil {
			return err
		}
		if err := p.write(part, dstOff); err != nil {
			return err
		}
		done := int64(len(part))
		dstOff, srcOff, n = dstOff+done, srcOff+done, n-done
	}
	return nil
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

func (p *filePair) write(b []byte, off int64) error {
	if p.kernel != nil {
		p.shared.writing.Lock()
		defer p.shared.writing.Unlock()
	}
	_, err := p.dst.WriteAt(b, off)
	return err
}

// get lends a buffer of copyChunk bytes.
func (c *copyBuffers) get() *[]byte {
	if b, ok := c.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, copyChunk)
	return &b
}
