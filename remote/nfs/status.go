package nfs

import (
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/xenbackup/xenbackup/remote"
)

// status is a nonzero nfsstat3 (RFC 1813, section 2.6) or mountstat3, whose
// numbers agree. [status.cause] is what other packages see of it.
type status uint32

const (
	errPerm        status = 1
	errNoEnt       status = 2
	errIO          status = 5
	errNXIO        status = 6
	errAcces       status = 13
	errExist       status = 17
	errXDev        status = 18
	errNoDev       status = 19
	errNotDir      status = 20
	errIsDir       status = 21
	errInval       status = 22
	errFBig        status = 27
	errNoSpc       status = 28
	errROFS        status = 30
	errMLink       status = 31
	errNameTooLong status = 63
	errNotEmpty    status = 66
	errDQuot       status = 69
	errStale       status = 70
	errRemote      status = 71
	errBadHandle   status = 10001
	errNotSync     status = 10002
	errBadCookie   status = 10003
	errNotSupp     status = 10004
	errTooSmall    status = 10005
	errServerFault status = 10006
	errBadType     status = 10007
	errJukebox     status = 10008
)

func (s status) Error() string {
	if errno := s.errno(); errno != 0 {
		return errno.Error()
	}
	return fmt.Sprintf("NFS status %d", uint32(s))
}

// errno is the number of the operating system that says the same, or 0.
func (s status) errno() syscall.Errno {
	switch s {
	case errPerm:
		return syscall.EPERM
	case errNoEnt:
		return syscall.ENOENT
	case errIO, errNXIO, errServerFault, errNotSync, errBadCookie, errTooSmall:
		return syscall.EIO
	case errAcces:
		return syscall.EACCES
	case errExist:
		return syscall.EEXIST
	case errXDev:
		return syscall.EXDEV
	case errNoDev:
		return syscall.ENODEV
	case errNotDir:
		return syscall.ENOTDIR
	case errIsDir:
		return syscall.EISDIR
	case errInval, errBadType:
		return syscall.EINVAL
	case errFBig:
		return syscall.EFBIG
	case errNoSpc:
		return syscall.ENOSPC
	case errROFS:
		return syscall.EROFS
	case errMLink:
		return syscall.EMLINK
	case errNameTooLong:
		return syscall.ENAMETOOLONG
	case errNotEmpty:
		return syscall.ENOTEMPTY
	case errDQuot:
		return syscall.EDQUOT
	case errStale, errRemote, errBadHandle:
		return syscall.ESTALE
	case errNotSupp:
		return syscall.ENOTSUP
	}
	return 0
}

// cause replaces a status by what package remote gives a meaning: the number of
// the operating system, or an error marked as what it means.
func cause(err error) error {
	var s status
	if !errors.As(err, &s) {
		return err
	}
	if s == errJukebox {
		return remote.MarkError(errors.New("the server asks to try again later"), remote.ErrUnavailable)
	}
	if errno := s.errno(); errno != 0 {
		return errno
	}
	return s
}

// isStatus reports whether err is one of the statuses.
func isStatus(err error, among ...status) bool {
	var s status
	return errors.As(err, &s) && slices.Contains(among, s)
}
