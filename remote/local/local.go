package local

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

// Options direct [Open]. nil and the zero value are the defaults.
type Options struct {
	// Create makes the directory, and those above it, when it does not exist.
	// Without it a missing directory is fs.ErrNotExist: it may well be a mount
	// that is not there, which must not be filled.
	Create bool
	// Mounted refuses, as [ErrNotMounted], a directory that is on the same file
	// system as "/": the disk or share that belongs there is not mounted, and what
	// is written would fill the system's disk. A bind mount of the system's own disk
	// is refused too. It does not tell one mounted disk from another:
	// [remote.CheckIdentity] does. Windows has no such mounts and answers
	// [errors.ErrUnsupported].
	Mounted bool
}

// ErrNotMounted says that nothing is mounted at or above the directory. See [Options].
var ErrNotMounted = errors.New("local: not mounted")

// FS is a directory of this machine. It is safe for concurrent use.
type FS struct {
	root *os.Root
	dir  string
}

var (
	_ remote.Filesystem    = (*FS)(nil)
	_ remote.SpaceReporter = (*FS)(nil)
	_ remote.TreeRemover   = (*FS)(nil)
	_ remote.DirSyncer     = (*FS)(nil)
	_ remote.NoReplacer    = (*FS)(nil)
	_ remote.Toucher       = (*FS)(nil)
)

