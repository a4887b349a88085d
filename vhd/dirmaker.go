package vhd

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"syscall"
)

// DirMaker is a [Dir] in which directories can be made. Disks that are kept as
// directories need it: a block that is the first of its thousand brings a
// directory with it. [OSDir] returns one.
type DirMaker interface {
	Dir
	// MkdirAll makes a directory and those above it, as far as they are not
	// there. They are durable when it returns.
	MkdirAll(ctx context.Context, name string) error
}

// MkdirAll implements [DirMaker].
func (d osDir) MkdirAll(ctx context.Context, name string) error {
	if err := d.check(ctx, "mkdir", name); err != nil {
		return err
	}
	err := d.root.Mkdir(name, 0o755)
	switch {
	case errors.Is(err, fs.ErrExist):
		info, err := d.root.Stat(name)
		if err == nil && !info.IsDir() {
			err = &fs.PathError{Op: "mkdir", Path: name, Err: syscall.ENOTDIR}
		}
		return err
	case errors.Is(err, fs.ErrNotExist) && name != ".":
		if err := d.MkdirAll(ctx, path.Dir(name)); err != nil {
			return err
		}
		err = d.root.Mkdir(name, 0o755)
		if errors.Is(err, fs.ErrExist) {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	return d.Sync(ctx, path.Dir(name))
}
