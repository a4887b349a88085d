package vhd

import (
	"errors"
	"fmt"
	"io"
)

// What callers branch on. An error about a place in a file is a [*FormatError]
// that wraps one of them.
var (
	ErrNotVHD         = errors.New("vhd: not a VHD")
	ErrChecksum       = errors.New("vhd: checksum mismatch")
	ErrVersion        = errors.New("vhd: unknown format version")
	ErrInconsistent   = errors.New("vhd: the two footers differ")
	ErrBAT            = errors.New("vhd: bad block allocation table")
	ErrUnsupported    = errors.New("vhd: not supported")
	ErrParentNeeded   = errors.New("vhd: the parent disk is needed to read this range")
	ErrParentNotFound = errors.New("vhd: parent disk not found")
	ErrParentMismatch = errors.New("vhd: the parent disk is another one than expected")
	ErrCycle          = errors.New("vhd: chain of parents is a cycle")
	ErrChainTooLong   = errors.New("vhd: chain of parents is too long")
	ErrIncomplete     = errors.New("vhd: blocks are missing")
	ErrTrailingData   = errors.New("vhd: something else than the footer follows the last block")
	ErrBlockOrder     = errors.New("vhd: block does not come next")
	ErrMergeState     = errors.New("vhd: merge state does not fit the files")
	ErrChanged        = errors.New("vhd: the image was changed while it was read")
	ErrBeyondEnd      = errors.New("vhd: write beyond the end of the disk")
	ErrFilter         = errors.New("vhd: a chunk cannot be decompressed")
	ErrOutside        = errors.New("vhd: path leads out of the directory")

	// ErrTruncated also is an io.ErrUnexpectedEOF.
	ErrTruncated = fmt.Errorf("vhd: cut short: %w", io.ErrUnexpectedEOF)
)

// FormatError says where a file or stream is not as it should be.
type FormatError struct {
	Name   string // of the image, as given in its options; may be empty
	Struct string // "footer", "header", "BAT", "block", ...
	Field  string // may be empty
	Off    int64  // of the structure in the file or stream, in bytes
	Err    error  // usually wraps one of the sentinels of this package
}

// Error returns the path to the cause: name, structure, field, offset, cause.
func (e *FormatError) Error() string {
	where := e.Struct
	if e.Field != "" {
		where += " " + e.Field
	}
	if e.Name != "" {
		where = e.Name + ": " + where
	}
	return fmt.Sprintf("%s at offset %d: %v", where, e.Off, e.Err)
}

// Unwrap returns the cause.
func (e *FormatError) Unwrap() error { return e.Err }

// inField is an error about one field of a structure whose place and file the
// caller knows: see located.
func inField(field string, err error) error { return &FormatError{Field: field, Err: err} }

// located completes an error of a parse function with the file, the structure and its offset.
func located(err error, name, structure string, off int64) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*FormatError](err); ok && e.Struct == "" {
		return &FormatError{Name: name, Struct: structure, Field: e.Field, Off: off, Err: e.Err}
	}
	return &FormatError{Name: name, Struct: structure, Off: off, Err: err}
}
