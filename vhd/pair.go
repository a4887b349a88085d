package vhd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

const (
	// copyChunk is what is copied between two looks at the context, and the
	// size of a buffer where one is needed.
	copyChunk = 1 << 20
	// kernelChunk is the same where the kernel copies.
	kernelChunk = 8 << 20
)

// filePair copies ranges of one file to another by the best way that both
// allow: sharing the extents (FICLONERANGE), copying inside the kernel
// (copy_file_range), or through a buffer. What does not work is tried once per
// pair. It may be used by several goroutines.
type filePair struct {
	dst    io.WriterAt
	src    io.ReaderAt
	kernel *kernelPair // nil where the kernel cannot help
	pool   *bufferPool
}

func newFilePair(dst io.WriterAt, src io.ReaderAt, pool *bufferPool) *filePair {
	return &filePair{dst: dst, src: src, kernel: newKernelPair(dst, src), pool: pool}
}

// inKernel reports whether the kernel may still copy for this pair.
func (p *filePair) inKernel() bool { return p.kernel.works() }

// zeroProbe is how much of a range is read to find out that it is not zeros,
// before all of it is.
const zeroProbe = 4096

// zero reports whether n bytes of the source are zeros. Mostly the first few tell.
func (p *filePair) zero(srcOff, n int64) (bool, error) {
	buf := p.pool.get()
	defer p.pool.put(buf)
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
	buf := p.pool.get()
	defer p.pool.put(buf)
	for n > 0 {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		part := (*buf)[:min(n, copyChunk)]
		if err := readExact(p.src, part, srcOff); err != nil {
			return err
		}
		if _, err := p.dst.WriteAt(part, dstOff); err != nil {
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

// bufferPool lends buffers of copyChunk bytes.
type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) get() *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, copyChunk)
	return &b
}

func (p *bufferPool) put(b *[]byte) { p.pool.Put(b) }
