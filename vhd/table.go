package vhd

import (
	"cmp"
	"encoding/binary"
	"iter"
	"slices"
)

// sparseShare is the share of allocated blocks up to which they are kept as a
// list: one entry of it takes as much as two of the table.
const sparseShare = 4

const tableBuffer = 64 << 10

// maxBadEntries bounds the blocks that cannot be where the table says with which
// Recover still opens an image: as many as 4 TiB in blocks of 2 MiB.
const maxBadEntries = 1 << 21

// readEntries reads the entries of n blocks, as a list while they are few. It
// ends early where more of them are wrong than may be.
func (m *Image) readEntries(off int64, n, mayBeWrong int) error {
	whole, reserved := m.bitmapLen+m.blockSize, m.structures()
	most := m.dataEnd/whole + int64(mayBeWrong) // more overlap
	wrong := 0
	buf := make([]byte, min(tableBuffer, 4*n))
	for first := 0; first < n; first += len(buf) / 4 {
		chunk := buf[:min(len(buf), 4*(n-first))]
		if err := m.readFull(chunk, off+4*int64(first), "BAT"); err != nil {
			return err
		}
		if allUnallocated(chunk) {
			continue
		}
		for i := range len(chunk) / 4 {
			if sector := binary.BigEndian.Uint32(chunk[4*i:]); sector != unallocated {
				m.addEntry(uint32(first+i), sector, n)
				fault := misplaced(int64(sector)*sectorSize, whole, m.dataEnd, reserved)
				if fault == nil && int64(m.allocated) > most {
					fault, wrong = errOnBlock, mayBeWrong
				}
				if fault == nil {
					continue
				}
				if wrong++; wrong > mayBeWrong {
					return m.badEntry(uint32(first+i), fault)
				}
			}
		}
	}
	return nil
}

func (m *Image) addEntry(block, sector uint32, n int) {
	m.allocated++
	if m.table == nil && m.allocated > n/sparseShare {
		m.makeDense(n)
	}
	if m.table != nil {
		m.table[block] = sector
		return
	}
	m.sparse = append(m.sparse, placed{block, sector})
}

// makeDense turns the list of blocks into a table of n entries, which may be changed.
func (m *Image) makeDense(n int) {
	if m.table != nil {
		return
	}
	m.table = make(bat, n)
	for i := range m.table {
		m.table[i] = unallocated
	}
	for _, b := range m.sparse {
		m.table[b.index] = b.sector
	}
	m.sparse = nil
}

// allUnallocated tells whether a part of a table has no block. Its length is a
// multiple of 4.
func allUnallocated(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		if binary.NativeEndian.Uint64(b) != 1<<64-1 {
			return false
		}
	}
	return len(b) == 0 || binary.NativeEndian.Uint32(b) == unallocated
}

// entry returns the sector of the file at which a block begins, or unallocated.
func (m *Image) entry(block int) uint32 {
	if m.table != nil {
		if block < len(m.table) {
			return m.table[block]
		}
		return unallocated
	}
	i, ok := slices.BinarySearchFunc(m.sparse, block, func(b placed, block int) int { return cmp.Compare(int(b.index), block) })
	if !ok {
		return unallocated
	}
	return m.sparse[i].sector
}

// entries yields the blocks that the file has, in the order of the disk.
func (m *Image) entries() iter.Seq[placed] {
	if m.table != nil {
		return m.table.entries()
	}
	return slices.Values(m.sparse)
}

// blockCount returns the number of blocks of the disk.
func (m *Image) blockCount() int { return int(divUp(m.Size(), m.blockSize)) }
