package vhd

import "io"

// headSize holds the structures of most images: those of disks up to 60 GiB.
const headSize = 64 << 10

// head is for OpenOptions.ReadHead: it reads the start of a file when something of it is
// asked for.
type head struct {
	r    io.ReaderAt
	size int64 // of the file
	read bool
	buf  []byte // what could be read
}

// ReadAt implements io.ReaderAt. It is not for concurrent use.
func (h *head) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > headSize {
		return h.r.ReadAt(p, off)
	}
	if !h.read {
		h.read = true
		h.buf = make([]byte, min(headSize, max(0, h.size)))
		n, _ := h.r.ReadAt(h.buf, 0) // whoever asks for what is not there is told
		h.buf = h.buf[:n]
	}
	if off+int64(len(p)) > int64(len(h.buf)) {
		return h.r.ReadAt(p, off)
	}
	return copy(p, h.buf[off:]), nil
}
