package remote

import (
	"io/fs"
	"syscall"

	"golang.org/x/sys/windows"
)

func kindOfSystem(errno syscall.Errno) error {
	switch errno {
	case windows.ERROR_DISK_FULL, windows.ERROR_HANDLE_DISK_FULL:
		return ErrNoSpace
	case windows.ERROR_DIR_NOT_EMPTY:
		return ErrNotEmpty
	case windows.ERROR_WRITE_PROTECT:
		return fs.ErrPermission
	case windows.ERROR_INVALID_NAME:
		return fs.ErrInvalid
	}
	return nil
}
