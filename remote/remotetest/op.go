package remotetest

import (
	"context"
	"io/fs"
	"os"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

// Kind is a kind of operation on a Filesystem or on one of its files.
type Kind string

// The kinds of operations. RenameNoReplace is a Rename, and OpenFile with
// os.O_CREATE or os.O_TRUNC is a Create.
const (
	Stat      Kind = "stat"
	ReadDir   Kind = "readdir"
	Open      Kind = "open"
	Create    Kind = "create"
	Read      Kind = "read"
	Write     Kind = "write"
	Truncate  Kind = "truncate"
	Sync      Kind = "sync"
	Close     Kind = "close"
	Mkdir     Kind = "mkdir"
	Rename    Kind = "rename"
	Remove    Kind = "remove"
	RemoveAll Kind = "removeall"
	SyncDir   Kind = "syncdir"
	Touch     Kind = "touch"
	Space     Kind = "space"
	Lock      Kind = "lock"
)

// Mutating are the kinds that change the storage or make a change durable.
func Mutating() []Kind {
	return []Kind{Create, Write, Truncate, Sync, Mkdir, Rename, Remove, RemoveAll, SyncDir, Touch}
}

// op is one operation about to run.
type op struct {
	ctx  context.Context //nolint:containedctx // of the caller, or of the file's opening
	kind Kind
	name string
	to   string // of Rename
	off  int64  // of Read and Write; the size of Truncate
	size int    // of Read and Write; whoever interposes may lower it
}

// interposed hands every operation to do, which may run it or not.
type interposed struct {
	below remote.Filesystem
	do    func(o *op, run func() error) error
}

var (
	_ remote.Decliner      = (*interposed)(nil)
	_ remote.SpaceReporter = (*interposed)(nil)
	_ remote.TreeRemover   = (*interposed)(nil)
	_ remote.Locker        = (*interposed)(nil)
	_ remote.DirSyncer     = (*interposed)(nil)
	_ remote.NoReplacer    = (*interposed)(nil)
	_ remote.Toucher       = (*interposed)(nil)
)

// Declines implements [remote.Decliner]: what the Filesystem below lacks.
func (i *interposed) Declines(capability any) bool { return !remote.Offers(i.below, capability) }

// Properties implements [remote.Filesystem].
func (i *interposed) Properties() remote.Properties { return i.below.Properties() }

// Close implements [remote.Filesystem]; it is not counted as an operation.
func (i *interposed) Close() error { return i.below.Close() }

// Stat implements [remote.Filesystem].
func (i *interposed) Stat(ctx context.Context, name string) (info fs.FileInfo, err error) {
	err = i.do(&op{ctx: ctx, kind: Stat, name: name}, func() error {
		info, err = i.below.Stat(ctx, name)
		return err
	})
	return info, err
}

// ReadDir implements [remote.Filesystem].
func (i *interposed) ReadDir(ctx context.Context, name string) (entries []fs.DirEntry, err error) {
	err = i.do(&op{ctx: ctx, kind: ReadDir, name: name}, func() error {
		entries, err = i.below.ReadDir(ctx, name)
		return err
	})
	return entries, err
}

// OpenFile implements [remote.Filesystem].
func (i *interposed) OpenFile(ctx context.Context, name string, flag int) (remote.File, error) {
	o := &op{ctx: ctx, kind: Open, name: name}
	if flag&(os.O_CREATE|os.O_TRUNC) != 0 {
		o.kind = Create
	}
	var file remote.File
	err := i.do(o, func() (err error) {
		file, err = i.below.OpenFile(ctx, name, flag)
		return err
	})
	if err != nil {
		if file != nil {
			_ = file.Close() // opened, but the caller is told otherwise
		}
		return nil, err
	}
	return &interposedFile{File: file, ctx: ctx, fs: i, name: name}, nil
}

// Mkdir implements [remote.Filesystem].
func (i *interposed) Mkdir(ctx context.Context, name string) error {
	return i.do(&op{ctx: ctx, kind: Mkdir, name: name}, func() error { return i.below.Mkdir(ctx, name) })
}

// Rename implements [remote.Filesystem].
func (i *interposed) Rename(ctx context.Context, oldname, newname string) error {
	return i.do(&op{ctx: ctx, kind: Rename, name: oldname, to: newname}, func() error { return i.below.Rename(ctx, oldname, newname) })
}

// Remove implements [remote.Filesystem].
func (i *interposed) Remove(ctx context.Context, name string) error {
	return i.do(&op{ctx: ctx, kind: Remove, name: name}, func() error { return i.below.Remove(ctx, name) })
}

// RenameNoReplace implements [remote.NoReplacer].
func (i *interposed) RenameNoReplace(ctx context.Context, oldname, newname string) error {
	below, _ := remote.As[remote.NoReplacer](i.below)
	return i.do(&op{ctx: ctx, kind: Rename, name: oldname, to: newname}, func() error { return below.RenameNoReplace(ctx, oldname, newname) })
}

// RemoveAll implements [remote.TreeRemover].
func (i *interposed) RemoveAll(ctx context.Context, name string) error {
	below, _ := remote.As[remote.TreeRemover](i.below)
	return i.do(&op{ctx: ctx, kind: RemoveAll, name: name}, func() error { return below.RemoveAll(ctx, name) })
}

// SyncDir implements [remote.DirSyncer].
func (i *interposed) SyncDir(ctx context.Context, name string) error {
	below, _ := remote.As[remote.DirSyncer](i.below)
	return i.do(&op{ctx: ctx, kind: SyncDir, name: name}, func() error { return below.SyncDir(ctx, name) })
}

// Touch implements [remote.Toucher].
func (i *interposed) Touch(ctx context.Context, name string, mtime time.Time) error {
	below, _ := remote.As[remote.Toucher](i.below)
	return i.do(&op{ctx: ctx, kind: Touch, name: name}, func() error { return below.Touch(ctx, name, mtime) })
}

// Space implements [remote.SpaceReporter].
func (i *interposed) Space(ctx context.Context) (space remote.Space, err error) {
	below, _ := remote.As[remote.SpaceReporter](i.below)
	err = i.do(&op{ctx: ctx, kind: Space, name: "."}, func() error {
		space, err = below.Space(ctx)
		return err
	})
	return space, err
}

// Lock implements [remote.Locker].
func (i *interposed) Lock(ctx context.Context, name string, opts *remote.LockOptions) (lock *remote.Lock, err error) {
	below, _ := remote.As[remote.Locker](i.below)
	err = i.do(&op{ctx: ctx, kind: Lock, name: name}, func() error {
		lock, err = below.Lock(ctx, name, opts)
		return err
	})
	return lock, err
}

type interposedFile struct {
	remote.File
	ctx  context.Context //nolint:containedctx // bound at OpenFile, as the interface says
	fs   *interposed
	name string
}

func (f *interposedFile) ReadAt(p []byte, off int64) (n int, err error) {
	o := &op{ctx: f.ctx, kind: Read, name: f.name, off: off, size: len(p)}
	err = f.fs.do(o, func() error {
		n, err = f.File.ReadAt(p[:o.size], off)
		return err
	})
	return n, err
}

func (f *interposedFile) WriteAt(p []byte, off int64) (n int, err error) {
	o := &op{ctx: f.ctx, kind: Write, name: f.name, off: off, size: len(p)}
	err = f.fs.do(o, func() error {
		n, err = f.File.WriteAt(p[:o.size], off)
		return err
	})
	if err == nil {
		n = len(p) // also of one that only was said to take place
	}
	return n, err
}

func (f *interposedFile) Truncate(size int64) error {
	return f.fs.do(&op{ctx: f.ctx, kind: Truncate, name: f.name, off: size}, func() error { return f.File.Truncate(size) })
}

func (f *interposedFile) Sync() error {
	return f.fs.do(&op{ctx: f.ctx, kind: Sync, name: f.name}, f.File.Sync)
}

func (f *interposedFile) Close() error {
	return f.fs.do(&op{ctx: f.ctx, kind: Close, name: f.name}, f.File.Close)
}
