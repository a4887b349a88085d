package crypt

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/xenbackup/xenbackup/remote"
)

// heldBack is how much of the end of a long file nobody sees before its tag is
// checked.
const heldBack = 1 << 20

// reader is a file being read.
type reader struct {
	ctx   context.Context //nolint:containedctx // bound at OpenFile, as the interface says
	fsys  *FS
	file  remote.File
	name  string
	size  int64 // of the content
	torn  bool  // too short to be a file of ours
	nonce [nonceSize]byte

	mu      sync.RWMutex
	closed  bool
	buf     *[]byte // the content of a short file, the end of a long one; nil until known
	err     error   // that the content is not what was written; final
	proven  bool    // the tag was checked
	begun   bool    // the nonce was read
	message message // of a long file in its first pass
	pos     int64   // up to which message has come
}

func newReader(ctx context.Context, f *FS, file remote.File, name string) (*reader, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	size := info.Size() - overhead
	if size > f.scheme.maxSize {
		return nil, &fs.PathError{Op: "open", Path: name, Err: ErrTooLong}
	}
	r := &reader{ctx: ctx, fsys: f, file: file, name: name, size: max(0, size), torn: size < 0}
	if r.size == 0 { // who sees that there is nothing to read will read nothing
		_, err = r.advance(nil, 0)
	}
	return r, err
}

// ReadAt gives out what is proven, or what the end of a long file will prove.
func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, &fs.PathError{Op: "read", Path: r.name, Err: fs.ErrInvalid}
	}
	if err := alive(r.ctx, "read", r.name); err != nil {
		return 0, err
	}
	if n, done, err := r.readProven(p, off); done {
		return n, err
	}
	filled, err := r.advance(p, off)
	if err != nil {
		return 0, err
	}
	if filled == len(p) {
		return filled, nil
	}
	n, _, err := r.readProven(p[filled:], off+int64(filled))
	return filled + n, err
}

// readProven reads from a file that has been checked; done is false when it has not.
func (r *reader) readProven(p []byte, off int64) (n int, done bool, err error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	switch {
	case r.closed:
		return 0, true, &fs.PathError{Op: "read", Path: r.name, Err: fs.ErrClosed}
	case r.err != nil:
		return 0, true, r.err
	case !r.proven:
		return 0, false, nil
	case off >= r.size:
		return 0, true, eof(len(p))
	}
	want := p[:min(int64(len(p)), r.size-off)]
	if r.size <= shortFile {
		copy(want, (*r.buf)[nonceSize+off:])
	} else if err := r.readLong(want, off); err != nil {
		return 0, true, err
	}
	return len(want), true, eof(len(p) - len(want))
}

// eof is io.EOF when a read was cut short by the end.
func eof(missing int) error {
	if missing > 0 {
		return io.EOF
	}
	return nil
}

// readLong decrypts a piece of a file whose whole was checked: its end from the
// copy that was, the rest anew.
func (r *reader) readLong(p []byte, off int64) error {
	if end := r.size - heldBack; off+int64(len(p)) > end {
		from := max(off, end)
		copy(p[from-off:], (*r.buf)[from-end:])
		p = p[:from-off]
	}
	if len(p) == 0 {
		return nil
	}
	if err := r.readBelow(p, nonceSize+off); err != nil {
		return err
	}
	r.fsys.scheme.keystream(&r.nonce, p, off)
	return nil
}

// advance makes progress towards a proven file, and tells how much of p is filled
// already, by the first pass over a long file.
func (r *reader) advance(p []byte, off int64) (filled int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, &fs.PathError{Op: "read", Path: r.name, Err: fs.ErrClosed}
	}
	if r.err != nil || r.proven {
		return 0, r.err
	}
	filled, err = r.prove(p, off)
	if errors.Is(err, ErrTampered) {
		r.err = err
	}
	return filled, err
}

