package vhd

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// checkBlocks reads the bitmaps of an image, and its data if the level says so.
func (c *checker) checkBlocks(ctx context.Context, m *Image) error {
	b := &blockCheck{checker: c, m: m, bits: make(bitmap, bitmapSize(m.blockSize))}
	if c.level >= CheckData {
		b.data = make([]byte, m.blockSize)
	}
	full, err := m.readBatmap()
	if isIO(err) {
		return err
	}
	for block := range m.Blocks() {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if _, bad := m.bad[uint32(block)]; bad {
			continue // a finding already
		}
		if err := b.check(block, full != nil && full.has(block)); err != nil {
			return err
		}
	}
	if b.partial > 0 && m.Type() == Differencing {
		c.note(m, FindPartial, fmt.Sprintf("%d blocks lack sectors, which come from the parent: XO takes them as they are", b.partial))
	}
	return nil
}

// blockCheck examines the blocks of one image.
type blockCheck struct {
	*checker
	m       *Image
	bits    bitmap
	data    []byte // nil when the data is not to be read
	partial int
}

func (b *blockCheck) check(block int, claimedFull bool) error {
	sectors := b.m.sectorsIn(block)
	err := b.m.source.readBitmap(b.bits, block)
	if err != nil {
		return b.damage(FindBitmap, block, err)
	}
	whole := b.bits.allSet(sectors)
	if !whole {
		b.partial++
	}
	if claimedFull && !whole {
		b.found(Finding{
			Kind: FindBatmap, Severity: Warning, Block: int64(block), Err: ErrInconsistent,
			Text: "the batmap says that every sector is there, the bitmap does not: tools that trust it read zeros",
		})
	}
	if b.data == nil {
		return nil
	}
	data := b.data[:min(b.m.blockSize, b.m.Size()-int64(block)*b.m.blockSize)]
	if b.m.Type() != Fixed {
		data = b.data
	}
	if err := b.m.source.readData(data, block, 0); err != nil {
		return b.damage(FindBlock, block, err)
	}
	if b.m.Type() == Dynamic && b.hides(data, sectors, whole) {
		b.found(Finding{
			Kind: FindHiddenData, Severity: Warning, Block: int64(block), Err: ErrInconsistent,
			Text: "there is data in sectors that are not part of the disk: tools that do not look at bitmaps show it",
		})
	}
	return nil
}

// hides tells whether data is not zero where the bitmap, or the end of the disk,
// says that it does not count.
func (b *blockCheck) hides(data []byte, sectors int, whole bool) bool {
	used := func(x byte) bool { return x != 0 }
	if whole {
		return slices.ContainsFunc(data[min(len(data), sectors*sectorSize):], used)
	}
	for s := 0; s < len(data)/sectorSize; s++ {
		if (s >= sectors || !b.bits.has(s)) && slices.ContainsFunc(data[s*sectorSize:(s+1)*sectorSize], used) {
			return true
		}
	}
	return false
}

// damage notes what is wrong with the content of a block; another error is the caller's.
func (b *blockCheck) damage(kind FindingKind, block int, err error) error {
	if !isProof(err) {
		return err
	}
	if errors.Is(err, ErrIncomplete) {
		return nil // a block without a file is a finding already
	}
	b.found(Finding{Kind: kind, Severity: Damage, Block: int64(block), Text: err.Error(), Err: err})
	return nil
}

func (b *blockCheck) found(f Finding) {
	f.Struct, f.Offset = "block", -1
	if b.m.Type() != Fixed && b.m.r != nil {
		f.Offset = int64(b.m.entry(int(f.Block))) * sectorSize
	}
	b.add(b.m, f)
}
