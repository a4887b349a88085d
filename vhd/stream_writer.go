package vhd

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// StreamWriter writes an image forward only, so that it can go to a pipe or a
// socket. It is not safe for concurrent use.
type StreamWriter struct {
	w      io.Writer
	layout Layout
	next   int // position in layout.Blocks
	zeros  []byte
	gap    []byte // reused for each block
	err    error  // sticky
	closed bool
}

var errClosed = errors.New("vhd: stream writer is closed")

// NewStreamWriter writes the structures before the first block. It fails with
// [ErrUnsupported], before anything is written, for what the format cannot
// hold.
func NewStreamWriter(w io.Writer, l Layout) (*StreamWriter, error) {
	if err := l.checkStream(); err != nil {
		return nil, err
	}
	l.Blocks = slices.Clone(l.Blocks)
	s := &StreamWriter{w: w, layout: l}
	return s, s.write(l.preamble())
}

// Size returns the bytes that will have been written once Close succeeds.
func (s *StreamWriter) Size() int64 { return s.layout.StreamSize() }

// WriteBlock writes one block, usually of 2 MiB; data may be shorter, the rest then
// is zeros, and so is what lies beyond the end of the disk. Blocks must come
// exactly as [Layout].Blocks lists them, else the error wraps [ErrBlockOrder].
// After an error nothing more is written.
func (s *StreamWriter) WriteBlock(index uint32, data []byte) error {
	if s.err != nil {
		return s.err
	}
	if s.closed {
		return errClosed
	}
	if s.next == len(s.layout.Blocks) || s.layout.Blocks[s.next] != index {
		return s.fail(fmt.Errorf("%w: block %d", ErrBlockOrder, index))
	}
	blockSize := s.layout.blockSize()
	if int64(len(data)) > blockSize {
		return s.fail(fmt.Errorf("%w: block of %d bytes", ErrUnsupported, len(data)))
	}
	data = data[:min(int64(len(data)), s.layout.dataIn(index))]
	s.gap = s.layout.appendGap(s.gap[:0], s.next)
	if err := s.write(s.gap); err != nil {
		return err
	}
	if err := s.write(data); err != nil {
		return err
	}
	s.next++
	if missing := blockSize - int64(len(data)); missing > 0 {
		return s.pad(int(missing))
	}
	return nil
}

func (s *StreamWriter) pad(n int) error {
	if s.zeros == nil {
		s.zeros = make([]byte, 64<<10)
	}
	for n > 0 {
		part := s.zeros[:min(n, len(s.zeros))]
		if err := s.write(part); err != nil {
			return err
		}
		n -= len(part)
	}
	return nil
}

// Close writes the footer that makes the image complete. It fails with
// [ErrIncomplete], and writes nothing, while blocks are missing. The underlying
// writer is not closed. A second call returns what the first returned.
func (s *StreamWriter) Close() error {
	if s.err != nil || s.closed {
		return s.err
	}
	s.closed = true
	if missing := len(s.layout.Blocks) - s.next; missing > 0 {
		return s.fail(fmt.Errorf("%w: %d of %d", ErrIncomplete, missing, len(s.layout.Blocks)))
	}
	footer := s.layout.footer()
	return s.write(footer.encode()[:])
}

func (s *StreamWriter) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	n, err := s.w.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return s.fail(err)
	}
	return nil
}

func (s *StreamWriter) fail(err error) error {
	s.err = err
	return err
}
