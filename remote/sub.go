package remote

import (
	"context"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
)

// Sub is the directory dir of fsys, which should exist, as a Filesystem of its own
// with the same capabilities. Errors of its methods name what they were asked for;
// those of its files name the file as fsys does. Closing it does not close fsys.
// Unlike a mount it keeps nobody in: a symbolic link in dir leads where it leads.
func Sub(fsys Filesystem, dir string) (Filesystem, error) {
	if err := CheckName("sub", dir); err != nil {
		return nil, err
	}
	if dir == "." {
		dir = ""
	}
	return &sub{fsys, dir}, nil
}

type sub struct {
	below Filesystem
	dir   string
}

var (
	_ Decliner      = (*sub)(nil)
	_ SpaceReporter = (*sub)(nil)
	_ TreeRemover   = (*sub)(nil)
	_ DirSyncer     = (*sub)(nil)
	_ NoReplacer    = (*sub)(nil)
	_ Toucher       = (*sub)(nil)
	_ Locker        = (*sub)(nil)
)

// in runs an operation on the name below, and gives its error the name above.
func (s *sub) in(op, name string, run func(full string) error) error {
	if err := CheckName(op, name); err != nil {
		return err
	}
	return s.above(run(path.Join(s.dir, name)))
}

func (s *sub) above(err error) error {
	switch e := err.(type) { //nolint:errorlint // the outermost names what was asked for
	case *fs.PathError:
		return &fs.PathError{Op: e.Op, Path: s.cut(e.Path), Err: e.Err}
	case *os.LinkError:
		return &os.LinkError{Op: e.Op, Old: s.cut(e.Old), New: s.cut(e.New), Err: e.Err}
	}
	return err
}

func (s *sub) cut(name string) string {
	switch rest, ok := strings.CutPrefix(name, s.dir+"/"); {
	case ok:
		return rest
	case name == s.dir:
		return "."
	}
	return name
}

// Declines implements [Decliner].
func (s *sub) Declines(capability any) bool { return !Offers(s.below, capability) }

// Properties implements [Filesystem].
func (s *sub) Properties() Properties { return s.below.Properties() }

// Close implements [Filesystem]. It does nothing.
func (s *sub) Close() error { return nil }

// Stat implements [Filesystem].
func (s *sub) Stat(ctx context.Context, name string) (info fs.FileInfo, err error) {
	err = s.in("stat", name, func(full string) (err error) {
		info, err = s.below.Stat(ctx, full)
		return err
	})
	return info, err
}

// ReadDir implements [Filesystem].
func (s *sub) ReadDir(ctx context.Context, name string) (entries []fs.DirEntry, err error) {
	err = s.in("readdir", name, func(full string) (err error) {
		entries, err = s.below.ReadDir(ctx, full)
		return err
	})
	return entries, err
}

// OpenFile implements [Filesystem].
func (s *sub) OpenFile(ctx context.Context, name string, flag int) (file File, err error) {
	err = s.in("open", name, func(full string) (err error) {
		file, err = s.below.OpenFile(ctx, full, flag)
		return err
	})
	return file, err
}

// Mkdir implements [Filesystem].
func (s *sub) Mkdir(ctx context.Context, name string) error {
	return s.in("mkdir", name, func(full string) error { return s.below.Mkdir(ctx, full) })
}

// Remove implements [Filesystem]. The root cannot be removed.
func (s *sub) Remove(ctx context.Context, name string) error {
	if name == "." {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrInvalid}
	}
	return s.in("remove", name, func(full string) error { return s.below.Remove(ctx, full) })
}

// Rename implements [Filesystem].
func (s *sub) Rename(ctx context.Context, oldname, newname string) error {
	return s.rename(ctx, oldname, newname, s.below.Rename)
}

// RenameNoReplace implements [NoReplacer].
func (s *sub) RenameNoReplace(ctx context.Context, oldname, newname string) error {
	below, _ := As[NoReplacer](s.below)
	return s.rename(ctx, oldname, newname, below.RenameNoReplace)
}

func (s *sub) rename(ctx context.Context, oldname, newname string, rename func(ctx context.Context, oldname, newname string) error) error {
	return s.in("rename", oldname, func(oldfull string) error {
		if err := CheckName("rename", newname); err != nil {
			return err
		}
		return rename(ctx, oldfull, path.Join(s.dir, newname))
	})
}

// RemoveAll implements [TreeRemover].
func (s *sub) RemoveAll(ctx context.Context, name string) error {
	below, _ := As[TreeRemover](s.below)
	if name == "." {
		return &fs.PathError{Op: "removeall", Path: name, Err: fs.ErrInvalid}
	}
	return s.in("removeall", name, func(full string) error { return below.RemoveAll(ctx, full) })
}

// SyncDir implements [DirSyncer].
func (s *sub) SyncDir(ctx context.Context, name string) error {
	below, _ := As[DirSyncer](s.below)
	return s.in("syncdir", name, func(full string) error { return below.SyncDir(ctx, full) })
}

// Touch implements [Toucher].
func (s *sub) Touch(ctx context.Context, name string, mtime time.Time) error {
	below, _ := As[Toucher](s.below)
	return s.in("touch", name, func(full string) error { return below.Touch(ctx, full, mtime) })
}

// Space implements [SpaceReporter].
func (s *sub) Space(ctx context.Context) (Space, error) {
	below, _ := As[SpaceReporter](s.below)
	return below.Space(ctx)
}

// Lock implements [Locker].
func (s *sub) Lock(ctx context.Context, name string, opts *LockOptions) (lock *Lock, err error) {
	below, _ := As[Locker](s.below)
	err = s.in("lock", name, func(full string) (err error) {
		lock, err = below.Lock(ctx, full, opts)
		return err
	})
	return lock, err
}
