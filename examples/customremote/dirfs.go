package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/xenbackup/xenbackup/remote"
)

// dirFS is a back end: a directory of this machine. Embedding os.Root gives it
// Close alone; the rest has other signatures, and is below.
type dirFS struct{ *os.Root }

func (d dirFS) Properties() remote.Properties {
	return remote.Properties{AtomicReplace: true, ReplaceOpenTarget: true, CaseSensitive: true, IOSize: 1 << 20}
}

// call is what each method does: ask whether anybody still wants an answer, check
// the name, do it, and give the error its meaning.
func call(ctx context.Context, op, name string, do func() error) error {
	if err := remote.CheckName(op, name); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return remote.PathError(op, name, err)
	}
	return remote.PathError(op, name, do())
}

func (d dirFS) Stat(ctx context.Context, name string) (info fs.FileInfo, err error) {
	err = call(ctx, "stat", name, func() (err error) { info, err = d.Root.Stat(name); return })
	return info, err
}

func (d dirFS) ReadDir(ctx context.Context, name string) (entries []fs.DirEntry, err error) {
	err = call(ctx, "readdir", name, func() (err error) { entries, err = fs.ReadDir(d.FS(), name); return })
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return entries, err
}

func (d dirFS) OpenFile(ctx context.Context, name string, flag int) (remote.File, error) {
	var f *os.File
	err := call(ctx, "open", name, func() (err error) { f, err = d.Root.OpenFile(name, flag, 0o666); return })
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, remote.PathError("open", name, errors.Join(err, f.Close(), errors.New("not a file")))
	}
	return file{f, ctx, name}, nil
}

func (d dirFS) Mkdir(ctx context.Context, name string) error {
	return call(ctx, "mkdir", name, func() error { return d.Root.Mkdir(name, 0o777) })
}

func (d dirFS) Remove(ctx context.Context, name string) error {
	return call(ctx, "remove", name, func() error { return d.Root.Remove(name) })
}

func (d dirFS) Rename(ctx context.Context, oldname, newname string) error {
	if err := call(ctx, "rename", newname, func() error { return nil }); err != nil {
		return err
	}
	return call(ctx, "rename", oldname, func() error { return d.Root.Rename(oldname, newname) })
}

// SyncDir is a capability: without it, a power cut may undo a rename.
func (d dirFS) SyncDir(ctx context.Context, name string) error {
	return call(ctx, "syncdir", name, func() error {
		dir, err := d.Open(name)
		if err != nil {
			return err
		}
		defer dir.Close()
		return dir.Sync()
	})
}

// file fails once the context it was opened with has ended, except to close.
type file struct {
	f    *os.File
	ctx  context.Context //nolint:containedctx // governs the whole life of a File
	name string
}

func (f file) ReadAt(p []byte, off int64) (n int, err error) {
	err = call(f.ctx, "read", f.name, func() (err error) { n, err = f.f.ReadAt(p, off); return })
	if errors.Is(err, io.EOF) {
		err = io.EOF // as it is, without a name
	}
	return n, err
}

func (f file) WriteAt(p []byte, off int64) (n int, err error) {
	err = call(f.ctx, "write", f.name, func() (err error) { n, err = f.f.WriteAt(p, off); return })
	return n, err
}

func (f file) Stat() (info fs.FileInfo, err error) {
	err = call(f.ctx, "stat", f.name, func() (err error) { info, err = f.f.Stat(); return })
	return info, err
}

func (f file) Truncate(size int64) error {
	return call(f.ctx, "truncate", f.name, func() error { return f.f.Truncate(size) })
}
func (f file) Sync() error  { return call(f.ctx, "sync", f.name, f.f.Sync) }
func (f file) Close() error { return remote.PathError("close", f.name, f.f.Close()) }
