package vhd

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Resize makes the disk larger; to shrink one is [ErrUnsupported]. What is new
// reads as zeros, of a differencing image as what a larger parent has there; not in
// its last block if that was full. Original and current size both become size, a
// multiple of 512.
//
// A block table that has too few entries grows where it is; blocks that are in its
// way are copied to the end of the file first. When Resize returns nil all is
// durable. If it fails, nothing more is written; the disk then has the old size
// or the new one.
//
// A fixed disk has one footer, at its end. If the power goes while it is resized,
// the file may have none and is opened only as a raw one, or it has the new size
// and the old footer is in the first new sector.
func (w *RW) Resize(size int64) error {
	w.life.Lock()
	defer w.life.Unlock()
	old := w.footer.CurrentSize
	switch {
	case size < old || size%sectorSize != 0:
		return fmt.Errorf("%w: resize %d bytes to %d", ErrUnsupported, old, size)
	case w.err != nil:
		return w.err
	case size == old:
		return nil
	}
	if err := w.sync(); err != nil {
		return err
	}
	entries := divUp(size, w.blockSize)
	if w.footer.Type != Fixed && entries > maxEntries {
		return fmt.Errorf("%w: a disk of %d bytes", ErrUnsupported, size)
	}
	if w.footer.Type != Fixed {
		if err := w.tableCanGrow(entries); err != nil {
			return err
		}
	}
	var err error
	if w.footer.Type == Fixed {
		err = w.resizeFixed(size)
	} else {
		err = w.resizeSparse(size, int(entries))
	}
	if err != nil {
		w.err = fmt.Errorf("vhd: resizing the image failed: %w", err)
		return w.err
	}
	return nil
}

// setSize changes the footer in memory.
func (w *RW) setSize(size int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.footer.OriginalSize, w.footer.CurrentSize, w.footer.Geometry = size, size, GeometryFor(size)
}

// resizeFixed writes a footer at the new end before it clears the old one. The
// file may have been longer than the disk, even longer than it gets.
func (w *RW) resizeFixed(size int64) error {
	old := w.footerOff
	if err := w.clear(w.footer.CurrentSize, min(old, size)); err != nil {
		return err
	}
	w.setSize(size)
	if err := w.writeFooterAt(size); err != nil {
		return err
	}
	w.footerOff, w.end = size, size
	var err error
	if size < old {
		err = w.f.Truncate(size + footerSize)
	} else {
		err = w.clear(old, min(old+footerSize, size))
	}
	if err != nil {
		return err
	}
	return w.f.Sync()
}

// clear writes zeros to [from, to) of the file.
func (w *RW) clear(from, to int64) error {
	for from < to {
		part := zeros[:min(int64(len(zeros)), to-from)]
		if _, err := w.f.WriteAt(part, from); err != nil {
			return err
		}
		from += int64(len(part))
	}
	return nil
}

func (w *RW) resizeSparse(size int64, entries int) error {
	if err := w.clearTail(); err != nil {
		return err
	}
	if err := w.growTable(entries); err != nil {
		return err
	}
	w.blocks.grow(entries)
	w.setSize(size)
	if err := w.writeFooterAt(w.footerOff); err != nil {
		return err
	}
	return w.writeFooterAt(0)
}

// clearTail clears what lies beyond the end of the disk in its last block.
func (w *RW) clearTail() error {
	within := w.footer.CurrentSize % w.blockSize
	block := int(w.footer.CurrentSize / w.blockSize)
	if within == 0 || w.blocks.table[block] == unallocated {
		return nil
	}
	at := w.dataAt(block)
	if err := w.clear(at+within, at+w.blockSize); err != nil {
		return err
	}
	return w.f.Sync()
}

// tableCanGrow fails if something else than blocks is behind the table.
func (w *RW) tableCanGrow(entries int64) error {
	t := int64(w.header.TableOffset)
	from, to := t+batSize(int64(w.header.MaxTableEntries)), t+batSize(entries)
	if to <= from {
		return nil
	}
	others := []region{{w.headerOff, w.headerOff + headerSize}}
	for _, l := range w.header.Locators {
		if l.Code != [4]byte{} && l.Length > 0 && l.Offset < math.MaxInt64/2 {
			others = append(others, region{int64(l.Offset), int64(l.Offset) + int64(l.Length)})
		}
	}
	raw := make([]byte, sectorSize)
	if from+sectorSize <= w.footerOff {
		if err := readExact(w.f, raw, from); err != nil {
			return err
		}
		if string(raw[:8]) == batmapCookie {
			others = append(others, region{from, from + sectorSize})
		}
	}
	for _, r := range others {
		if r.from < to && from < r.to {
			return w.errAt("BAT", from, fmt.Errorf("something is behind the block table that cannot be moved: %w", ErrUnsupported))
		}
	}
	return nil
}

// growTable gives the table its new entries, not allocated, before the header
// counts them. All that changes in the header is in its first sector.
func (w *RW) growTable(entries int) error {
	known := len(w.blocks.table)
	end := int64(w.header.TableOffset) + max(batSize(int64(entries)), batSize(int64(w.header.MaxTableEntries)))
	w.end = max(w.end, end)
	if err := w.moveBlocks(end); err != nil {
		return err
	}
	from := int64(w.header.TableOffset) + 4*int64(known)
	fill := make([]byte, end-from)
	for i := range fill {
		fill[i] = 0xff
	}
	if end > w.footerOff { // an image without blocks
		if err := w.growFile(end); err != nil {
			return err
		}
	}
	if _, err := w.f.WriteAt(fill, from); err != nil {
		return err
	}
	if err := w.f.Sync(); err != nil {
		return err
	}
	if entries <= int(w.header.MaxTableEntries) {
		return nil
	}
	var raw [headerSize]byte
	if err := readExact(w.f, raw[:], w.headerOff); err != nil {
		return err
	}
	binary.BigEndian.PutUint32(raw[28:], uint32(entries))
	binary.BigEndian.PutUint32(raw[36:], checksum(raw[:], 36))
	if _, err := w.f.WriteAt(raw[:sectorSize], w.headerOff); err != nil {
		return err
	}
	w.mu.Lock()
	w.header.MaxTableEntries = uint32(entries)
	w.mu.Unlock()
	return w.f.Sync()
}

// moveBlocks copies the blocks before end to the end of the file. Only when the
// table that says so is durable is their old place free.
func (w *RW) moveBlocks(end int64) error {
	var moved []placed
	var buf []byte
	for block, sector := range w.blocks.table {
		if sector == unallocated || int64(sector)*sectorSize >= end || int64(sector)*sectorSize < int64(w.header.TableOffset) {
			continue
		}
		at, err := w.takePlace()
		if err != nil {
			return err
		}
		if buf == nil {
			buf = make([]byte, w.bitmapLen+w.blockSize)
		}
		if err := readExact(w.f, buf, int64(sector)*sectorSize); err != nil {
			return err
		}
		if _, err := w.f.WriteAt(buf, at); err != nil {
			return err
		}
		moved = append(moved, placed{uint32(block), uint32(at / sectorSize)})
	}
	if len(moved) == 0 {
		return nil
	}
	if err := w.f.Sync(); err != nil {
		return err
	}
	if err := w.writeEntries(moved); err != nil {
		return err
	}
	for _, b := range moved {
		w.blocks.table[b.index] = b.sector
	}
	return w.f.Sync()
}
