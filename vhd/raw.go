package vhd

import (
	"context"
	"io"
	"iter"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

// Raw is a file whose bytes are those of the disk. It is a [disk.Source], and
// may be used by several goroutines. On Linux the holes of a sparse file are
// known as zeros; finding them moves the offset of the file descriptor, which nothing
// here uses.
type Raw struct {
	r     io.ReaderAt
	size  int64
	holes *holeFinder // nil where holes cannot be found
}

// NewRaw returns the disk of size bytes in r, which stays open while the disk
// is in use.
func NewRaw(r io.ReaderAt, size int64) *Raw {
	return &Raw{r: r, size: size, holes: newHoleFinder(r)}
}

// Size returns the size in bytes.
func (d *Raw) Size() int64 { return d.size }

// ReadAt reads from the disk. A file that is shorter than the disk is
// [ErrTruncated], never zeros.
func (d *Raw) ReadAt(p []byte, off int64) (int, error) {
	p, end, err := clip(p, off, d.size)
	if err != nil {
		return 0, err
	}
	if err := readExact(d.r, p, off); err != nil {
		return 0, err
	}
	return len(p), end
}

// Extents yields Data, and Zero for the holes of the file.
func (d *Raw) Extents(ctx context.Context, off, n int64) iter.Seq2[disk.Extent, error] {
	return extents(ctx, d.size, off, n, d.kindAt)
}

func (d *Raw) kindAt(off, n int64) (disk.Kind, int64, error) {
	if d.holes == nil {
		return disk.Data, n, nil
	}
	hole, length, err := d.holes.at(off, n)
	if hole {
		return disk.Zero, length, err
	}
	return disk.Data, length, err
}

var _ disk.Source = (*Raw)(nil)
