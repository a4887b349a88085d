package vhd

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
)

// unallocated is the BAT entry of a block that the image does not hold.
const unallocated = 0xffffffff

// bat is the block allocation table: for each block of the disk the sector of
// the file at which its bitmap begins, or unallocated.
type bat []uint32

// batSize returns the bytes that a table of n entries takes in a file.
func batSize(n int64) int64 { return roundUp(n*4, sectorSize) }

func parseBAT(raw []byte) bat {
	t := make(bat, len(raw)/4)
	for i := range t {
		t[i] = binary.BigEndian.Uint32(raw[i*4:])
	}
	return t
}

// encode returns the table as it is in a file, padded to a sector with entries that are not allocated.
func (t bat) encode() []byte {
	b := make([]byte, 0, batSize(int64(len(t))))
	for _, sector := range t {
		b = binary.BigEndian.AppendUint32(b, sector)
	}
	for len(b) < cap(b) {
		b = append(b, 0xff)
	}
	return b
}

// region is a range [from, to) of a file that blocks must leave alone.
type region struct{ from, to int64 }

// placed is a block and where its bitmap begins.
type placed struct {
	index  uint32
	sector uint32
}

// physical returns the allocated blocks in the order of the file.
func (t bat) physical() []placed { return slices.Collect(physical(t.entries())) }

// entries yields the allocated blocks in the order of the disk.
func (t bat) entries() iter.Seq[placed] {
	return func(yield func(placed) bool) {
		for i, sector := range t {
			if sector != unallocated && !yield(placed{uint32(i), sector}) {
				return
			}
		}
	}
}

// physical yields blocks in the order of the file. Most files have them in the
// order of the disk, which needs no list.
func physical(blocks iter.Seq[placed]) iter.Seq[placed] {
	last, ascending := int64(-1), true
	for b := range blocks {
		if ascending = int64(b.sector) > last; !ascending {
			break
		}
		last = int64(b.sector)
	}
	if ascending {
		return blocks
	}
	sorted := slices.SortedFunc(blocks, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.sector, b.sector), cmp.Compare(a.index, b.index))
	})
	return slices.Values(sorted)
}

// batFault is a block that cannot be where the table says it is.
type batFault struct {
	index uint32
	err   error // one of those below
}

var (
	errBeyondEnd  = fmt.Errorf("a block ends after the data of the file: %w", ErrBAT)
	errOnMetadata = fmt.Errorf("a block overlaps a structure: %w", ErrBAT)
	errOnBlock    = fmt.Errorf("a block overlaps another: %w", ErrBAT)
)

// misplaced returns what is wrong with a block of n bytes from an offset, other
// blocks aside.
func misplaced(from, n, end int64, reserved []region) error {
	if from+n > end {
		return errBeyondEnd
	}
	for _, r := range reserved {
		if from < r.to && r.from < from+n {
			return errOnMetadata
		}
	}
	return nil
}

// faults yields those of the blocks that reach outside [0, end), into a reserved
// region or into another block; of two that overlap both, since nothing says which
// is right, and a block maybe more than once. whole is the bytes of a block with
// its bitmap.
func faults(blocks iter.Seq[placed], whole, end int64, reserved []region) iter.Seq[batFault] {
	return func(yield func(batFault) bool) {
		var previous placed
		var reached int64 // by previous
		for b := range physical(blocks) {
			from := int64(b.sector) * sectorSize
			to := from + whole
			err := misplaced(from, whole, end, reserved)
			if err == nil && from < reached {
				err = errOnBlock
			}
			if err != nil && !yield(batFault{b.index, err}) {
				return
			}
			if from < reached && !yield(batFault{previous.index, errOnBlock}) {
				return
			}
			if to > reached {
				previous, reached = b, to
			}
		}
	}
}
