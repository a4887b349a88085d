package fsys

import (
	"errors"
	"fmt"
)

// What callers branch on, besides fs.ErrNotExist and fs.ErrInvalid. An error
// about a place in a volume is a [*FormatError] that wraps one of them.
var (
	ErrWrongFormat = errors.New("not a volume of this format")
	ErrCorrupt     = errors.New("corrupt")
	ErrUnsupported = errors.New("not supported")
	ErrEncrypted   = errors.New("encrypted, and the key is not in the volume")
	ErrLimit       = errors.New("limit exceeded")
	ErrNotDir      = errors.New("not a directory")
	ErrNotRegular  = errors.New("not a regular file")

	// ErrChecksum also is an ErrCorrupt.
	ErrChecksum = fmt.Errorf("%w: checksum mismatch", ErrCorrupt)
)

// FormatError says where a volume is not as it should be, or has what its
// reader does not read.
type FormatError struct {
	FS     string // "ext", ...: the reader
	Struct string // "superblock", "inode 12", "directory 2", ...
	Field  string // or feature; may be empty
	Off    int64  // of the structure in the volume, in bytes; -1 where it has no place
	Err    error  // usually wraps one of the sentinels of this package
}

// Error returns the path to the cause: reader, structure, field, offset, cause.
func (e *FormatError) Error() string {
	where := e.FS + ": " + e.Struct
	if e.Field != "" {
		where += " " + e.Field
	}
	if e.Off < 0 {
		return where + ": " + e.Err.Error()
	}
	return fmt.Sprintf("%s at offset %d: %v", where, e.Off, e.Err)
}

// Unwrap returns the cause.
func (e *FormatError) Unwrap() error { return e.Err }
