package remote

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// What callers branch on, besides [fs.ErrNotExist], [fs.ErrExist],
// [fs.ErrPermission] and [fs.ErrInvalid]. All of them are found by errors.Is.
var (
	// ErrNoSpace: the storage, or this user's quota, is full.
	ErrNoSpace = errors.New("remote: no space left")
	// ErrNotEmpty: the directory to remove or replace has entries. Such an error
	// is not fs.ErrExist, which syscall.ENOTEMPTY alone would be.
	ErrNotEmpty = errors.New("remote: directory not empty")
	// ErrUnavailable: the storage cannot be reached or does not answer. Whether
	// the operation took place is unknown.
	ErrUnavailable = errors.New("remote: storage unavailable")
	// ErrLost: the storage has dropped data that was written but not synced. The
	// file must be written anew.
	ErrLost = errors.New("remote: unsynced data lost")
	// ErrLocked: somebody else, who is alive as far as one can tell, holds the lock.
	ErrLocked = errors.New("remote: locked")
	// ErrLockLost: the lock was held and is held no more, or no longer for certain.
	ErrLockLost = errors.New("remote: lock lost")
	// ErrTooLarge: a file is longer than the reader allows.
	ErrTooLarge = errors.New("remote: file too large")
)

// CheckName returns an *[fs.PathError] that is [fs.ErrInvalid] unless name obeys
// [fs.ValidPath]. Back ends call it first in every method.
func CheckName(op, name string) error {
	if fs.ValidPath(name) {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
}

// PathError returns err as an *[fs.PathError] about the slash name given: paths
// that the operating system put around the cause are dropped, and a cause known
// by its number is the error of this package, or of io/fs, that it means. nil
// stays nil.
func PathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: classify(cause(err))}
}

// LinkError is [PathError] for a rename.
func LinkError(op, oldname, newname string, err error) error {
	if err == nil {
		return nil
	}
	return &os.LinkError{Op: op, Old: oldname, New: newname, Err: classify(cause(err))}
}

// MarkError returns an error with the text of err that is kind for errors.Is,
// and otherwise only what it is by its concrete value: of syscall.ENOTEMPTY
// marked as ErrNotEmpty, errors.Is finds both of these but not fs.ErrExist.
func MarkError(err, kind error) error { return &markedError{err: err, kind: kind} }

type markedError struct{ err, kind error }

func (e *markedError) Error() string { return e.err.Error() }

// Unwrap gives the kind alone, so that a mapping of err which contradicts kind
// stays hidden.
func (e *markedError) Unwrap() error { return e.kind }

func (e *markedError) Is(target error) bool { return e.err == target }

func (e *markedError) As(target any) bool {
	errno, ok := target.(*syscall.Errno)
	return ok && errors.As(e.err, errno)
}

// cause strips what the os package puts around the number of an error.
func cause(err error) error {
	for {
		switch e := err.(type) { //nolint:errorlint // one layer after the other
		case *fs.PathError:
			err = e.Err
		case *os.LinkError:
			err = e.Err
		case *os.SyscallError:
			err = e.Err
		default:
			return err
		}
	}
}

func classify(err error) error {
	errno, ok := err.(syscall.Errno) //nolint:errorlint // cause has unwrapped it
	if !ok {
		return err
	}
	if kind := kindOf(errno); kind != nil {
		return MarkError(errno, kind)
	}
	return err
}

// kindOf names what errno means where package syscall does not, or differs.
func kindOf(errno syscall.Errno) error {
	switch errno {
	case syscall.ENOSPC, syscall.EDQUOT:
		return ErrNoSpace
	case syscall.ENOTEMPTY:
		return ErrNotEmpty
	case syscall.EROFS:
		return fs.ErrPermission
	case syscall.EINVAL, syscall.ENAMETOOLONG:
		return fs.ErrInvalid
	case syscall.ESTALE, syscall.ETIMEDOUT, syscall.EHOSTDOWN, syscall.EHOSTUNREACH, syscall.ENETUNREACH,
		syscall.ECONNRESET, syscall.ECONNREFUSED, syscall.ENOTCONN:
		return ErrUnavailable
	}
	return kindOfSystem(errno)
}

// about adds the noun to an error that does not name it yet.
func about(what, name string, err error) error { return fmt.Errorf("%s %s: %w", what, name, err) }
