package vhd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"
)

// maxSmallFile bounds what [Dir].ReadFile reads.
const maxSmallFile = 1 << 20

// Dir is a directory that holds images: what [Merge] works on. Names are
// relative paths with slashes that satisfy fs.ValidPath and never lead out of
// it. Errors for what does not exist wrap fs.ErrNotExist. An implementation may
// be used by several goroutines.
type Dir interface {
	// Open opens a file for reading.
	Open(ctx context.Context, name string) (DirFile, error)
	// OpenRW opens an existing file for reading and writing in place.
	OpenRW(ctx context.Context, name string) (DirFile, error)
	// ReadFile returns the content of a file of at most 1 MiB.
	ReadFile(ctx context.Context, name string) ([]byte, error)
	// WriteFile makes or replaces a file. It is atomic, and durable when it returns.
	WriteFile(ctx context.Context, name string, data []byte) error
	// Rename replaces newname atomically. It is durable after Sync.
	Rename(ctx context.Context, oldname, newname string) error
	// Remove removes a file. It is durable after Sync.
	Remove(ctx context.Context, name string) error
	// List returns the base names in a directory, sorted; "." is the Dir itself.
	List(ctx context.Context, name string) ([]string, error)
	// Sync makes the renames and removals in a directory durable.
	Sync(ctx context.Context, name string) error
}

// DirFile is an open file of a [Dir]. What was written is durable after Sync.
// The error of Close matters for a file that was written.
type DirFile interface {
	io.ReaderAt
	io.WriterAt
	Size() (int64, error)
	Truncate(size int64) error
	Sync() error
	Close() error
}

// OSDir returns the directory root as a [Dir]. The caller closes root.
func OSDir(root *os.Root) Dir { return osDir{root} }

type osDir struct{ root *os.Root }

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (d osDir) open(ctx context.Context, name string, flag int) (DirFile, error) {
	if err := d.check(ctx, "open", name); err != nil {
		return nil, err
	}
	f, err := d.root.OpenFile(name, flag, 0)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d osDir) check(ctx context.Context, op, name string) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if !fs.ValidPath(name) {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	return nil
}

func (d osDir) Open(ctx context.Context, name string) (DirFile, error) {
	return d.open(ctx, name, os.O_RDONLY)
}

func (d osDir) OpenRW(ctx context.Context, name string) (DirFile, error) {
	return d.open(ctx, name, os.O_RDWR)
}

func (d osDir) ReadFile(ctx context.Context, name string) ([]byte, error) {
	if err := d.check(ctx, "read", name); err != nil {
		return nil, err
	}
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSmallFile+1))
	if err == nil && len(data) > maxSmallFile {
		err = &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("%w: more than %d bytes", ErrUnsupported, maxSmallFile)}
	}
	return data, err
}

func (d osDir) WriteFile(ctx context.Context, name string, data []byte) error {
	if err := d.check(ctx, "write", name); err != nil {
		return err
	}
	dir, base := path.Split(name)
	temp := fmt.Sprintf("%s.%s.%.10s.tmp", dir, base, rand.Text())
	f, err := d.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.root.Rename(temp, name)
	}
	if err != nil {
		return errors.Join(err, d.root.Remove(temp))
	}
	if err := d.Sync(ctx, path.Dir(name)); err != nil {
		return fmt.Errorf("%s was replaced: %w", name, err)
	}
	return nil
}

func (d osDir) Rename(ctx context.Context, oldname, newname string) error {
	if err := errors.Join(d.check(ctx, "rename", oldname), d.check(ctx, "rename", newname)); err != nil {
		return err
	}
	return d.root.Rename(oldname, newname)
}

func (d osDir) Remove(ctx context.Context, name string) error {
	if err := d.check(ctx, "remove", name); err != nil {
		return err
	}
	return d.root.Remove(name)
}

func (d osDir) List(ctx context.Context, name string) ([]string, error) {
	if err := d.check(ctx, "list", name); err != nil {
		return nil, err
	}
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// Sync flushes a directory. Where the system cannot do that for a directory it does nothing.
func (d osDir) Sync(ctx context.Context, name string) error {
	if err := d.check(ctx, "sync", name); err != nil {
		return err
	}
	f, err := d.root.Open(name)
	if err != nil {
		return err
	}
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return errors.Join(err, f.Close())
}
