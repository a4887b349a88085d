package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// WriteFile makes name have the content data, atomically and durably, by the
// steps of [Writer.Commit].
func WriteFile(ctx context.Context, fsys Filesystem, name string, data []byte) error {
	w, err := Create(ctx, fsys, name)
	if err != nil {
		return err
	}
	if len(data) > 0 {
		if err := w.writeAll(data); err != nil {
			return errors.Join(err, w.Abort())
		}
	}
	return w.Commit()
}

// ReadFile reads a whole file of at most limit bytes. A longer one is
// [ErrTooLarge], and costs no memory.
func ReadFile(ctx context.Context, fsys Filesystem, name string, limit int64) ([]byte, error) {
	f, err := fsys.OpenFile(ctx, name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := info.Size()
	if size > limit {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("%w: %d bytes, at most %d allowed", ErrTooLarge, size, limit)}
	}
	data := make([]byte, size)
	n, err := f.ReadAt(data, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if int64(n) < size {
		return nil, &fs.PathError{Op: "read", Path: name, Err: io.ErrUnexpectedEOF}
	}
	return data, nil
}

// MkdirAll makes the directory name and those above it that do not exist. The
// directories it made are durable when it returns. Those it found may have been
// made a moment ago by someone who died before syncing them: before one reports
// as safe what is in them, [SyncDir] of every directory above is due, as package
// remote/catalog does once per restore point. A file in the way is an error.
func MkdirAll(ctx context.Context, fsys Filesystem, name string) error {
	if err := CheckName("mkdir", name); err != nil {
		return err
	}
	info, err := fsys.Stat(ctx, name)
	if err == nil {
		if info.IsDir() {
			return nil
		}
		return &fs.PathError{Op: "mkdir", Path: name, Err: errors.New("a file is in the way")}
	}
	if !errors.Is(err, fs.ErrNotExist) || name == "." {
		return err
	}
	parent := path.Dir(name)
	if err := MkdirAll(ctx, fsys, parent); err != nil {
		return err
	}
	// Someone else may have made it just now. It has to be durable all the same
	// before anything is built on it.
	if err := fsys.Mkdir(ctx, name); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return SyncDir(ctx, fsys, parent)
}

// RemoveAll removes name and all below it. A name that does not exist is no
// error. The removal is durable after a [SyncDir] of the directory above; after
// an error, part of the tree may be gone.
func RemoveAll(ctx context.Context, fsys Filesystem, name string) error {
	if err := CheckName("removeall", name); err != nil {
		return err
	}
	if name == "." {
		return &fs.PathError{Op: "removeall", Path: name, Err: fs.ErrInvalid}
	}
	if r, ok := As[TreeRemover](fsys); ok {
		return r.RemoveAll(ctx, name)
	}
	err := fsys.Remove(ctx, name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	entries, listErr := fsys.ReadDir(ctx, name)
	if listErr != nil {
		return err // not a directory, or not readable: the removal's own error says more
	}
	for _, e := range entries {
		if err := RemoveAll(ctx, fsys, path.Join(name, e.Name())); err != nil {
			return err
		}
	}
	if err := fsys.Remove(ctx, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// SyncDir makes durable what was created, renamed and removed directly in the
// directory name. It does nothing where [Properties] promise StableMetadata, and
// on a Filesystem that is no [DirSyncer]: the documentation of such a back end
// says what a power cut may undo.
func SyncDir(ctx context.Context, fsys Filesystem, name string) error {
	if fsys.Properties().StableMetadata {
		return nil
	}
	if d, ok := As[DirSyncer](fsys); ok {
		return d.SyncDir(ctx, name)
	}
	return nil
}

// RenameNoReplace renames unless newname exists, which is [fs.ErrExist]. It is
// atomic on a [NoReplacer], and elsewhere a check followed by a rename. It syncs
// no directory.
func RenameNoReplace(ctx context.Context, fsys Filesystem, oldname, newname string) error {
	if r, ok := As[NoReplacer](fsys); ok {
		err := r.RenameNoReplace(ctx, oldname, newname)
		if !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	_, err := fsys.Stat(ctx, newname)
	switch {
	case err == nil:
		return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: fs.ErrExist}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return fsys.Rename(ctx, oldname, newname)
}
