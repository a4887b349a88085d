// Package output writes files that are there when they are complete, and not before: for
// the example programs.
package output

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// File is a file that gets its name with Commit. Until then it lies beside that name,
// hidden, as ".name.token.tmp", and Abort removes it.
type File struct {
	*os.File
	name    string
	replace bool
	over    bool
}

// Create begins a file. A name that is taken is [fs.ErrExist], unless replace says that a
// file there is to be replaced; anything but a file never is.
func Create(name string, replace bool) (*File, error) {
	info, err := os.Lstat(name)
	switch {
	case err == nil && info.IsDir():
		return nil, fmt.Errorf("%s is a directory: name a file in it", name)
	case err == nil && !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file: write to standard output, and let the shell lead it there", name)
	case err == nil && !replace:
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	temp := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+"."+rand.Text()+".tmp")
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, &fs.PathError{Op: "create", Path: name, Err: failed.Err} // nobody knows the other name
	}
	if err != nil {
		return nil, err
	}
	return &File{File: f, name: name, replace: replace}, nil
}

// Commit makes the file durable and gives it its name. When it fails, Abort.
func (f *File) Commit() error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if !f.replace {
		if _, err := os.Lstat(f.name); err == nil {
			return &fs.PathError{Op: "create", Path: f.name, Err: fs.ErrExist}
		}
	}
	if err := os.Rename(f.Name(), f.name); err != nil {
		return err
	}
	f.over = true
	if dir, err := os.Open(filepath.Dir(f.name)); err == nil {
		_ = dir.Sync() // not every system can
		_ = dir.Close()
	}
	return nil
}

// Abort removes what was written, unless Commit has succeeded.
func (f *File) Abort() error {
	if f.over {
		return nil
	}
	f.over = true
	if err := f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Remove(f.Name())
}