// prove goes on with a short file to its end; with a long one by what p may have
// before the end is proven, if that is what comes next, and then, if p wants more,
// to its end. So what is read in order is read once: nobody can put other bytes in
// its place after the check.
func (r *reader) prove(p []byte, off int64) (filled int, err error) {
	if r.torn {
		return 0, r.fail("it has fewer than 28 bytes")
	}
	if r.buf == nil {
		r.buf = r.fsys.buffer(r.size)
	}
	if r.size <= shortFile {
		return 0, r.openShort()
	}
	if err := r.begin(); err != nil {
		return 0, err
	}
	if free := r.size - heldBack - off; off == r.pos && free > 0 {
		filled = int(min(int64(len(p)), free))
		if err := r.readBelow(p[:filled], nonceSize+off); err != nil {
			return 0, err
		}
		r.message.decrypt(p[:filled], p[:filled])
		r.pos += int64(filled)
		if filled == len(p) {
			return filled, nil
		}
	}
	return filled, r.checkRest()
}

func (r *reader) openShort() error {
	sealed := (*r.buf)[:r.size+overhead]
	if err := r.readBelow(sealed, 0); err != nil {
		return err
	}
	body := sealed[nonceSize:]
	if _, err := r.fsys.scheme.aead.Open(body[:0], sealed[:nonceSize], body, nil); err != nil {
		return r.fail("its tag does not fit")
	}
	r.proven = true
	return nil
}

// begin starts the first pass over a long file.
func (r *reader) begin() error {
	if r.begun {
		return nil
	}
	if err := r.readBelow(r.nonce[:], 0); err != nil {
		return err
	}
	r.message, r.begun = r.fsys.scheme.message(&r.nonce), true
	return nil
}

// checkRest goes on with the first pass to the end, keeps what was held back, and
// checks the tag. What is before the end is dropped: who wants it reads it again.
func (r *reader) checkRest() error {
	end := r.size - heldBack
	for r.pos < r.size {
		n := min(chunk, r.size-r.pos)
		if r.pos < end {
			n = min(n, end-r.pos)
		}
		piece := (*r.buf)[heldBack : heldBack+n]
		if r.pos >= end {
			piece = (*r.buf)[r.pos-end : r.pos-end+n]
		}
		if err := r.readBelow(piece, nonceSize+r.pos); err != nil {
			return err
		}
		r.message.decrypt(piece, piece)
		r.pos += n
	}
	var stored [tagSize]byte
	if err := r.readBelow(stored[:], nonceSize+r.size); err != nil {
		return err
	}
	tag := r.message.tag()
	if subtle.ConstantTimeCompare(tag[:], stored[:]) != 1 {
		return r.fail("its tag does not fit")
	}
	r.proven, r.message = true, nil
	return nil
}

// readBelow fills p from the stored bytes. A file that has become shorter is one
// that was changed.
func (r *reader) readBelow(p []byte, off int64) error {
	n, err := r.file.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return r.fail(fmt.Sprintf("it ends at byte %d, where %d were expected", off+int64(n), r.size+overhead))
	}
	return err
}

func (r *reader) fail(why string) error {
	return &fs.PathError{Op: "read", Path: r.name, Err: fmt.Errorf("%w: %s", ErrTampered, why)}
}

// WriteAt fails: the file is open for reading.
func (r *reader) WriteAt([]byte, int64) (int, error) {
	return 0, &fs.PathError{Op: "write", Path: r.name, Err: fs.ErrPermission}
}

// Truncate fails: the file is open for reading.
func (r *reader) Truncate(int64) error {
	return &fs.PathError{Op: "truncate", Path: r.name, Err: fs.ErrPermission}
}

// Sync has nothing to do.
func (r *reader) Sync() error { return nil }

// Stat describes the content of the file.
func (r *reader) Stat() (fs.FileInfo, error) {
	info, err := r.file.Stat()
	if err != nil {
		return nil, err
	}
	return sized{info}, nil
}

// Close releases the file.
func (r *reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return &fs.PathError{Op: "close", Path: r.name, Err: fs.ErrClosed}
	}
	r.closed = true
	if r.buf != nil {
		r.fsys.release(r.buf)
		r.buf = nil
	}
	return r.file.Close()
}
