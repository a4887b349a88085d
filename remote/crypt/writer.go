package crypt

import (
	"context"
	"crypto/rand"
	"io"
	"io/fs"
	"sync"

	"github.com/xenbackup/xenbackup/remote"
)

const (
	// shortFile is up to which length a file is encrypted or decrypted as a whole.
	shortFile = 4 << 20
	// chunk is how much of a longer one is at once.
	chunk = 1 << 20
)

// writer is a file being written, from its beginning to its end.
type writer struct {
	ctx  context.Context //nolint:containedctx // bound at OpenFile, as the interface says
	fsys *FS
	file remote.File
	name string

	mu       sync.Mutex
	nonce    [nonceSize]byte
	buf      *[]byte // nonce and content of a short file; chunks of a long one; nil at the end
	size     int64   // of the content so far
	message  message // of a long file
	unsynced int64   // bytes below that were not synced
	err      error   // the first failure, which all later calls repeat
	finished bool    // the tag is written
	closed   bool
}

func newWriter(ctx context.Context, f *FS, file remote.File, name string) *writer {
	buf, _ := f.buffers.Get().(*[]byte)
	w := &writer{ctx: ctx, fsys: f, file: file, name: name, buf: buf}
	_, _ = rand.Read(w.nonce[:]) // never fails
	copy(*buf, w.nonce[:])
	return w
}

// ReadAt fails: the content can be read when it is complete.
func (w *writer) ReadAt([]byte, int64) (int, error) {
	if err := alive(w.ctx, "read", w.name); err != nil {
		return 0, err
	}
	return 0, &fs.PathError{Op: "read", Path: w.name, Err: ErrInPlace}
}

// WriteAt takes the next bytes, at the offset that the file has reached.
func (w *writer) WriteAt(p []byte, off int64) (int, error) {
	if err := alive(w.ctx, "write", w.name); err != nil {
		return 0, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
		return 0, &fs.PathError{Op: "write", Path: w.name, Err: fs.ErrClosed}
	case w.err != nil:
		return 0, w.err
	case w.finished || off != w.size:
		return 0, &fs.PathError{Op: "write", Path: w.name, Err: ErrInPlace}
	case int64(len(p)) > w.fsys.scheme.maxSize-w.size:
		return 0, &fs.PathError{Op: "write", Path: w.name, Err: ErrTooLong}
	}
	if w.message == nil {
		if int64(len(p)) <= shortFile-w.size {
			w.size += int64(copy((*w.buf)[nonceSize+w.size:], p))
			return len(p), nil
		}
		if w.err = w.lengthen(); w.err != nil {
			return 0, w.err
		}
	}
	w.err = w.stream(p)
	if w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

// lengthen begins the message of a file that turns out to be long.
func (w *writer) lengthen() error {
	w.message = w.fsys.scheme.message(&w.nonce)
	content := (*w.buf)[nonceSize : nonceSize+w.size]
	w.message.encrypt(content, content)
	return w.put((*w.buf)[:nonceSize+w.size], 0)
}

// stream encrypts p piece by piece.
func (w *writer) stream(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), chunk)
		piece := (*w.buf)[:n]
		w.message.encrypt(piece, p[:n])
		if err := w.put(piece, nonceSize+w.size); err != nil {
			return err
		}
		w.size += int64(n)
		p = p[n:]
	}
	return nil
}

// put writes below, and syncs now and then where that is asked for.
func (w *writer) put(p []byte, off int64) error {
	n, err := w.file.WriteAt(p, off)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return err
	}
	w.unsynced += int64(len(p))
	if every := w.fsys.below.Properties().SyncEvery; every > 0 && w.unsynced >= every {
		if err := w.file.Sync(); err != nil {
			return err
		}
		w.unsynced = 0
	}
	return nil
}

// finish writes what is left, and the tag.
func (w *writer) finish() error {
	if w.finished || w.err != nil {
		return w.err
	}
	if w.message == nil {
		content := (*w.buf)[nonceSize : nonceSize+w.size]
		sealed := w.fsys.scheme.aead.Seal(content[:0], w.nonce[:], content, nil)
		w.err = w.put((*w.buf)[:nonceSize+len(sealed)], 0)
	} else {
		tag := w.message.tag()
		w.err = w.put(tag[:], nonceSize+w.size)
	}
	w.finished = w.err == nil
	return w.err
}

// Sync finishes the file, and makes it durable.
func (w *writer) Sync() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return &fs.PathError{Op: "sync", Path: w.name, Err: fs.ErrClosed}
	}
	if err := w.finish(); err != nil {
		return err
	}
	return w.file.Sync()
}

// Truncate allows the size that the file has.
func (w *writer) Truncate(size int64) error {
	if err := alive(w.ctx, "truncate", w.name); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if size != w.size {
		return &fs.PathError{Op: "truncate", Path: w.name, Err: ErrInPlace}
	}
	return nil
}

// Stat describes the file with the content it has got so far.
func (w *writer) Stat() (fs.FileInfo, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	info, err := w.file.Stat()
	if err != nil {
		return nil, err
	}
	return growing{FileInfo: info, size: w.size}, nil
}

type growing struct {
	fs.FileInfo
	size int64
}

// Size is what was written so far, in bytes.
func (g growing) Size() int64 { return g.size }

// Close finishes the file, unless writing it has failed.
func (w *writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return &fs.PathError{Op: "close", Path: w.name, Err: fs.ErrClosed}
	}
	w.closed = true
	failed := w.err
	err := w.finish()
	if failed != nil {
		err = nil // who wrote was told
	}
	w.fsys.buffers.Put(w.buf)
	w.buf = nil
	if closeErr := w.file.Close(); err == nil {
		err = closeErr
	}
	return err
}
