package nfs

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

// FS is a directory on an NFS server. It is safe for concurrent use. It keeps a
// connection for names and, from the first read or write on, another for the data
// of files, and makes them again when they are lost.
type FS struct {
	name   string
	client *client
	root   handle
	limits limits
	dirs   *dirCache
}

var (
	_ remote.Filesystem    = (*FS)(nil)
	_ remote.SpaceReporter = (*FS)(nil)
	_ remote.TreeRemover   = (*FS)(nil)
	_ remote.NoReplacer    = (*FS)(nil)
	_ remote.Toucher       = (*FS)(nil)
)

const (
	// pipelineDepth is how many calls of one ReadAt or WriteAt are under way at a
	// time, and how many of these are worth having at a time.
	pipelineDepth = 8
	// syncEvery bounds what a server that restarts makes a Writer lose.
	syncEvery = 256 << 20
)

// String is the URL of the directory, without options.
func (f *FS) String() string { return f.name }

// Close closes the connections. What is under way, and all later use of the
// Filesystem and its Files, fails with [fs.ErrClosed].
func (f *FS) Close() error {
	f.client.session.close()
	f.client.bulk.close()
	return nil
}

// Properties implements [remote.Filesystem].
func (f *FS) Properties() remote.Properties {
	return remote.Properties{
		AtomicReplace:     true,
		ReplaceOpenTarget: true,
		StableMetadata:    true,
		CaseSensitive:     f.limits.caseSensitive,
		PipelineDepth:     pipelineDepth,
		IOSize:            min(f.limits.read, f.limits.write),
		SyncEvery:         syncEvery,
	}
}

// check is what every method begins with.
func check(ctx context.Context, op, name string) error {
	if err := remote.CheckName(op, name); err != nil {
		return err
	}
	if strings.ContainsRune(name, 0) {
		return remote.PathError(op, name, fs.ErrInvalid)
	}
	return remote.PathError(op, name, context.Cause(ctx))
}

// checkEntry is check for methods that the root itself is no name for.
func checkEntry(ctx context.Context, op, name string) error {
	if err := check(ctx, op, name); err != nil {
		return err
	}
	if name == "." {
		return remote.PathError(op, name, fs.ErrInvalid)
	}
	return nil
}

func pathError(op, name string, err error) error { return remote.PathError(op, name, cause(err)) }

// Stat implements [remote.Filesystem].
func (f *FS) Stat(ctx context.Context, name string) (fs.FileInfo, error) {
	if err := check(ctx, "stat", name); err != nil {
		return nil, err
	}
	o, err := f.find(ctx, name)
	if err != nil {
		return nil, pathError("stat", name, err)
	}
	return &info{name: path.Base(name), attr: o.a}, nil
}

// ReadDir implements [remote.Filesystem]. The Info of an entry is as old as the
// listing.
func (f *FS) ReadDir(ctx context.Context, name string) ([]fs.DirEntry, error) {
	if err := check(ctx, "readdir", name); err != nil {
		return nil, err
	}
	o, err := f.find(ctx, name)
	if err == nil && o.a.kind != typeDir {
		err = errNotDir
	}
	if err != nil {
		return nil, pathError("readdir", name, err)
	}
	list, err := f.client.list(ctx, o.h)
	if err != nil {
		return nil, pathError("readdir", name, err)
	}
	entries := make([]fs.DirEntry, len(list))
	for i := range list {
		entries[i] = newDirEntry(&list[i])
	}
	return entries, nil
}

var errNotRegular = errors.New("not a regular file")

