package vhd

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// confirmChunk is how much of a block table is read again at a time.
const confirmChunk = 64 << 10

// Confirm tells, after an image was read while somebody may have merged into
// it, whether what was read was right: it reads the block table again, and fails
// with [ErrChanged] if a block has moved since [Open]. What a merge writes over a
// block in its place does not count: only images that hold that block themselves
// may still be asked for it.
func (m *Image) Confirm() error { return m.source.confirm() }

func (s tableBlocks) confirm() error {
	m := s.m
	buf := make([]byte, confirmChunk)
	for first := 0; first < len(m.table); first += confirmChunk / 4 {
		known := m.table[first:min(len(m.table), first+confirmChunk/4)]
		off := int64(m.header.TableOffset) + 4*int64(first)
		if err := m.readFull(buf[:4*len(known)], off, "BAT"); err != nil {
			return err
		}
		for i, sector := range known {
			if sector != unallocated && binary.BigEndian.Uint32(buf[4*i:]) != sector {
				return m.errAt("BAT", "entry", off+4*int64(i), ErrChanged)
			}
		}
	}
	return nil
}

// Confirm does so for all images of the chain, the oldest first.
func (c *Chain) Confirm() error {
	for _, link := range slices.Backward(c.links) {
		if err := link.Confirm(); err != nil {
			return fmt.Errorf("confirm %s: %w", link.label(), err)
		}
	}
	return nil
}
