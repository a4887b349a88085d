package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
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
// Where [Properties] say that several writes at once are useful, up to
// PipelineDepth pieces of IOSize are under way, in as many buffers. Where they ask
// for SyncEvery, the file is synced now and then, so that a server that restarts
// has lost little: the Writer then fails with [ErrLost], and the file must be
// written anew.
//
// A Writer is not safe for concurrent use.
type Writer struct {
	ctx    context.Context //nolint:containedctx // bound at Create, like the File it writes
	cancel context.CancelFunc
	fsys   Filesystem
	name   string
	temp   string
	file   File // nil once closed
	out    *inflight

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
	writing, cancel := context.WithCancel(ctx)
	file, err := fsys.OpenFile(writing, temp, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		cancel()
		return nil, err
	}
	p := fsys.Properties()
	piece := p.IOSize
	if piece <= 0 {
		piece = defaultIOSize
	}
	return &Writer{
		ctx: ctx, cancel: cancel, fsys: fsys, name: name, temp: temp,
		file: file, out: newInflight(file, p), piece: piece,
	}, nil
}

// Name is the name the file will have.
func (w *Writer) Name() string { return w.name }

// Size is the number of bytes written so far.
func (w *Writer) Size() int64 { return w.off + int64(len(w.buf)) }

// Write appends p, which it does not keep. It buffers, so that the file is written
// in pieces of the Filesystem's preferred size; where one write at a time is as good
// as several, what is larger is written at once, without a copy. An error is final,
// and may concern an earlier Write.
func (w *Writer) Write(p []byte) (int, error) {
	if w.done {
		return 0, about("write", w.name, fs.ErrClosed)
	}
	if err := w.alive(); err != nil {
		return 0, err
	}
	if w.out.serial() && len(p) >= w.piece { // without a copy
		if err := w.flush(); err != nil {
			return 0, err
		}
		if err := w.writeDirect(p); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	written := 0
	for len(p) > 0 {
		w.needBuffer()
		n := min(len(p), w.piece-len(w.buf))
		w.buf = append(w.buf, p[:n]...)
		written, p = written+n, p[n:]
		if err := w.flushFull(); err != nil {
			return written, err
		}
	}
	return written, nil
}

// ReadFrom appends what r has until its end, and spares a copy. An error of r is
// returned as it is, and leaves the Writer usable.
func (w *Writer) ReadFrom(r io.Reader) (int64, error) {
	if w.done {
		return 0, about("write", w.name, fs.ErrClosed)
	}
	var read int64
	for {
		if err := w.alive(); err != nil {
			return read, err
		}
		w.needBuffer()
		n, err := r.Read(w.buf[len(w.buf):w.piece])
		w.buf = w.buf[:len(w.buf)+n]
		read += int64(n)
		if err := w.flushFull(); err != nil {
			return read, err
		}
		if errors.Is(err, io.EOF) {
			return read, nil
		}
		if err != nil {
			return read, err
		}
	}
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
	w.cancel()
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
	if err := w.out.sync(); err != nil {
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
	w.cancel()       // nothing in it is wanted,
	_ = w.out.wait() // but buffers are in use until its writes have ended
	if w.file != nil {
		_ = w.file.Close()
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

func (w *Writer) needBuffer() {
	if w.buf == nil {
		w.buf = w.out.buffer(w.piece)
	}
}

func (w *Writer) flushFull() error {
	if len(w.buf) < w.piece {
		return nil
	}
	return w.flush()
}

// flush hands what is buffered over to be written.
func (w *Writer) flush() error {
	if w.buf == nil {
		return nil
	}
	buf := w.buf
	w.buf = nil
	if len(buf) == 0 {
		w.out.putBack(buf)
		return nil
	}
	if w.out.serial() {
		err := w.writeDirect(buf)
		w.out.putBack(buf)
		return err
	}
	off := w.off
	w.off += int64(len(buf))
	w.err = w.out.write(buf, off, buf)
	return w.err
}

// writeAll writes p without a copy, as the only content, and waits for it.
func (w *Writer) writeAll(p []byte) error {
	if w.out.serial() || len(p) <= w.piece {
		return w.writeDirect(p)
	}
	for len(p) > 0 {
		n := min(len(p), w.piece)
		off := w.off
		w.off += int64(n)
		if w.err = w.out.write(p[:n], off, w.out.place()); w.err != nil {
			break
		}
		p = p[n:]
	}
	w.err = w.out.wait() // before the caller has p back
	return w.err
}

func (w *Writer) writeDirect(p []byte) error {
	off := w.off
	w.off += int64(len(p))
	w.err = w.out.direct(p, off)
	return w.err
}
