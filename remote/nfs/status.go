package nfs

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/xenbackup/xenbackup/remote"
)

// status is a nonzero nfsstat3 (RFC 1813, section 2.6) or mountstat3, whose
// numbers agree. [status.cause] is what other packages see of it.
type status uint32

const (
	statusPerm        status = 1
	statusNoEnt       status = 2
	statusIO          status = 5
	statusNXIO        status = 6
	statusAcces       status = 13
	statusExist       status = 17
	statusXDev        status = 18
	statusNoDev       status = 19
	statusNotDir      status = 20
	statusIsDir       status = 21
	statusInval       status = 22
	statusFBig        status = 27
	statusNoSpc       status = 28
	statusROFS        status = 30
	statusMLink       status = 31
	statusNameTooLong status = 63
	statusNotEmpty    status = 66
	statusDQuot       status = 69
	statusStale       status = 70
	statusRemote      status = 71
	statusBadHandle   status = 10001
	statusNotSync     status = 10002
	statusBadCookie   status = 10003
	statusNotSupp     status = 10004
	statusTooSmall    status = 10005
	statusServerFault status = 10006
	statusBadType     status = 10007
	statusJukebox     status = 10008
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
	case statusPerm:
		return syscall.EPERM
	case statusNoEnt:
		return syscall.ENOENT
	case statusIO, statusNXIO, statusServerFault, statusNotSync, statusBadCookie, statusTooSmall:
		return syscall.EIO
	case statusAcces:
		return syscall.EACCES
	case statusExist:
		return syscall.EEXIST
	case statusXDev:
		return syscall.EXDEV
	case statusNoDev:
		return syscall.ENODEV
	case statusNotDir:
		return syscall.ENOTDIR
	case statusIsDir:
		return syscall.EISDIR
	case statusInval, statusBadType:
		return syscall.EINVAL
	case statusFBig:
		return syscall.EFBIG
	case statusNoSpc:
		return syscall.ENOSPC
	case statusROFS:
		return syscall.EROFS
	case statusMLink:
		return syscall.EMLINK
	case statusNameTooLong:
		return syscall.ENAMETOOLONG
	case statusNotEmpty:
		return syscall.ENOTEMPTY
	case statusDQuot:
		return syscall.EDQUOT
	case statusStale, statusRemote, statusBadHandle:
		return syscall.ESTALE
	case statusNotSupp:
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
	if s == statusJukebox {
		return remote.MarkError(errors.New("the server asks to try again later"), remote.ErrUnavailable)
	}
	if errno := s.errno(); errno != 0 {
		return errno
	}
	return s
}

// isStatus reports whether err is one of the statuses.
func isStatus(err error, any ...status) bool {
	var s status
	if !errors.As(err, &s) {
		return false
	}
	for _, one := range any {
		if s == one {
			return true
		}
	}
	return false
}
