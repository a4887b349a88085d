package vhd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

// Export is the reading end of an image that is made of a disk while it is
// read: what an HTTP upload wants for a body. It is not safe for concurrent use.
type Export struct {
	ctx    context.Context //nolint:containedctx // an io.Reader has no other way to end, see http.Request.Body
	src    disk.Source
	layout Layout
	next   int // position in layout.Blocks of the next block

	pending  []byte // structures to give out before data
	gap      []byte // reused for those between blocks
	data     int64  // offset of the data to give out
	dataLeft int64  // bytes of it
	zeroLeft int64  // bytes of zeros behind it
	footer   bool   // was given out, or is pending
	err      error  // sticky

	// Of WriteTo to a socket only.
	mapping *mapping
	senders []*fileSender // parallel to mapping.files
}

// NewExport returns a reader of the complete image that l describes, with the
// blocks of l read from src straight into the buffer of whoever reads. It fails
// if l cannot be written, or if its size is not that of src. After ctx has ended
// reads fail with its cause.
func NewExport(ctx context.Context, src disk.Source, l Layout) (*Export, error) {
	if err := l.checkStream(); err != nil {
		return nil, err
	}
	if src.Size() != l.Size {
		return nil, fmt.Errorf("%w: layout for %d bytes, disk of %d", ErrUnsupported, l.Size, src.Size())
	}
	l.Blocks = slices.Clone(l.Blocks)
	return &Export{ctx: ctx, src: src, layout: l, pending: l.preamble()}, nil
}

// Size returns the bytes that the reader gives in all.
func (e *Export) Size() int64 { return e.layout.StreamSize() }

// Read gives the next bytes of the image. A disk that ends early is
// io.ErrUnexpectedEOF.
func (e *Export) Read(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	if err := context.Cause(e.ctx); err != nil {
		e.err = err
		return 0, err
	}
	done := 0
	for done < len(p) && e.err == nil {
		done += e.step(p[done:])
	}
	if done > 0 {
		return done, nil // the error, if any, comes with the next call
	}
	if len(p) == 0 {
		return 0, nil
	}
	return 0, e.err
}

// step gives out some bytes of one kind, or moves on to what comes next.
func (e *Export) step(p []byte) int {
	switch {
	case len(e.pending) > 0:
		n := copy(p, e.pending)
		e.pending = e.pending[n:]
		return n
	case e.dataLeft > 0:
		return e.readData(p[:min(int64(len(p)), e.dataLeft)])
	case e.zeroLeft > 0:
		n := min(int64(len(p)), e.zeroLeft)
		clear(p[:n])
		e.zeroLeft -= n
		return int(n)
	case e.next < len(e.layout.Blocks):
		block := e.layout.Blocks[e.next]
		e.gap = e.layout.appendGap(e.gap[:0], e.next)
		e.pending = e.gap
		e.data = int64(block) * e.layout.blockSize()
		e.dataLeft = e.layout.dataIn(block)
		e.zeroLeft = e.layout.blockSize() - e.dataLeft
		e.next++
	case !e.footer:
		footer := e.layout.footer()
		e.pending = footer.encode()[:]
		e.footer = true
	default:
		e.err = io.EOF
	}
	return 0
}

func (e *Export) readData(p []byte) int {
	n, err := e.src.ReadAt(p, e.data)
	e.data += int64(n)
	e.dataLeft -= int64(n)
	if n == len(p) {
		return n
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	e.err = fmt.Errorf("read disk at %d: %w", e.data, err)
	return n
}
