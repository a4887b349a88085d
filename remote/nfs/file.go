package nfs

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"sync"

	"github.com/xenbackup/xenbackup/remote"
)

// file is a [remote.File]: a handle, and what is known of the writes through it.
type file struct {
	ctx      context.Context //nolint:containedctx // bound at OpenFile, as the interface says
	fs       *FS
	name     string
	writable bool
	found    attr // when it was opened

	mu     sync.Mutex
	h      handle
	closed bool
	writes writes
}

// alive is what every method begins with. It gives the handle.
func (f *file) alive(write bool) (handle, error) {
	if err := context.Cause(f.ctx); err != nil {
		return handle{}, err
	}
	if write && !f.writable {
		return handle{}, fs.ErrPermission
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return handle{}, fs.ErrClosed
	}
	if write {
		return f.h, f.writes.failed
	}
	return f.h, nil
}

// valid reports whether n bytes at off are in what a file can have.
func valid(off int64, n int) bool { return off >= 0 && off+int64(n) >= off }

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	h, err := f.alive(false)
	if err == nil && !valid(off, len(p)) {
		err = fs.ErrInvalid
	}
	if err != nil {
		return 0, pathError("read", f.name, err)
	}
	n, err := f.transfer(&h, p, off, f.fs.limits.read, false)
	if errors.Is(err, io.EOF) {
		return n, io.EOF
	}
	return n, pathError("read", f.name, err)
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	h, err := f.alive(true)
	if err == nil && !valid(off, len(p)) {
		err = fs.ErrInvalid
	}
	if err != nil {
		return 0, pathError("write", f.name, err)
	}
	n, err := f.transfer(&h, p, off, f.fs.limits.write, true)
	return n, pathError("write", f.name, err)
}

func (f *file) Stat() (fs.FileInfo, error) {
	h, err := f.alive(false)
	var a attr
	if err == nil {
		a, err = f.fs.client.getAttr(f.ctx, h)
	}
	if err != nil {
		return nil, pathError("stat", f.name, err)
	}
	return &info{name: path.Base(f.name), attr: a}, nil
}

// Truncate is durable when it returns, as all that NFS does to metadata.
func (f *file) Truncate(size int64) error {
	h, err := f.alive(true)
	if err == nil && size < 0 {
		err = fs.ErrInvalid
	}
	if err == nil {
		err = f.fs.client.setAttr(f.ctx, h, newAttr{size: size})
	}
	return pathError("truncate", f.name, err)
}

// Sync commits what was written. When the server may have dropped some of it, the
// error is [remote.ErrLost], now and ever after.
func (f *file) Sync() error {
	h, err := f.alive(f.writable)
	if err != nil {
		return pathError("sync", f.name, err)
	}
	f.mu.Lock()
	n, pending, expected := f.writes.answered, f.writes.pending(), f.writes.verifier
	f.mu.Unlock()
	if !pending {
		return nil
	}
	got, err := f.fs.client.commit(f.ctx, &h)
	f.mu.Lock()
	defer f.mu.Unlock()
	return pathError("sync", f.name, f.writes.committed(n, expected, got, err))
}

func (f *file) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return pathError("close", f.name, fs.ErrClosed)
	}
	f.closed = true
	return nil
}

// relocate looks the file up again after its handle has become stale. Only the
// very file that was opened will do, and unchanged: a reader must not get parts
// of two.
func (f *file) relocate() (handle, error) {
	if f.writable {
		return handle{}, errStale
	}
	o, err := f.fs.find(f.ctx, f.name)
	if err != nil {
		return handle{}, err
	}
	if !o.a.same(&f.found) || o.a.size != f.found.size || !o.a.mtime.Equal(f.found.mtime) {
		return handle{}, errStale
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.h = o.h
	return f.h, nil
}

// writes is what is known of data that the server may still drop.
type writes struct {
	answered int      // WRITEs, but for those that need no COMMIT
	safe     int      // of them, by a COMMIT
	verifier verifier // of all others
	failed   error    // why no later Sync can be trusted
}

func (w *writes) pending() bool { return w.answered > w.safe }

var errLost = remote.MarkError(errors.New("the server has restarted and may have dropped what was written: write the file anew"), remote.ErrLost)

// note takes in the answer to a WRITE.
func (w *writes) note(a *written) error {
	if a.stable || w.failed != nil {
		return w.failed
	}
	if w.pending() && w.verifier != a.verifier {
		w.failed = errLost
	}
	w.answered++
	w.verifier = a.verifier
	return w.failed
}

// committed takes in the answer to a COMMIT that was sent when n WRITEs had been
// answered, the pending ones with the verifier expected. There may be several such
// COMMITs at a time.
func (w *writes) committed(n int, expected, got verifier, err error) error {
	var s status
	switch {
	case w.failed != nil:
	case errors.As(err, &s) && s != errJukebox:
		w.failed = cause(err)
	case err != nil:
		return err
	case got != expected:
		w.failed = errLost
	default:
		w.safe = max(w.safe, n)
	}
	return w.failed
}
