package remotetest

import (
	"context"
	"io"
	"io/fs"
	"path"
	"slices"
	"time"
)

// crashFile is an open file of a [Crash].
type crashFile struct {
	ctx      context.Context //nolint:containedctx // bound at OpenFile, as the interface says
	c        *Crash
	n        *node
	name     string
	writable bool
	closed   bool
}

// write is what happened to a file since its last sync: data at off, or, with
// data nil, a new size.
type write struct {
	off  int64
	data []byte
}

func (f *crashFile) ReadAt(p []byte, off int64) (int, error) {
	defer f.c.lock()()
	if err := f.usable("read", false); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathError("read", f.name, fs.ErrInvalid)
	}
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *crashFile) WriteAt(p []byte, off int64) (int, error) {
	defer f.c.lock()()
	if err := f.usable("write", true); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathError("write", f.name, fs.ErrInvalid)
	}
	if len(p) > 0 {
		f.n.write(write{off: off, data: slices.Clone(p)})
	}
	return len(p), nil
}

func (f *crashFile) Truncate(size int64) error {
	defer f.c.lock()()
	if err := f.usable("truncate", true); err != nil {
		return err
	}
	if size < 0 {
		return pathError("truncate", f.name, fs.ErrInvalid)
	}
	f.n.truncate(size)
	return nil
}

func (f *crashFile) Stat() (fs.FileInfo, error) {
	defer f.c.lock()()
	if err := f.usable("stat", false); err != nil {
		return nil, err
	}
	return f.n.info(path.Base(f.name)), nil
}

func (f *crashFile) Sync() error {
	defer f.c.lock()()
	if err := f.usable("sync", false); err != nil {
		return err
	}
	if len(f.n.pending) > 0 && f.n.sharedSynced {
		f.n.synced, f.n.sharedSynced = slices.Clone(f.n.synced), false
	}
	for _, w := range f.n.pending {
		f.n.synced = w.on(f.n.synced)
	}
	f.n.pending = nil
	return nil
}

func (f *crashFile) Close() error {
	defer f.c.lock()()
	if f.closed {
		return pathError("close", f.name, fs.ErrClosed)
	}
	f.closed = true
	return nil
}

func (f *crashFile) usable(op string, writing bool) error {
	err := context.Cause(f.ctx)
	switch {
	case f.closed:
		err = fs.ErrClosed
	case err == nil && writing && !f.writable:
		err = fs.ErrPermission
	}
	return pathError(op, f.name, err)
}

func (n *node) truncate(size int64) { n.write(write{off: size}) }

func (n *node) write(w write) {
	if n.sharedData {
		n.data, n.sharedData = slices.Clone(n.data), false
	}
	n.data = w.on(n.data)
	n.pending = append(n.pending, w)
	n.mtime = time.Now()
}

// on does the write to content, which it may change and returns.
func (w write) on(content []byte) []byte {
	if w.data == nil {
		return resize(content, w.off)
	}
	if end := w.off + int64(len(w.data)); end > int64(len(content)) {
		content = resize(content, end)
	}
	copy(content[w.off:], w.data)
	return content
}

func resize(content []byte, size int64) []byte {
	old := int64(len(content))
	if size <= old {
		return content[:size]
	}
	content = slices.Grow(content, int(size-old))[:size]
	clear(content[old:])
	return content
}
