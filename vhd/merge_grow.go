package vhd

import (
	"context"
	"encoding/binary"
)

// grow brings the file to its final length, and the disk to the size of the
// youngest image. After each sync the file is valid: there is a footer at its
// end or the copy at its front.
func (m *merger) grow(ctx context.Context, p *placement) error {
	oldest, size := m.links[0], m.links[m.last()].Size()
	footer := oldest.footer
	if err := m.write(ctx, footer.encode()[:], p.end); err != nil {
		return err
	}
	if err := m.sync(ctx); err != nil {
		return err
	}
	if err := m.moveBlocks(ctx, p); err != nil {
		return err
	}
	if size == oldest.Size() {
		return nil
	}
	if err := m.zeroTail(ctx, p); err != nil {
		return err
	}
	if err := m.growTable(ctx, len(p.table)); err != nil {
		return err
	}
	youngest := m.links[m.last()].footer
	footer.CurrentSize, footer.OriginalSize, footer.Geometry = size, youngest.OriginalSize, youngest.Geometry
	return m.writeFooters(ctx, &footer, p.end)
}

// moveBlocks copies the blocks that are in the way of the table to where they
// will be. Only when the table that says so is durable is their old place free.
func (m *merger) moveBlocks(ctx context.Context, p *placement) error {
	oldest := m.links[0]
	if len(p.moved) == 0 {
		return nil
	}
	buf := make([]byte, oldest.bitmapLen+oldest.blockSize)
	for _, b := range p.moved {
		if err := oldest.readFull(buf, int64(b.sector)*sectorSize, "block"); err != nil {
			return err
		}
		if err := m.write(ctx, buf, int64(p.table[b.index])*sectorSize); err != nil {
			return err
		}
	}
	if err := m.sync(ctx); err != nil {
		return err
	}
	for _, b := range p.moved {
		if err := m.writeEntries(ctx, p.table, int(b.index), int(b.index)+1); err != nil {
			return err
		}
		oldest.table[b.index] = p.table[b.index]
	}
	return m.sync(ctx)
}

// zeroTail clears what lies beyond the end of the disk in its last block, which
// becomes visible when the disk grows.
func (m *merger) zeroTail(ctx context.Context, p *placement) error {
	oldest := m.links[0]
	within := oldest.Size() % oldest.blockSize
	block := oldest.Size() / oldest.blockSize
	if within == 0 || p.table[block] == unallocated || int(block) >= len(oldest.table) || oldest.table[block] == unallocated {
		return nil
	}
	if _, bad := oldest.bad[uint32(block)]; bad {
		return nil
	}
	off := int64(p.table[block])*sectorSize + oldest.bitmapLen + within
	if err := m.write(ctx, make([]byte, oldest.blockSize-within), off); err != nil {
		return err
	}
	return m.sync(ctx)
}

// growTable marks the new entries as not allocated before the header counts
// them. All that changes in the header is in its first sector.
func (m *merger) growTable(ctx context.Context, entries int) error {
	oldest := m.links[0]
	from, to := int64(len(oldest.table)), int64(entries)
	if to <= from {
		return nil
	}
	h := oldest.header
	fill := make([]byte, int64(h.TableOffset)+max(batSize(to), batSize(int64(h.MaxTableEntries)))-(int64(h.TableOffset)+4*from))
	for i := range fill {
		fill[i] = 0xff
	}
	if err := m.write(ctx, fill, int64(h.TableOffset)+4*from); err != nil {
		return err
	}
	if err := m.sync(ctx); err != nil {
		return err
	}
	if to <= int64(h.MaxTableEntries) {
		return nil
	}
	var raw [headerSize]byte
	off := int64(oldest.footer.DataOffset)
	if err := oldest.readFull(raw[:], off, "header"); err != nil {
		return err
	}
	binary.BigEndian.PutUint32(raw[28:], uint32(to))
	binary.BigEndian.PutUint32(raw[36:], checksum(raw[:], 36))
	if err := m.write(ctx, raw[:sectorSize], off); err != nil {
		return err
	}
	return m.sync(ctx)
}