// Open opens the directory dir, a path of the operating system. opts may be nil.
// The directory stays the same one when it is renamed or mounted over.
func Open(dir string, opts *Options) (*FS, error) {
	if opts == nil {
		opts = &Options{}
	}
	if opts.Create {
		if err := create(dir, opts.Mounted); err != nil {
			return nil, err
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	if opts.Mounted {
		if err := checkMounted(root); err != nil {
			_ = root.Close()
			return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
		}
	}
	return &FS{root: root, dir: dir}, nil
}

// create makes the directory and those above it, durably, and with mounted only
// where there is a mount.
func create(dir string, mounted bool) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if parent == dir {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: fs.ErrNotExist}
	}
	above, err := Open(parent, &Options{Create: true, Mounted: mounted})
	if err != nil {
		return err
	}
	defer above.Close()
	if err := above.root.Mkdir(filepath.Base(dir), 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(above.root, ".")
}

// String is the directory's path.
func (f *FS) String() string { return f.dir }

// Close closes the directory. Open files stay usable.
func (f *FS) Close() error { return f.root.Close() }

// Properties implements [remote.Filesystem].
func (f *FS) Properties() remote.Properties {
	p := remote.Properties{
		AtomicReplace:     true,
		ReplaceOpenTarget: true,
		CaseSensitive:     true,
		PipelineDepth:     1,
		IOSize:            1 << 20,
	}
	switch runtime.GOOS {
	case "windows":
		p.ReplaceOpenTarget, p.CaseSensitive = false, false
		p.InvalidRunes = `<>:"\|?*`
	case "darwin":
		p.CaseSensitive = false
	}
	return p
}

// Stat implements [remote.Filesystem].
func (f *FS) Stat(ctx context.Context, name string) (fs.FileInfo, error) {
	local, err := localize(ctx, "stat", name)
	if err != nil {
		return nil, err
	}
	info, err := f.root.Stat(local)
	return info, remote.PathError("stat", name, err)
}

// ReadDir implements [remote.Filesystem].
func (f *FS) ReadDir(ctx context.Context, name string) ([]fs.DirEntry, error) {
	local, err := localize(ctx, "readdir", name)
	if err != nil {
		return nil, err
	}
	d, err := f.root.OpenFile(local, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, remote.PathError("readdir", name, err)
	}
	defer d.Close()
	entries, err := d.ReadDir(-1)
	if err != nil {
		return nil, remote.PathError("readdir", name, err)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for i, e := range entries {
		entries[i] = &dirEntry{DirEntry: e, root: f.root, local: filepath.Join(local, e.Name())}
	}
	return entries, nil
}

// OpenFile implements [remote.Filesystem].
func (f *FS) OpenFile(ctx context.Context, name string, flag int) (remote.File, error) {
	local, err := localize(ctx, "open", name)
	if err != nil {
		return nil, err
	}
	file, err := f.root.OpenFile(local, flag|nonblock, 0o666)
	if err != nil {
		return nil, remote.PathError("open", name, err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
		if info.IsDir() {
			err = syscall.EISDIR
		}
	}
	if err != nil {
		_ = file.Close() // nothing was written
		return nil, remote.PathError("open", name, err)
	}
	return &openFile{ctx: ctx, name: name, f: file}, nil
}

// Mkdir implements [remote.Filesystem].
func (f *FS) Mkdir(ctx context.Context, name string) error {
	local, err := localize(ctx, "mkdir", name)
	if err != nil {
		return err
	}
	return remote.PathError("mkdir", name, f.root.Mkdir(local, 0o777))
}

// Remove implements [remote.Filesystem].
func (f *FS) Remove(ctx context.Context, name string) error {
	local, err := localize(ctx, "remove", name)
	if err != nil {
		return err
	}
	return remote.PathError("remove", name, f.root.Remove(local))
}

// RemoveAll implements [remote.TreeRemover].
func (f *FS) RemoveAll(ctx context.Context, name string) error {
	local, err := localize(ctx, "removeall", name)
	if err != nil {
		return err
	}
	return remote.PathError("removeall", name, f.root.RemoveAll(local))
}

// Rename implements [remote.Filesystem].
func (f *FS) Rename(ctx context.Context, oldname, newname string) error {
	return f.rename(ctx, oldname, newname, f.root.Rename)
}

// RenameNoReplace implements [remote.NoReplacer].
func (f *FS) RenameNoReplace(ctx context.Context, oldname, newname string) error {
	return f.rename(ctx, oldname, newname, func(oldlocal, newlocal string) error {
		err := renameNoReplace(f.root, oldlocal, newlocal)
		if errors.Is(err, errors.ErrUnsupported) {
			err = linkNoReplace(f.root, oldlocal, newlocal)
		}
		return err
	})
}

func (f *FS) rename(ctx context.Context, oldname, newname string, rename func(oldlocal, newlocal string) error) error {
	oldlocal, err := localize(ctx, "rename", oldname)
	if err != nil {
		return err
	}
	newlocal, err := localize(ctx, "rename", newname)
	if err != nil {
		return err
	}
	return remote.LinkError("rename", oldname, newname, rename(oldlocal, newlocal))
}

// Touch implements [remote.Toucher]. The access time is set too.
func (f *FS) Touch(ctx context.Context, name string, mtime time.Time) error {
	local, err := localize(ctx, "touch", name)
	if err != nil {
		return err
	}
	return remote.PathError("touch", name, f.root.Chtimes(local, mtime, mtime))
}

// SyncDir implements [remote.DirSyncer].
func (f *FS) SyncDir(ctx context.Context, name string) error {
	local, err := localize(ctx, "syncdir", name)
	if err != nil {
		return err
	}
	return remote.PathError("syncdir", name, syncDir(f.root, local))
}

// Space implements [remote.SpaceReporter].
func (f *FS) Space(ctx context.Context) (remote.Space, error) {
	if err := context.Cause(ctx); err != nil {
		return remote.Space{}, remote.PathError("space", ".", err)
	}
	space, err := statSpace(f.root)
	return space, remote.PathError("space", ".", err)
}

var errNotRegular = errors.New("not a regular file")

// linkNoReplace renames a file by way of a second name. After a crash between
// the two steps both names are there; never neither. Directories and file systems
// without hard links refuse it as not permitted.
func linkNoReplace(root *os.Root, oldlocal, newlocal string) error {
	err := root.Link(oldlocal, newlocal)
	if errors.Is(err, syscall.EPERM) {
		return errors.ErrUnsupported
	}
	if err != nil {
		return err
	}
	return root.Remove(oldlocal)
}

// localize checks that the caller still wants an answer and that the name is
// one, and gives it the operating system's separators.
func localize(ctx context.Context, op, name string) (string, error) {
	if err := context.Cause(ctx); err != nil {
		return "", remote.PathError(op, name, err)
	}
	if err := remote.CheckName(op, name); err != nil {
		return "", err
	}
	local, err := filepath.Localize(name)
	if err != nil {
		return "", remote.PathError(op, name, fs.ErrInvalid)
	}
	return local, nil
}
