package xva

import (
	"errors"
	"fmt"
)

// What can be wrong with an archive. Each comes inside a [*FormatError], which says where.
var (
	// ErrNotXVA: the stream does not begin with a tar header of a file named ova.xml, compressed or not.
	ErrNotXVA = errors.New("not an XVA archive")
	// ErrTruncated: the stream ends before the archive does. It comes together with io.ErrUnexpectedEOF.
	ErrTruncated = errors.New("archive truncated")
	// ErrHeader: what stands where a tar header must be is none; a failing host's HTML, for one.
	ErrHeader = errors.New("broken tar header")
	// ErrMember: a member that does not belong there: an unknown name, a type that is not a file, a disk that ova.xml does not list.
	ErrMember = errors.New("unexpected member")
	// ErrOrder: disks or chunks out of order, twice, or past the end of their disk.
	ErrOrder = errors.New("member out of order")
	// ErrChecksum: a chunk and its checksum differ, or the checksum is missing.
	ErrChecksum = errors.New("checksum mismatch")
	// ErrGap: zero blocks were left out where their size cannot be known.
	ErrGap = errors.New("gap of unknown size")
	// ErrIncomplete: a disk that ova.xml lists is missing, or is not covered up to its size.
	ErrIncomplete = errors.New("disk incomplete")
	// ErrTrailingData: something other than zeros follows the end of the archive.
	ErrTrailingData = errors.New("data after the end of the archive")
	// ErrTooLarge: a member, or the window of a compressed stream, is larger than any exporter makes it.
	ErrTooLarge = errors.New("larger than supported")
	// ErrOVA: ova.xml is not what it must be.
	ErrOVA = errors.New("broken ova.xml")
	// ErrUnsupported: the archive is of a version that is not read.
	ErrUnsupported = errors.New("unsupported archive version")
	// ErrCompressed: the archive is compressed, so there is no random access to it; a Reader reads it.
	ErrCompressed = errors.New("compressed archive")
	// ErrCompression: the compressed stream is damaged.
	ErrCompression = errors.New("broken compressed stream")
)

// FormatError says where in an archive something is wrong.
type FormatError struct {
	Member string // name of the member, empty when no member is concerned
	Off    int64  // bytes from the start of the uncompressed archive
	Err    error
}

// Error names the member and the offset.
func (e *FormatError) Error() string {
	if e.Member == "" {
		return fmt.Sprintf("xva: offset %d: %v", e.Off, e.Err)
	}
	return fmt.Sprintf("xva: %.120q at offset %d: %v", e.Member, e.Off, e.Err)
}

// Unwrap returns the cause.
func (e *FormatError) Unwrap() error { return e.Err }

func isTruncated(err error) bool { return errors.Is(err, ErrTruncated) }

func isCompression(err error) bool {
	return errors.Is(err, ErrCompression) || errors.Is(err, ErrTooLarge)
}
