package vhd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Sync makes durable what was written before it was called. After it has failed
// nothing is written any more: what is in the file then is what a crash would leave.
func (w *RW) Sync() error {
	w.life.RLock()
	defer w.life.RUnlock()
	return w.sync()
}

// sync is Sync for those who hold w.life.
func (w *RW) sync() error {
	w.syncing.Lock()
	defer w.syncing.Unlock()
	w.mu.Lock()
	if err := w.err; err != nil {
		w.mu.Unlock()
		return err
	}
	change := w.takeChanges()
	w.mu.Unlock()
	err := change.write(w)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blocks.writing = false
	if err != nil {
		err = fmt.Errorf("vhd: making writes durable failed: %w", err)
		w.err = errors.Join(w.err, err)
	}
	return err
}

// rwChange is what Sync writes.
type rwChange struct {
	hidden, shown []rwBitmapAt // bitmaps of blocks that the table in the file does not have yet, and of others
	entries       []placed     // ascending by block
}

type rwBitmapAt struct {
	bits bitmap
	at   int64
}

// takeChanges collects what the file does not have yet. w.mu is held.
func (w *RW) takeChanges() rwChange {
	var c rwChange
	b := &w.blocks
	var full bitmap
	for _, block := range slices.Sorted(maps.Keys(b.fresh)) {
		sector := b.table[block]
		c.entries = append(c.entries, placed{uint32(block), sector})
		bits, _ := b.bitmap(block)
		if bits == nil {
			if full == nil {
				full = Layout{BlockSize: w.blockSize}.fullBitmap()
			}
			bits = full
		}
		c.hidden = append(c.hidden, rwBitmapAt{slices.Clone(bits), int64(sector) * sectorSize})
	}
	for block, m := range b.partial {
		if !m.dirty {
			continue
		}
		m.dirty = false
		if !b.fresh[block] {
			c.shown = append(c.shown, rwBitmapAt{slices.Clone(m.bits), int64(b.table[block]) * sectorSize})
		}
		if m.bits.allSet(w.sectorsIn(block)) {
			delete(b.partial, block)
			b.setFull(block)
		}
	}
	b.dirty, b.writing = 0, true
	clear(b.fresh)
	return c
}

// write writes data first, then what shows it.
func (c *rwChange) write(w *RW) error {
	if err := writeBitmaps(w.f, c.hidden); err != nil {
		return err
	}
	if err := w.f.Sync(); err != nil {
		return err
	}
	if len(c.shown) == 0 && len(c.entries) == 0 {
		return nil
	}
	if err := writeBitmaps(w.f, c.shown); err != nil {
		return err
	}
	if err := w.writeEntries(c.entries); err != nil {
		return err
	}
	return w.f.Sync()
}

func writeBitmaps(f File, all []rwBitmapAt) error {
	for _, b := range all {
		if _, err := f.WriteAt(b.bits, b.at); err != nil {
			return err
		}
	}
	return nil
}

// writeEntries writes entries of the table, those of adjacent blocks together.
func (w *RW) writeEntries(entries []placed) error {
	for len(entries) > 0 {
		n := 1
		for n < len(entries) && entries[n].index == entries[n-1].index+1 {
			n++
		}
		raw := make([]byte, 0, 4*n)
		for _, e := range entries[:n] {
			raw = binary.BigEndian.AppendUint32(raw, e.sector)
		}
		if _, err := w.f.WriteAt(raw, int64(w.header.TableOffset)+4*int64(entries[0].index)); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

// Close makes everything durable and cuts off what the file has grown in
// advance. The file belongs to the caller and stays open. A second call does nothing.
func (w *RW) Close() error {
	w.life.Lock()
	defer w.life.Unlock()
	if errors.Is(w.err, errClosedRW) {
		return nil
	}
	err := w.sync()
	if err == nil && w.grown {
		err = w.trim()
	}
	w.err = errors.Join(errClosedRW, err)
	return err
}

// trim brings the trailing footer to the end of the blocks.
func (w *RW) trim() error {
	end := roundUp(w.end, sectorSize)
	if end+footerSize > w.footerOff {
		return nil
	}
	if err := w.writeFooterAt(end); err != nil {
		return err
	}
	if err := w.f.Truncate(end + footerSize); err != nil {
		return err
	}
	return w.f.Sync()
}
