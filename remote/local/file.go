package local

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/xenbackup/xenbackup/remote"
)

// openFile is a [remote.File]: an os.File that fails once its context has ended.
type openFile struct {
	ctx  context.Context //nolint:containedctx // bound at OpenFile, as the interface says
	name string
	f    *os.File
}

var _ remote.RangeCloner = (*openFile)(nil)

func (o *openFile) ReadAt(p []byte, off int64) (int, error) {
	if err := o.alive("read"); err != nil {
		return 0, err
	}
	n, err := o.f.ReadAt(p, off)
	if errors.Is(err, io.EOF) {
		return n, io.EOF
	}
	return n, remote.PathError("read", o.name, err)
}

func (o *openFile) WriteAt(p []byte, off int64) (int, error) {
	if err := o.alive("write"); err != nil {
		return 0, err
	}
	n, err := o.f.WriteAt(p, off)
	return n, remote.PathError("write", o.name, err)
}

func (o *openFile) Stat() (fs.FileInfo, error) {
	if err := o.alive("stat"); err != nil {
		return nil, err
	}
	info, err := o.f.Stat()
	return info, remote.PathError("stat", o.name, err)
}

func (o *openFile) Truncate(size int64) error {
	if err := o.alive("truncate"); err != nil {
		return err
	}
	return remote.PathError("truncate", o.name, o.f.Truncate(size))
}

func (o *openFile) Sync() error {
	if err := o.alive("sync"); err != nil {
		return err
	}
	return remote.PathError("sync", o.name, o.f.Sync())
}

// CloneRange implements [remote.RangeCloner].
func (o *openFile) CloneRange(dstOff int64, src remote.File, srcOff, n int64) error {
	if err := o.alive("clone"); err != nil {
		return err
	}
	from, ok := src.(*openFile)
	if !ok {
		return remote.PathError("clone", o.name, errors.ErrUnsupported)
	}
	return remote.PathError("clone", o.name, cloneRange(o.f, dstOff, from.f, srcOff, n))
}

func (o *openFile) Close() error { return remote.PathError("close", o.name, o.f.Close()) }

func (o *openFile) alive(op string) error {
	return remote.PathError(op, o.name, context.Cause(o.ctx))
}
