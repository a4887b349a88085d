package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"time"
)

// cleanupTimeout bounds what is done after the caller's context has ended.
const cleanupTimeout = 10 * time.Second

// defaultIOSize is how much a Writer writes at once, and aligned to it, unless
// the Filesystem prefers another size.
const defaultIOSize = 1 << 20

// Writer writes a file that appears complete or not at all. It writes to a
// temporary file in the same directory (see [IsTemp]), which Commit publishes
// under the final name; until then, or if that fails, readers of the name see
// the previous content or [fs.ErrNotExist], never a part.
//
// A Writer is not safe for concurrent use.
type Writer struct {
	ctx  context.Context //nolint:containedctx // bound at Create, like the File it writes
	fsys Filesystem
	name string
	temp string
	file File // nil once closed

	piece int    // what to write at once
	buf   []byte // what waits for a full piece, shorter than that; made when needed
	off   int64  // where buf goes
	err   error  // the first failure, which all later calls repeat
	done  bool   // committed or aborted
}

// Create begins a file that [Writer.Commit] makes appear as name, in a
// directory that exists. ctx governs the whole life of the Writer: when it ends,
// writes and commits fail with its cause.
//
// Every Writer must end in a Commit, CommitNew or Abort; Abort after any of
// these does nothing, so it can be deferred.
func Create(ctx context.Context, fsys Filesystem, name string) (*Writer, error) {
	if err := CheckName("create", name); err != nil {
		return nil, err
	}
	if name == "." {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrInvalid}
	}
	temp := tempName(name)
	file, err := fsys.OpenFile(ctx, temp, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, err
	}
	piece := fsys.Properties().IOSize
	if piece <= 0 {
		piece = defaultIOSize
	}
	return &Writer{ctx: ctx, fsys: fsys, name: name, temp: temp, file: file, piece: piece}, nil
}

// Name is the name the file will have.
func (w *Writer) Name() string { return w.name }

// Size is the number of bytes written so far.
func (w *Writer) Size() int64 { return w.off + int64(len(w.buf)) }

// Write appends p. It buffers, so that the file is written in pieces of the
// Filesystem's preferred size; whole pieces in p are written without a copy. An
// error is final, and may concern an earlier Write.
func (w *Writer) Write(p []byte) (int, error) {
	if w.done {
		return 0, about("write", w.name, fs.ErrClosed)
	}
	if err := w.alive(); err != nil {
		return 0, err
	}
	written := 0
	for len(p) > 0 {
		if whole := len(p) - len(p)%w.piece; len(w.buf) == 0 && whole > 0 {
			if err := w.writeOut(p[:whole]); err != nil {
				return written, err
			}
			written, p = written+whole, p[whole:]
			continue
		}
		if w.buf == nil {
			w.buf = make([]byte, 0, w.piece)
		}
		n := min(len(p), w.piece-len(w.buf))
		w.buf = append(w.buf, p[:n]...)
		written, p = written+n, p[n:]
		if len(w.buf) < w.piece {
			break
		}
		if err := w.flush(); err != nil {
			return written, err
		}
	}
	return written, nil
}

// Commit publishes the file: what is buffered is written, the data synced, the
// file closed and renamed to its name, replacing what had it, and the directory
// synced. When Commit returns nil, the file survives a power cut under its name.
//
// When it fails, the name has its previous content, and the temporary file is
// removed as far as the storage allows. One failure differs: if only the sync of
// the directory failed, or a connection broke while renaming, the complete new
// file may have the name already, without being known to be durable.
func (w *Writer) Commit() error { return w.commit(w.fsys.Rename) }

// CommitNew is [Writer.Commit], except that it fails with [fs.ErrExist] and
// changes nothing when name exists. On a Filesystem that is no [NoReplacer] this
// is a check followed by a rename: others who publish the same name must then be
// excluded by a [Lock].
func (w *Writer) CommitNew() error {
	return w.commit(func(ctx context.Context, oldname, newname string) error {
		return RenameNoReplace(ctx, w.fsys, oldname, newname)
	})
}

// Abort discards the file. It works after the context has ended, and does
// nothing after a Commit, failed or not, or another Abort. A temporary file that
// it could not remove is reported; nothing else depends on it.
func (w *Writer) Abort() error {
	if w.done {
		return nil
	}
	return w.discard()
}

func (w *Writer) commit(rename func(ctx context.Context, oldname, newname string) error) error {
	if w.done {
		return about("commit", w.name, fs.ErrClosed)
	}
	if err := w.publish(rename); err != nil {
		return errors.Join(err, w.discard())
	}
	w.done = true
	return SyncDir(w.ctx, w.fsys, path.Dir(w.name))
}

// publish is the order that makes a crash harmless: the data is durable before
// the name leads to it.
func (w *Writer) publish(rename func(ctx context.Context, oldname, newname string) error) error {
	if err := w.alive(); err != nil {
		return err
	}
	if err := w.flush(); err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return err
	}
	file := w.file
	w.file = nil
	if err := file.Close(); err != nil {
		return err
	}
	return rename(w.ctx, w.temp, w.name)
}

// discard removes the temporary file. After a rename that took place although it
// reported an error, there is none.
func (w *Writer) discard() error {
	w.done = true
	w.buf = nil
	if w.file != nil {
		_ = w.file.Close() // nothing in it is wanted
		w.file = nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), cleanupTimeout)
	defer cancel()
	if err := w.fsys.Remove(ctx, w.temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("leave temporary file behind: %w", err)
	}
	return nil
}

func (w *Writer) alive() error {
	if w.err == nil && w.ctx.Err() != nil {
		w.err = about("write", w.name, context.Cause(w.ctx))
	}
	return w.err
}

func (w *Writer) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	if err := w.writeOut(w.buf); err != nil {
		return err
	}
	w.buf = w.buf[:0]
	return nil
}

func (w *Writer) writeOut(p []byte) error {
	_, err := w.file.WriteAt(p, w.off)
	if err != nil {
		w.err = err
		return err
	}
	w.off += int64(len(p))
	return nil
}
