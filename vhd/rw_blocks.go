package vhd

// maxIdleBitmaps bounds the bitmaps of partly written blocks that are kept though
// they are as in the file, and those that wait to be written before that is done early.
const maxIdleBitmaps = 2048

// rwBlocks is what an [RW] knows of its blocks: where they are, which sectors
// they have, and what of that the file does not say yet.
type rwBlocks struct {
	table     bat
	allocated int
	fresh     map[int]bool // the entry is not in the file; so that all of its bitmap is still to be written
	full      []uint32     // a bit per block whose sectors are known to be all there
	partial   map[int]*rwBitmap
	dirty     int  // of partial
	writing   bool // by Sync, so that the file may not have yet what is not dirty
}

type rwBitmap struct {
	bits  bitmap
	dirty bool
}

func (b *rwBlocks) init(table bat) {
	b.table = table
	for _, sector := range table {
		if sector != unallocated {
			b.allocated++
		}
	}
	b.fresh = make(map[int]bool)
	b.full = make([]uint32, (len(table)+31)/32)
	b.partial = make(map[int]*rwBitmap)
}

// grow adds blocks that are not allocated. What is known of the last one before
// is forgotten: it may have got more sectors.
func (b *rwBlocks) grow(entries int) {
	if last := len(b.table) - 1; last >= 0 {
		b.full[last/32] &^= 1 << (last % 32)
		delete(b.partial, last)
	}
	for len(b.table) < entries {
		b.table = append(b.table, unallocated)
	}
	for len(b.full) < (entries+31)/32 {
		b.full = append(b.full, 0)
	}
}

// add puts a new block at a sector. Its bitmap is full or empty.
func (b *rwBlocks) add(block int, sector uint32, full bool, bitmapLen int64) {
	b.table[block] = sector
	b.allocated++
	b.fresh[block] = true
	if full {
		b.setFull(block)
		return
	}
	b.partial[block] = &rwBitmap{bits: make(bitmap, bitmapLen), dirty: true}
	b.dirty++
}

func (b *rwBlocks) setFull(block int) { b.full[block/32] |= 1 << (block % 32) }

// bitmap returns the bitmap of a block, nil if it is full; not ok if it must be read.
func (b *rwBlocks) bitmap(block int) (bits bitmap, ok bool) {
	if b.full[block/32]&(1<<(block%32)) != 0 {
		return nil, true
	}
	if m := b.partial[block]; m != nil {
		return m.bits, true
	}
	return nil, false
}

// keep remembers what was read of a block with n sectors of the disk, and returns
// it, nil if it is full.
func (b *rwBlocks) keep(block int, bits bitmap, n int) bitmap {
	if bits.allSet(n) {
		b.setFull(block)
		return nil
	}
	b.makeRoom()
	b.partial[block] = &rwBitmap{bits: bits}
	return bits
}

// makeRoom forgets bitmaps that the file has, if there are many.
func (b *rwBlocks) makeRoom() {
	if b.writing || len(b.partial)-b.dirty < maxIdleBitmaps {
		return
	}
	for block, m := range b.partial {
		if !m.dirty {
			delete(b.partial, block)
		}
	}
}

// mark adds n sectors to a block whose bitmap is known and has total sectors of
// the disk. A block that is full once has all bits of its bitmap set.
func (b *rwBlocks) mark(block, sector, n, total int) {
	m := b.partial[block]
	if m == nil { // full already
		return
	}
	m.bits.set(sector, n)
	if !m.dirty {
		m.dirty = true
		b.dirty++
	}
	if m.bits.allSet(total) {
		for i := range m.bits {
			m.bits[i] = 0xff
		}
	}
}
