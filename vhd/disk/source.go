package disk

import (
	"context"
	"io"
	"iter"
)

// BlockSize is the unit in which XAPI exports disks and in which repositories
// keep them: 2 MiB.
const BlockSize = 2 << 20

// Kind says what an [Extent] of a disk holds.
type Kind uint8

const (
	// Hole is not held here: a parent must be asked; without a parent it reads as zeros.
	Hole Kind = iota
	// Zero is known to read as zeros, whatever a parent says.
	Zero
	// Data must be read.
	Data
)

// String returns the name of the kind in lower case.
func (k Kind) String() string {
	switch k {
	case Hole:
		return "hole"
	case Zero:
		return "zero"
	case Data:
		return "data"
	}
	return "unknown"
}

// Extent is a run of bytes of one kind.
type Extent struct {
	Off, Len int64
	Kind     Kind
}

// End returns the offset of the first byte after the extent.
func (e Extent) End() int64 { return e.Off + e.Len }

// Source is the content of a disk at one moment. ReadAt may be called
// concurrently; it follows the contract of io.ReaderAt strictly, so a read that
// crosses Size returns fewer bytes and io.EOF.
type Source interface {
	io.ReaderAt

	// Size returns the virtual size.
	Size() int64

	// Extents yields what [off, off+n) holds: extents in ascending order that
	// cover the range without a gap, each maximal. The range is cut at Size. An
	// error is the last pair. Breaking out early is cheap.
	Extents(ctx context.Context, off, n int64) iter.Seq2[Extent, error]
}
