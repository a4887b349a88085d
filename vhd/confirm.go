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
	from, to := 0, 0 // the blocks whose entries are in buf
	for b := range m.entries() {
		block := int(b.index)
		if block >= to {
			from, to = block, min(block+confirmChunk/4, m.blockCount())
			if err := m.readFull(buf[:4*(to-from)], int64(m.header.TableOffset)+4*int64(from), "BAT"); err != nil {
				return err
			}
		}
		if binary.BigEndian.Uint32(buf[4*(block-from):]) != b.sector {
			return m.badEntry(b.index, ErrChanged)
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
