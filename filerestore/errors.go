package filerestore

import (
	"errors"

	"github.com/xenbackup/xenbackup/filerestore/lvm"
)

// What callers branch on, besides fsys.ErrEncrypted, fsys.ErrUnsupported,
// fsys.ErrCorrupt, fsys.ErrLimit, vhd.ErrChainTooLong and fs.ErrNotExist.
var (
	// ErrNoFiles is the error of volumes that hold none, or nothing that is known.
	ErrNoFiles = errors.New("no file system")

	// ErrMissing is the error of logical volumes with a part on a disk that is not here.
	ErrMissing = lvm.ErrMissing

	// ErrAmbiguous is returned for the name of a volume that several have.
	ErrAmbiguous = errors.New("several volumes have this name")

	// ErrClosed is returned for what is asked of a session after its end.
	ErrClosed = errors.New("the session is closed")
)

// VolumeError says why a volume gives no files, and what can be done.
type VolumeError struct {
	Volume string // its ID
	Holds  string // what it holds: "LUKS encryption"
	Advice string // a sentence without its end; may be empty
	Err    error
}

// Error names the volume, what it holds, the cause and the advice.
func (e *VolumeError) Error() string {
	s := "filerestore: " + e.Volume + ": "
	if e.Holds != "" {
		s += e.Holds + ": "
	}
	s += e.Err.Error()
	if e.Advice != "" {
		s += "; " + e.Advice
	}
	return s
}

// Unwrap returns the cause.
func (e *VolumeError) Unwrap() error { return e.Err }
