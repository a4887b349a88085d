package vhd

import (
	"errors"
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

// holeFinder knows where a file has no data.
type holeFinder struct{ conn syscall.RawConn }

// newHoleFinder returns nil unless r is a file whose holes can be found.
func newHoleFinder(r io.ReaderAt) *holeFinder {
	conn := rawConn(r)
	if conn == nil {
		return nil
	}
	h := &holeFinder{conn}
	if _, err := h.seek(0, unix.SEEK_HOLE); err != nil {
		return nil
	}
	return h
}

// at returns whether the bytes at off are a hole, and for how many of n the
// answer is the same.
func (h *holeFinder) at(off, n int64) (hole bool, length int64, err error) {
	data, err := h.seek(off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // nothing but a hole up to the end, or beyond it
		return h.beyond(off, n)
	case err != nil:
		return false, 0, err
	case data > off:
		return true, min(n, data-off), nil
	}
	next, err := h.seek(off, unix.SEEK_HOLE)
	if err != nil {
		return false, 0, err
	}
	return false, min(n, next-off), nil
}

// beyond tells a hole at the end from a file that is shorter than it was: to
// read there must fail, so it is not called a hole.
func (h *holeFinder) beyond(off, n int64) (bool, int64, error) {
	end, err := h.seek(0, io.SeekEnd)
	if err != nil || off >= end {
		return false, n, err
	}
	return true, min(n, end-off), nil
}

func (h *holeFinder) seek(off int64, whence int) (pos int64, err error) {
	ctlErr := h.conn.Control(func(fd uintptr) { pos, err = unix.Seek(int(fd), off, whence) })
	return pos, errors.Join(ctlErr, err)
}
