package vhd

import (
	"iter"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

// blockSource is where an [Image] has its blocks. Everything above it, from
// ReadAt to chains and merges, works the same on each:
//
//   - tableBlocks, a dynamic or differencing file: Image.table says where;
//   - flatBlocks, a fixed file or a raw one: at their place, without bitmaps;
//   - dirBlocks, XO's directory flavour: a file per block, a bit of a bitmap
//     says which exist.
//
// The block given to a method is one that the source holds, except for holds.
// Errors are a [*FormatError]. All methods may be called concurrently.
type blockSource interface {
	// holds reports whether the source has a block, at least some sectors of
	// it. block is not negative, but may lie beyond the end of the disk.
	holds(block int) bool

	// all yields the blocks that it has, ascending.
	all() iter.Seq[int]

	// readBitmap fills b, which has room for one, with the bitmap of a block.
	readBitmap(b []byte, block int) error

	// readData fills p with what is at an offset in the data of a block. It
	// does not look at the bitmap.
	readData(p []byte, block int, within int64) error

	// confirm fails with ErrChanged if what was read until now may have been
	// something else than what the image held when it was opened.
	confirm() error
}

// tableBlocks are the blocks of a file with a block table.
type tableBlocks struct{ m *Image }

func (s tableBlocks) holds(block int) bool { return s.m.entry(block) != unallocated }

func (s tableBlocks) all() iter.Seq[int] {
	return func(yield func(int) bool) {
		for b := range s.m.entries() {
			if !yield(int(b.index)) {
				return
			}
		}
	}
}

func (s tableBlocks) readBitmap(b []byte, block int) error {
	m := s.m
	if err, ok := m.bad[uint32(block)]; ok {
		return m.badEntry(uint32(block), err)
	}
	return m.readFull(b, int64(m.entry(block))*sectorSize, "bitmap")
}

func (s tableBlocks) readData(p []byte, block int, within int64) error {
	m := s.m
	return m.readFull(p, int64(m.entry(block))*sectorSize+m.bitmapLen+within, "block")
}

// flatBlocks are the pieces of a file that holds the disk byte by byte.
type flatBlocks struct{ m *Image }

func (s flatBlocks) holds(block int) bool { return block < s.m.allocated }

func (s flatBlocks) all() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range s.m.allocated {
			if !yield(i) {
				return
			}
		}
	}
}

func (s flatBlocks) readBitmap(b []byte, _ int) error {
	for i := range b {
		b[i] = 0xff
	}
	return nil
}

func (s flatBlocks) readData(p []byte, block int, within int64) error {
	return s.m.readFull(p, int64(block)*disk.BlockSize+within, "data")
}

func (s flatBlocks) confirm() error { return nil }