// OpenFile implements [remote.Filesystem]. Whether this user may read or write
// the file is seen when it does.
func (f *FS) OpenFile(ctx context.Context, name string, flag int) (remote.File, error) {
	if err := check(ctx, "open", name); err != nil {
		return nil, err
	}
	var o object
	var err error
	switch flag {
	case os.O_RDWR | os.O_CREATE | os.O_EXCL:
		if name == "." {
			err = syscall.EISDIR
			break
		}
		err = f.at(ctx, name, func(p *place) (err error) {
			o, err = f.client.create(ctx, p.dir, p.base)
			return err
		})
	case os.O_RDONLY, os.O_RDWR:
		o, err = f.openExisting(ctx, name)
	case os.O_RDWR | os.O_TRUNC:
		if o, err = f.openExisting(ctx, name); err == nil {
			err = f.client.setAttr(ctx, o.h, newAttr{size: 0})
		}
	default:
		err = fs.ErrInvalid
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return &file{ctx: ctx, fs: f, name: name, writable: flag&os.O_RDWR != 0, h: o.h, found: o.a}, nil
}

func (f *FS) openExisting(ctx context.Context, name string) (object, error) {
	o, err := f.find(ctx, name)
	switch {
	case err != nil:
		return o, err
	case o.a.kind == typeDir:
		return o, errIsDir
	case o.a.kind != typeRegular:
		return o, errNotRegular
	}
	return o, nil
}

// Mkdir implements [remote.Filesystem].
func (f *FS) Mkdir(ctx context.Context, name string) error {
	if err := check(ctx, "mkdir", name); err != nil {
		return err
	}
	if name == "." {
		return pathError("mkdir", name, errExist)
	}
	return pathError("mkdir", name, f.at(ctx, name, func(p *place) error {
		return f.client.mkdir(ctx, p.dir, p.base)
	}))
}

// Remove implements [remote.Filesystem].
func (f *FS) Remove(ctx context.Context, name string) error {
	if err := checkEntry(ctx, "remove", name); err != nil {
		return err
	}
	return pathError("remove", name, f.at(ctx, name, func(p *place) error {
		o, err := f.client.lookup(ctx, p.dir, p.base)
		if err != nil {
			return err
		}
		if o.a.kind == typeDir {
			f.dirs.drop(p.full())
		}
		return f.removeObject(ctx, p.dir, p.base, &o)
	}))
}

// removeObject removes, and tells that a directory is not empty where the server
// says only that it failed.
func (f *FS) removeObject(ctx context.Context, dir handle, name string, o *object) error {
	err := f.client.remove(ctx, dir, name, o)
	if o.a.kind != typeDir || !isStatus(err, errExist, errIO, errServerFault) {
		return err
	}
	if entries, listErr := f.client.list(ctx, o.h); listErr == nil && len(entries) > 0 {
		return errNotEmpty
	}
	return err
}

// Rename implements [remote.Filesystem].
func (f *FS) Rename(ctx context.Context, oldname, newname string) error {
	return f.move(ctx, oldname, newname, func(from *place, o *object, to *place) error {
		return f.client.rename(ctx, from.dir, from.base, o, to.dir, to.base)
	})
}

// RenameNoReplace implements [remote.NoReplacer] for files: the file gets the new
// name by LINK, which fails when that exists, and loses the old one. A crash
// between the two leaves both names. Directories, and servers without links, are
// [errors.ErrUnsupported].
func (f *FS) RenameNoReplace(ctx context.Context, oldname, newname string) error {
	return f.move(ctx, oldname, newname, func(from *place, o *object, to *place) error {
		if o.a.kind != typeRegular {
			return errors.ErrUnsupported
		}
		if err := f.client.link(ctx, o, to.dir, to.base); err != nil {
			if isStatus(err, errNotSupp, errPerm, errMLink, errXDev, errInval) {
				return errors.ErrUnsupported
			}
			return err
		}
		return f.client.remove(ctx, from.dir, from.base, o)
	})
}

func (f *FS) move(ctx context.Context, oldname, newname string, move func(from *place, o *object, to *place) error) error {
	for _, name := range [...]string{oldname, newname} {
		if err := checkEntry(ctx, "rename", name); err != nil {
			return err
		}
	}
	err := f.at(ctx, oldname, func(from *place) error {
		o, err := f.client.lookup(ctx, from.dir, from.base)
		if err != nil {
			return err
		}
		return f.at(ctx, newname, func(to *place) error {
			f.dirs.drop(from.full())
			f.dirs.drop(to.full())
			return move(from, &o, to)
		})
	})
	return remote.LinkError("rename", oldname, newname, cause(err))
}

// Touch implements [remote.Toucher]. The access time is set too.
func (f *FS) Touch(ctx context.Context, name string, mtime time.Time) error {
	if err := check(ctx, "touch", name); err != nil {
		return err
	}
	if s := mtime.Unix(); s < 0 || s > math.MaxUint32 {
		return pathError("touch", name, fs.ErrInvalid) // NFSv3 has no such time
	}
	o, err := f.find(ctx, name)
	if err == nil {
		err = f.client.setAttr(ctx, o.h, newAttr{size: -1, touched: mtime})
	}
	return pathError("touch", name, err)
}

// Space implements [remote.SpaceReporter]. Where the server counts a quota, it is
// that.
func (f *FS) Space(ctx context.Context) (remote.Space, error) {
	if err := check(ctx, "space", "."); err != nil {
		return remote.Space{}, err
	}
	s, err := f.client.fsStat(ctx, f.root)
	if err != nil {
		return remote.Space{}, pathError("space", ".", err)
	}
	total := min(s.total, math.MaxInt64)
	return remote.Space{Total: int64(total), Free: int64(min(s.available, total))}, nil
}
