package vhd

import "fmt"

// WriteAt writes to the disk, not beyond its size: that is [ErrBeyondEnd]
// before anything is written. What was written is durable after [RW.Sync]. In a
// differencing image a write that begins or ends inside a sector that is not
// there is [ErrParentNeeded]: write whole sectors.
func (w *RW) WriteAt(p []byte, off int64) (int, error) {
	if err := w.room(); err != nil {
		return 0, err
	}
	w.life.RLock()
	defer w.life.RUnlock()
	if off < 0 {
		return 0, errNegativeOffset
	}
	if size := w.Size(); off > size || int64(len(p)) > size-off {
		return 0, fmt.Errorf("%w: %d bytes at offset %d of %d", ErrBeyondEnd, len(p), off, size)
	}
	return w.write(p, off)
}

// write is for those who hold w.life, of what lies in the disk.
func (w *RW) write(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := w.writePiece(p[done:], off+int64(done))
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// room writes the bitmaps that wait when there are many, so that memory stays bounded.
func (w *RW) room() error {
	w.mu.Lock()
	full := w.blocks.dirty >= maxIdleBitmaps
	w.mu.Unlock()
	if full {
		return w.Sync()
	}
	return nil
}

// writePiece writes the beginning of p, up to the end of a block or where the
// piece begins or ends inside a sector, and returns how much.
func (w *RW) writePiece(p []byte, off int64) (int, error) {
	if w.footer.Type == Fixed {
		if err := w.failed(); err != nil {
			return 0, err
		}
		return w.f.WriteAt(p, off)
	}
	block, within := int(off/w.blockSize), off%w.blockSize
	p = p[:min(int64(len(p)), w.blockSize-within)]
	if head := within % sectorSize; head != 0 || len(p) < sectorSize {
		p = p[:min(int64(len(p)), sectorSize-head)]
		return w.writeInSector(block, within, p)
	}
	p = p[:len(p)/sectorSize*sectorSize]
	at, err := w.reach(block, p)
	if err != nil || at < 0 {
		return len(p), err
	}
	if n, err := w.f.WriteAt(p, at+within); err != nil {
		return n / sectorSize * sectorSize, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.bitmapOf(block); err != nil {
		return 0, err
	}
	w.blocks.mark(block, int(within/sectorSize), len(p)/sectorSize, w.sectorsIn(block))
	return len(p), nil
}

// failed returns why nothing is written any more, nil while it is.
func (w *RW) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// reach returns where the data of a block is, allocating it if need be; -1 if
// p is zeros and the block reads as such without being there.
func (w *RW) reach(block int, p []byte) (int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	if w.blocks.table[block] == unallocated {
		if w.footer.Type == Dynamic && isZero(p) {
			return -1, nil
		}
		if err := w.allocate(block); err != nil {
			return 0, err
		}
	}
	return w.dataAt(block), nil
}

// writeInSector writes a part of one sector. If the image does not hold the
// sector yet the rest of it is zeros, which another write to it must not see
// half done: so it is written under the lock.
func (w *RW) writeInSector(block int, within int64, p []byte) (int, error) {
	off := int64(block)*w.blockSize + within
	alone := within%sectorSize == 0 && off+int64(len(p)) >= w.Size() // all of the sector that is in the disk
	if !alone && w.footer.Type == Differencing && !w.holds(block) {
		return 0, w.errAt("block", off, ErrParentNeeded)
	}
	at, err := w.reach(block, p)
	if err != nil || at < 0 {
		return len(p), err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	bits, err := w.bitmapOf(block)
	if err != nil {
		return 0, err
	}
	sector := int(within / sectorSize)
	if bits == nil || bits.has(sector) {
		return w.f.WriteAt(p, at+within)
	}
	if !alone && w.footer.Type == Differencing {
		return 0, w.errAt("block", off, ErrParentNeeded)
	}
	var whole [sectorSize]byte
	copy(whole[within%sectorSize:], p)
	if _, err := w.f.WriteAt(whole[:], at+within/sectorSize*sectorSize); err != nil {
		return 0, err
	}
	w.blocks.mark(block, sector, 1, w.sectorsIn(block))
	return len(p), nil
}

// holds reports whether the image has a block.
func (w *RW) holds(block int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.blocks.table[block] != unallocated
}

// By how much the file grows at a time: by what it has, within these bounds.
const (
	minGrowth = 1 << 20
	maxGrowth = 256 << 20
)

// allocate gives a block its place behind all others. w.mu is held.
func (w *RW) allocate(block int) error {
	at, err := w.takePlace()
	if err != nil {
		return err
	}
	w.blocks.add(block, uint32(at/sectorSize), w.footer.Type == Dynamic, w.bitmapLen)
	return nil
}

// takePlace reserves the room of a block, zeros, and returns where it begins.
func (w *RW) takePlace() (int64, error) {
	at := alignData(w.end, w.bitmapLen)
	end := at + w.bitmapLen + w.blockSize
	if at/sectorSize >= unallocated {
		return 0, fmt.Errorf("%w: a file beyond 2 TiB", ErrUnsupported)
	}
	if end > w.footerOff {
		if err := w.growFile(end); err != nil {
			w.err = fmt.Errorf("vhd: growing the image failed: %w", err)
			return 0, w.err
		}
	}
	if err := w.clear(w.end, min(end, w.dirtyEnd)); err != nil {
		return 0, err
	}
	w.end = end
	return at, nil
}

// growFile moves the trailing footer to end or farther. Only when the new one is
// durable is the old one free to be overwritten.
func (w *RW) growFile(end int64) error {
	step := min(max(w.footerOff, minGrowth), maxGrowth)
	to := roundUp(max(end, w.footerOff+step), dataAlignment)
	if err := w.writeFooterAt(to); err != nil {
		return err
	}
	w.dirtyEnd, w.footerOff, w.grown = w.footerOff+footerSize, to, true
	return nil
}
