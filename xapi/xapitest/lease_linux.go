package xapitest

import (
	"os"

	"golang.org/x/sys/unix"
)

// lease keeps others from opening a file: they wait until it is released, or for
// as long as the system lets them (45 seconds). The zero lease is none.
type lease struct {
	file *os.File
	kind int
}

// leaseAgainstWriters leases a file that is open for reading, unless somebody
// has it open for writing.
func leaseAgainstWriters(f *os.File) lease { return newLease(f, unix.F_RDLCK) }

// leaseAgainstAll leases a file that is open for writing, unless anybody else has
// it open.
func leaseAgainstAll(f *os.File) lease { return newLease(f, unix.F_WRLCK) }

func newLease(f *os.File, kind int) lease {
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, kind); err != nil {
		return lease{}
	}
	return lease{f, kind}
}

// held says that nobody has opened the file since.
func (l lease) held() bool {
	if l.file == nil {
		return false
	}
	kind, err := unix.FcntlInt(l.file.Fd(), unix.F_GETLEASE, 0)
	return err == nil && kind == l.kind
}

func (l lease) release() {
	if l.file != nil {
		_, _ = unix.FcntlInt(l.file.Fd(), unix.F_SETLEASE, unix.F_UNLCK) // closing the file ends it too
	}
}
