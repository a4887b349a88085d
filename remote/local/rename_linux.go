package local

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// renameNoReplace is renameat2 with RENAME_NOREPLACE. File systems that do not
// know the flag answer EINVAL.
func renameNoReplace(root *os.Root, oldlocal, newlocal string) error {
	olddir, err := root.Open(filepath.Dir(oldlocal))
	if err != nil {
		return err
	}
	defer olddir.Close()
	newdir, err := root.Open(filepath.Dir(newlocal))
	if err != nil {
		return err
	}
	defer newdir.Close()
	err = unix.Renameat2(int(olddir.Fd()), filepath.Base(oldlocal), int(newdir.Fd()), filepath.Base(newlocal), unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return errors.ErrUnsupported
	}
	return err
}
