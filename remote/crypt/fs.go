package crypt

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

// FS is an encrypted repository: a [remote.Filesystem] whose files are decrypted
// when they are read and encrypted when they are written. It offers the
// capabilities of the Filesystem below, and is safe for concurrent use.
type FS struct {
	below   remote.Filesystem
	scheme  *scheme
	buffers sync.Pool // *[]byte of shortFile+overhead
}

var (
	_ remote.Decliner      = (*FS)(nil)
	_ remote.SpaceReporter = (*FS)(nil)
	_ remote.TreeRemover   = (*FS)(nil)
	_ remote.Locker        = (*FS)(nil)
	_ remote.DirSyncer     = (*FS)(nil)
	_ remote.NoReplacer    = (*FS)(nil)
	_ remote.Toucher       = (*FS)(nil)
)

func newFS(below remote.Filesystem, s *scheme) *FS {
	return &FS{below: below, scheme: s, buffers: sync.Pool{New: func() any {
		b := make([]byte, shortFile+overhead)
		return &b
	}}}
}

// tinyFile is up to which length a file that is read gets a buffer of its own: most
// files are records of a few KiB.
const tinyFile = 64 << 10

// buffer has room for a file of this length, or for the pieces of a long one.
func (f *FS) buffer(size int64) *[]byte {
	if size <= tinyFile {
		b := make([]byte, size+overhead)
		return &b
	}
	b, _ := f.buffers.Get().(*[]byte)
	return b
}

func (f *FS) release(b *[]byte) {
	if len(*b) == shortFile+overhead {
		f.buffers.Put(b)
	}
}

// Algorithm is what the repository is encrypted with.
func (f *FS) Algorithm() Algorithm { return f.scheme.algorithm }

// alive tells that the context which a file was opened with has ended: what is in
// memory is then as much out of reach as what is stored.
func alive(ctx context.Context, op, name string) error {
	return remote.PathError(op, name, context.Cause(ctx))
}

// isClear reports whether a file is stored as it is. A temporary file is stored as
// the file that it will be.
func isClear(name string) bool {
	if remote.IsTemp(name) {
		dir, base := path.Split(name)
		base = strings.TrimPrefix(base, ".")
		base = base[:strings.LastIndexByte(strings.TrimSuffix(base, path.Ext(base)), '.')]
		name = dir + base
	}
	return strings.HasSuffix(name, ".checksum") || name == encryptionFile || name == "immutability.json" || name == identityFile
}

// Stat implements [remote.Filesystem]. The size of a file is that of its content,
// as far as it is finished.
func (f *FS) Stat(ctx context.Context, name string) (fs.FileInfo, error) {
	info, err := f.below.Stat(ctx, name)
	if err != nil || info.IsDir() || isClear(name) {
		return info, err
	}
	return sized{info}, nil
}

// sized describes the content of an encrypted file.
type sized struct{ fs.FileInfo }

// Size is the length of the content in bytes; 0 of a file too short to be one.
func (s sized) Size() int64 { return max(0, s.FileInfo.Size()-overhead) }

// ReadDir implements [remote.Filesystem].
func (f *FS) ReadDir(ctx context.Context, name string) ([]fs.DirEntry, error) {
	entries, err := f.below.ReadDir(ctx, name)
	if err != nil {
		return nil, err
	}
	for i, e := range entries {
		if !e.IsDir() && !isClear(path.Join(name, e.Name())) {
			entries[i] = entry{e}
		}
	}
	return entries, nil
}

type entry struct{ fs.DirEntry }

// Info describes the content of the file.
func (e entry) Info() (fs.FileInfo, error) {
	info, err := e.DirEntry.Info()
	if err != nil {
		return nil, err
	}
	return sized{info}, nil
}

// OpenFile implements [remote.Filesystem], except that a file which exists opens
// for writing only with os.O_TRUNC: anything else is [ErrInPlace].
func (f *FS) OpenFile(ctx context.Context, name string, flag int) (remote.File, error) {
	if isClear(name) {
		return f.below.OpenFile(ctx, name, flag)
	}
	if flag&os.O_RDWR != 0 && flag&(os.O_TRUNC|os.O_EXCL) == 0 {
		if err := remote.CheckName("open", name); err != nil {
			return nil, err
		}
		return nil, &fs.PathError{Op: "open", Path: name, Err: ErrInPlace}
	}
	file, err := f.below.OpenFile(ctx, name, flag)
	if err != nil {
		return nil, err
	}
	if flag&os.O_RDWR != 0 {
		return newWriter(ctx, f, file, name), nil
	}
	r, err := newReader(ctx, f, file, name)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return r, nil
}

// Mkdir implements [remote.Filesystem].
func (f *FS) Mkdir(ctx context.Context, name string) error { return f.below.Mkdir(ctx, name) }

// Rename implements [remote.Filesystem]. A file must not change between the names
// that are encrypted and those that are not: fs.ErrInvalid.
func (f *FS) Rename(ctx context.Context, oldname, newname string) error {
	if err := sameKind(oldname, newname); err != nil {
		return err
	}
	return f.below.Rename(ctx, oldname, newname)
}

func sameKind(oldname, newname string) error {
	if isClear(oldname) != isClear(newname) {
		return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: fs.ErrInvalid}
	}
	return nil
}

// Remove implements [remote.Filesystem].
func (f *FS) Remove(ctx context.Context, name string) error { return f.below.Remove(ctx, name) }

// Properties implements [remote.Filesystem]. Each file is read and written by one
// piece at a time; the file itself syncs what is below as often as that asks for.
func (f *FS) Properties() remote.Properties {
	p := f.below.Properties()
	p.PipelineDepth, p.SyncEvery = 1, 0
	return p
}

// Close closes the Filesystem below.
func (f *FS) Close() error { return f.below.Close() }

// Declines implements [remote.Decliner].
func (f *FS) Declines(capability any) bool { return !remote.Offers(f.below, capability) }

// Space implements [remote.SpaceReporter].
func (f *FS) Space(ctx context.Context) (remote.Space, error) {
	below, _ := remote.As[remote.SpaceReporter](f.below)
	return below.Space(ctx)
}

// RemoveAll implements [remote.TreeRemover].
func (f *FS) RemoveAll(ctx context.Context, name string) error {
	below, _ := remote.As[remote.TreeRemover](f.below)
	return below.RemoveAll(ctx, name)
}

// Lock implements [remote.Locker].
func (f *FS) Lock(ctx context.Context, name string, opts *remote.LockOptions) (*remote.Lock, error) {
	below, _ := remote.As[remote.Locker](f.below)
	return below.Lock(ctx, name, opts)
}

// SyncDir implements [remote.DirSyncer].
func (f *FS) SyncDir(ctx context.Context, name string) error {
	below, _ := remote.As[remote.DirSyncer](f.below)
	return below.SyncDir(ctx, name)
}

// RenameNoReplace implements [remote.NoReplacer].
func (f *FS) RenameNoReplace(ctx context.Context, oldname, newname string) error {
	if err := sameKind(oldname, newname); err != nil {
		return err
	}
	below, _ := remote.As[remote.NoReplacer](f.below)
	return below.RenameNoReplace(ctx, oldname, newname)
}

// Touch implements [remote.Toucher].
func (f *FS) Touch(ctx context.Context, name string, mtime time.Time) error {
	below, _ := remote.As[remote.Toucher](f.below)
	return below.Touch(ctx, name, mtime)
}
