package xva

import (
	"context"
	"errors"
	"io"
	"sync"
)

// scanner is the reading end of an archive of which only the headers are wanted: what is passed over with skip is not read. Between
// two chunks there are a checksum with its header and the next header, at distances that are the same over long stretches, so that
// several such places are read at a time: what counts on remote storage is the latency.
type scanner struct {
	ctx       context.Context //nolint:containedctx // an io.Reader has no other way to end; it lives as long as one call of Open
	r         io.ReaderAt
	size, off int64
	window    []byte // what was read at off, and not yet taken
	last      int64  // where the window before began
	stride    int64  // how far from the one before that
	width     int    // places that are read at a time
	ahead     []window
	buf       [scanWidth * scanWindow]byte
}

// window is one place that was read.
type window struct {
	off  int64
	data []byte
	err  error
}

const (
	scanWindow = 3 * blockSize
	scanWidth  = 16
)

// skip passes over n bytes.
func (s *scanner) skip(n int64) {
	s.off += n
	s.window = s.window[min(n, int64(len(s.window))):]
}

// Read gives the next bytes.
func (s *scanner) Read(p []byte) (int, error) {
	if len(s.window) == 0 {
		if s.off >= s.size {
			return 0, io.EOF
		}
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.window)
	s.skip(int64(n))
	return n, nil
}

// fill reads the window at off.
func (s *scanner) fill() error {
	if err := context.Cause(s.ctx); err != nil {
		return err
	}
	stride := s.off - s.last
	regular := stride == s.stride
	s.last, s.stride = s.off, stride
	for len(s.ahead) > 0 {
		w := s.ahead[0]
		if s.ahead = s.ahead[1:]; w.off == s.off {
			s.window = w.data
			return w.err
		}
	}
	if stride < int64(len(s.buf))/2 { // small members: one read finds many
		var err error
		s.window, err = s.readAt(s.buf[:], s.off)
		return err
	}
	s.width = min(2*s.width, scanWidth)
	if !regular || s.width == 0 {
		s.width = 1
	}
	s.fetch(stride)
	w := s.ahead[0]
	s.window, s.ahead = w.data, s.ahead[1:]
	return w.err
}

// fetch reads as many windows as width says, one each stride.
func (s *scanner) fetch(stride int64) {
	s.ahead = make([]window, s.width)
	var all sync.WaitGroup
	for i := range s.ahead {
		w := &s.ahead[i]
		w.off = s.off + int64(i)*stride
		read := func() {
			w.data, w.err = s.readAt(s.buf[i*scanWindow:(i+1)*scanWindow], w.off)
		}
		if i == len(s.ahead)-1 {
			read()
			break
		}
		all.Go(read)
	}
	all.Wait()
}

// readAt reads what there is of p.
func (s *scanner) readAt(p []byte, off int64) ([]byte, error) {
	if off >= s.size {
		return nil, io.EOF
	}
	p = p[:min(int64(len(p)), s.size-off)]
	n, err := s.r.ReadAt(p, off)
	if n == len(p) {
		return p, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // shorter than it was said to be
	}
	return nil, err
}
