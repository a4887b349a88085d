package remote

import (
	"context"
	"io/fs"
	"os"
	"time"
)

// operation is one call of a Filesystem or of one of its files.
type operation struct {
	kind string // "stat", "readdir", "open", "create", "read", "write", ...
	name string
	to   string // of a rename
	size int    // of a read or write
}

// around hands every operation to do, which runs it, any number of times, and
// returns what the caller gets. It forwards all capabilities that the Filesystem
// below has.
type around struct {
	below Filesystem
	do    func(ctx context.Context, o operation, run func() error) error
}

var (
	_ Decliner      = (*around)(nil)
	_ SpaceReporter = (*around)(nil)
	_ TreeRemover   = (*around)(nil)
	_ DirSyncer     = (*around)(nil)
	_ NoReplacer    = (*around)(nil)
	_ Toucher       = (*around)(nil)
	_ Locker        = (*around)(nil)
)

// Declines implements [Decliner].
func (a *around) Declines(capability any) bool { return !Offers(a.below, capability) }

// Properties implements [Filesystem].
func (a *around) Properties() Properties { return a.below.Properties() }

// Close implements [Filesystem].
func (a *around) Close() error { return a.below.Close() }

// Stat implements [Filesystem].
func (a *around) Stat(ctx context.Context, name string) (info fs.FileInfo, err error) {
	err = a.do(ctx, operation{kind: "stat", name: name}, func() (err error) {
		info, err = a.below.Stat(ctx, name)
		return err
	})
	return info, err
}

// ReadDir implements [Filesystem].
func (a *around) ReadDir(ctx context.Context, name string) (entries []fs.DirEntry, err error) {
	err = a.do(ctx, operation{kind: "readdir", name: name}, func() (err error) {
		entries, err = a.below.ReadDir(ctx, name)
		return err
	})
	return entries, err
}

// OpenFile implements [Filesystem].
func (a *around) OpenFile(ctx context.Context, name string, flag int) (File, error) {
	o := operation{kind: "open", name: name}
	if flag&os.O_CREATE != 0 {
		o.kind = "create"
	}
	var file File
	err := a.do(ctx, o, func() (err error) {
		file, err = a.below.OpenFile(ctx, name, flag)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &aroundFile{File: file, ctx: ctx, name: name, do: a.do}, nil
}

// Mkdir implements [Filesystem].
func (a *around) Mkdir(ctx context.Context, name string) error {
	return a.do(ctx, operation{kind: "mkdir", name: name}, func() error { return a.below.Mkdir(ctx, name) })
}

// Rename implements [Filesystem].
func (a *around) Rename(ctx context.Context, oldname, newname string) error {
	return a.do(ctx, operation{kind: "rename", name: oldname, to: newname}, func() error { return a.below.Rename(ctx, oldname, newname) })
}

// Remove implements [Filesystem].
func (a *around) Remove(ctx context.Context, name string) error {
	return a.do(ctx, operation{kind: "remove", name: name}, func() error { return a.below.Remove(ctx, name) })
}

// RenameNoReplace implements [NoReplacer].
func (a *around) RenameNoReplace(ctx context.Context, oldname, newname string) error {
	below, _ := As[NoReplacer](a.below)
	return a.do(ctx, operation{kind: "rename", name: oldname, to: newname}, func() error { return below.RenameNoReplace(ctx, oldname, newname) })
}

// RemoveAll implements [TreeRemover].
func (a *around) RemoveAll(ctx context.Context, name string) error {
	below, _ := As[TreeRemover](a.below)
	return a.do(ctx, operation{kind: "removeall", name: name}, func() error { return below.RemoveAll(ctx, name) })
}

// SyncDir implements [DirSyncer].
func (a *around) SyncDir(ctx context.Context, name string) error {
	below, _ := As[DirSyncer](a.below)
	return a.do(ctx, operation{kind: "syncdir", name: name}, func() error { return below.SyncDir(ctx, name) })
}

// Touch implements [Toucher].
func (a *around) Touch(ctx context.Context, name string, mtime time.Time) error {
	below, _ := As[Toucher](a.below)
	return a.do(ctx, operation{kind: "touch", name: name}, func() error { return below.Touch(ctx, name, mtime) })
}

// Space implements [SpaceReporter].
func (a *around) Space(ctx context.Context) (space Space, err error) {
	below, _ := As[SpaceReporter](a.below)
	err = a.do(ctx, operation{kind: "space", name: "."}, func() (err error) {
		space, err = below.Space(ctx)
		return err
	})
	return space, err
}

// Lock implements [Locker]. A lock is no operation of the storage: its own ways
// are those of who made it.
func (a *around) Lock(ctx context.Context, name string, opts *LockOptions) (*Lock, error) {
	below, _ := As[Locker](a.below)
	return below.Lock(ctx, name, opts)
}

// aroundFile is a file of an around.
type aroundFile struct {
	File

	ctx  context.Context //nolint:containedctx // bound at OpenFile, as the interface says
	name string
	do   func(ctx context.Context, o operation, run func() error) error
}

var _ RangeCloner = (*aroundFile)(nil)

// ReadAt implements [File].
func (f *aroundFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.do(f.ctx, operation{kind: "read", name: f.name, size: len(p)}, func() (err error) {
		n, err = f.File.ReadAt(p, off)
		return err
	})
	return n, err
}

// WriteAt implements [File].
func (f *aroundFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.do(f.ctx, operation{kind: "write", name: f.name, size: len(p)}, func() (err error) {
		n, err = f.File.WriteAt(p, off)
		return err
	})
	return n, err
}

// Stat implements [File].
func (f *aroundFile) Stat() (info fs.FileInfo, err error) {
	err = f.do(f.ctx, operation{kind: "stat", name: f.name}, func() (err error) {
		info, err = f.File.Stat()
		return err
	})
	return info, err
}

// Truncate implements [File].
func (f *aroundFile) Truncate(size int64) error {
	return f.do(f.ctx, operation{kind: "truncate", name: f.name}, func() error { return f.File.Truncate(size) })
}

// Sync implements [File].
func (f *aroundFile) Sync() error {
	return f.do(f.ctx, operation{kind: "sync", name: f.name}, f.File.Sync)
}

// Close implements [File]. It is not an operation that waits for anything.
func (f *aroundFile) Close() error { return f.File.Close() }

// CloneRange implements [RangeCloner], between files of one decorator.
func (f *aroundFile) CloneRange(dstOff int64, src File, srcOff, n int64) error {
	if s, ok := src.(*aroundFile); ok {
		src = s.File
	}
	return f.do(f.ctx, operation{kind: "clone", name: f.name}, func() error { return CloneRange(f.File, dstOff, src, srcOff, n) })
}
