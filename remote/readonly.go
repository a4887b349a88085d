package remote

import (
	"context"
	"io/fs"
	"os"
)

// ReadOnly is fsys without any way to change it: whatever would is refused with
// fs.ErrPermission, and of the capabilities only [SpaceReporter] is left. Locks
// cannot be taken. Closing it closes fsys.
func ReadOnly(fsys Filesystem) Filesystem { return &readOnly{fsys} }

type readOnly struct{ below Filesystem }

var (
	_ Decliner      = (*readOnly)(nil)
	_ SpaceReporter = (*readOnly)(nil)
)

// Declines implements [Decliner].
func (r *readOnly) Declines(capability any) bool { return !Offers(r.below, capability) }

// Properties implements [Filesystem].
func (r *readOnly) Properties() Properties {
	p := r.below.Properties()
	p.ReadOnly = true
	return p
}

// Close implements [Filesystem].
func (r *readOnly) Close() error { return r.below.Close() }

// Stat implements [Filesystem].
func (r *readOnly) Stat(ctx context.Context, name string) (fs.FileInfo, error) {
	return r.below.Stat(ctx, name)
}

// ReadDir implements [Filesystem].
func (r *readOnly) ReadDir(ctx context.Context, name string) ([]fs.DirEntry, error) {
	return r.below.ReadDir(ctx, name)
}

// Space implements [SpaceReporter].
func (r *readOnly) Space(ctx context.Context) (Space, error) {
	below, _ := As[SpaceReporter](r.below)
	return below.Space(ctx)
}

// OpenFile implements [Filesystem].
func (r *readOnly) OpenFile(ctx context.Context, name string, flag int) (File, error) {
	if flag != os.O_RDONLY {
		return nil, refuse(ctx, "open", name)
	}
	f, err := r.below.OpenFile(ctx, name, flag)
	if err != nil {
		return nil, err
	}
	return &readOnlyFile{f, name}, nil
}

// Mkdir implements [Filesystem].
func (r *readOnly) Mkdir(ctx context.Context, name string) error { return refuse(ctx, "mkdir", name) }

// Remove implements [Filesystem].
func (r *readOnly) Remove(ctx context.Context, name string) error { return refuse(ctx, "remove", name) }

// Rename implements [Filesystem].
func (r *readOnly) Rename(ctx context.Context, oldname, newname string) error {
	for _, name := range []string{oldname, newname} {
		if err := CheckName("rename", name); err != nil {
			return err
		}
	}
	err := context.Cause(ctx)
	if err == nil {
		err = fs.ErrPermission
	}
	return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: err}
}

// refuse tells why an operation does not take place.
func refuse(ctx context.Context, op, name string) error {
	if err := CheckName(op, name); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return &fs.PathError{Op: op, Path: name, Err: fs.ErrPermission}
}

// readOnlyFile has nothing below it but reading.
type readOnlyFile struct {
	below File
	name  string
}

// ReadAt implements [File].
func (f *readOnlyFile) ReadAt(p []byte, off int64) (int, error) { return f.below.ReadAt(p, off) }

// Stat implements [File].
func (f *readOnlyFile) Stat() (fs.FileInfo, error) { return f.below.Stat() }

// Close implements [File].
func (f *readOnlyFile) Close() error { return f.below.Close() }

// Sync implements [File]: there is nothing to sync.
func (f *readOnlyFile) Sync() error { return nil }

// WriteAt implements [File].
func (f *readOnlyFile) WriteAt([]byte, int64) (int, error) {
	return 0, &fs.PathError{Op: "write", Path: f.name, Err: fs.ErrPermission}
}

// Truncate implements [File].
func (f *readOnlyFile) Truncate(int64) error {
	return &fs.PathError{Op: "truncate", Path: f.name, Err: fs.ErrPermission}
}
