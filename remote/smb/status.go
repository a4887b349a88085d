package smb

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/xenbackup/xenbackup/remote"
)

// status is an NTSTATUS (MS-ERREF 2.3) that has no meaning in package os.
type status uint32

const (
	statusInvalidParameter     status = 0xc000000d
	statusNoSuchFile           status = 0xc000000f
	statusEndOfFile            status = 0xc0000011
	statusNoMemory             status = 0xc0000017
	statusNameInvalid          status = 0xc0000033
	statusPathInvalid          status = 0xc0000039
	statusPathSyntaxBad        status = 0xc000003b
	statusSharingViolation     status = 0xc0000043
	statusQuotaExceeded        status = 0xc0000044
	statusLockConflict         status = 0xc0000054
	statusDeletePending        status = 0xc0000056
	statusDiskFull             status = 0xc000007f
	statusInsufficient         status = 0xc000009a
	statusWriteProtected       status = 0xc00000a2
	statusIOTimeout            status = 0xc00000b5
	statusIsADirectory         status = 0xc00000ba
	statusNetworkNameDeleted   status = 0xc00000c9
	statusBadNetworkName       status = 0xc00000cc
	statusNotAccepted          status = 0xc00000d0
	statusDirectoryNotEmpty    status = 0xc0000101
	statusNotADirectory        status = 0xc0000103
	statusFileClosed           status = 0xc0000128
	statusUserSessionDeleted   status = 0xc0000203
	statusInsufficientServer   status = 0xc0000205
	statusPathNotCovered       status = 0xc0000257
	statusVolumeDismounted     status = 0xc000026e
	statusSessionExpired       status = 0xc000035c
	statusDiskQuotaExceeded    status = 0xc0000802
	statusNoSuchUser           status = 0xc0000064
	statusWrongPassword        status = 0xc000006a
	statusLogonFailure         status = 0xc000006d
	statusAccountRestriction   status = 0xc000006e
	statusInvalidLogonHours    status = 0xc000006f
	statusInvalidWorkstation   status = 0xc0000070
	statusPasswordExpired      status = 0xc0000071
	statusAccountDisabled      status = 0xc0000072
	statusLogonTypeNotGranted  status = 0xc000015b
	statusAccountExpired       status = 0xc0000193
	statusPasswordMustChange   status = 0xc0000224
	statusAccountLockedOut     status = 0xc0000234
	statusAuthenticationRefuse status = 0xc0000413
)

// endsSession: the server has forgotten the login, the share or the open file.
func (s status) endsSession() bool {
	switch s {
	case statusNetworkNameDeleted, statusUserSessionDeleted, statusSessionExpired, statusFileClosed, statusVolumeDismounted:
		return true
	}
	return false
}

// busy: somebody has the file open in a way that excludes this request, as virus
// scanners do for a moment.
func (s status) busy() bool {
	return s == statusSharingViolation || s == statusLockConflict || s == statusDeletePending
}

// short: the server lacks something at the moment.
func (s status) short() bool {
	return s == statusNoMemory || s == statusInsufficient || s == statusInsufficientServer
}

// refusesLogin: asking again with the same password is of no use, and may lock
// the account.
func (s status) refusesLogin() bool {
	switch s {
	case statusNoSuchUser, statusWrongPassword, statusLogonFailure, statusAccountRestriction, statusInvalidLogonHours,
		statusInvalidWorkstation, statusPasswordExpired, statusAccountDisabled, statusLogonTypeNotGranted,
		statusAccountExpired, statusPasswordMustChange, statusAccountLockedOut, statusAuthenticationRefuse:
		return true
	}
	return false
}

// kind is the error of package remote or io/fs that the status means, or nil.
func (s status) kind() error {
	switch s {
	case statusNoSuchFile, statusBadNetworkName:
		return fs.ErrNotExist
	case statusNameInvalid, statusPathInvalid, statusPathSyntaxBad, statusInvalidParameter:
		return fs.ErrInvalid
	case statusDiskFull, statusQuotaExceeded, statusDiskQuotaExceeded:
		return remote.ErrNoSpace
	case statusDirectoryNotEmpty:
		return remote.ErrNotEmpty
	case statusWriteProtected:
		return fs.ErrPermission
	case statusIsADirectory:
		return syscall.EISDIR
	case statusNotADirectory:
		return syscall.ENOTDIR
	case statusNoMemory, statusInsufficient, statusInsufficientServer, statusIOTimeout, statusNotAccepted:
		return remote.ErrUnavailable
	}
	switch {
	case s.busy(), s.refusesLogin():
		return fs.ErrPermission
	case s.endsSession():
		return remote.ErrUnavailable
	}
	return nil
}

// meaning gives an error of the library the meaning callers look for, without
// the names it put around it: those are the server's.
func meaning(err error) error {
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return fs.ErrNotExist
	case errors.Is(err, fs.ErrExist):
		return fs.ErrExist
	case errors.Is(err, fs.ErrPermission):
		return fs.ErrPermission
	}
	st, ok := statusOf(err)
	if !ok {
		return bare(err)
	}
	if st == statusEndOfFile {
		return io.EOF
	}
	if st.busy() {
		return &busyError{bare(err)}
	}
	if kind := st.kind(); kind != nil {
		return remote.MarkError(bare(err), kind)
	}
	return bare(err)
}

func bare(err error) error {
	var pathErr *fs.PathError
	var linkErr *os.LinkError
	switch {
	case errors.As(err, &pathErr):
		return pathErr.Err
	case errors.As(err, &linkErr):
		return linkErr.Err
	}
	return err
}

// busyError: somebody has the file open, for now.
type busyError struct{ err error }

func (e *busyError) Error() string { return fmt.Sprintf("another program has it open: %v", e.err) }

func (e *busyError) Unwrap() error { return fs.ErrPermission }

func isBusy(err error) bool {
	var busy *busyError
	return errors.As(err, &busy)
}

// refusalError is a login or a share that the server has refused: to ask again
// is of no use until somebody mends it.
type refusalError struct {
	part remote.Part
	err  error
}

func (e *refusalError) Error() string { return e.err.Error() }

func (e *refusalError) Unwrap() error { return e.err }

func loginError(err error) error {
	if st, ok := statusOf(err); (ok && st.refusesLogin()) || errors.Is(err, fs.ErrPermission) {
		return &refusalError{remote.PartLogin, remote.MarkError(fmt.Errorf("wrong user or password, or the account is closed: %w", bare(err)), fs.ErrPermission)}
	}
	if b := broken(err); errors.Is(b, errGuest) {
		return &refusalError{remote.PartLogin, remote.MarkError(b, fs.ErrPermission)}
	}
	return err
}

func mountError(err error) error {
	if b := broken(err); b != nil {
		return err
	}
	st, ok := statusOf(err)
	if ok && st.short() {
		return err
	}
	if ok && st == statusPathNotCovered {
		err = fmt.Errorf("a DFS namespace, whose referrals are not followed: name the server that has the share: %w", bare(err))
		return &refusalError{remote.PartShare, remote.MarkError(err, fs.ErrInvalid)}
	}
	m := meaning(err)
	switch {
	case errors.Is(m, fs.ErrNotExist):
		m = remote.MarkError(errors.New("the server has no such share"), fs.ErrNotExist)
	case errors.Is(m, fs.ErrPermission):
		m = remote.MarkError(errors.New("the server does not let this user in"), fs.ErrPermission)
	}
	return &refusalError{remote.PartShare, m}
}
