package vhd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
)

// verify checks that the images are what the plan or the state says, and can be merged.
func (m *merger) verify(ctx context.Context) error {
	oldest, youngest := m.links[0], m.links[m.last()]
	if oldest.Type() == Fixed {
		return fmt.Errorf("%w: %s is a fixed disk", ErrUnsupported, oldest.label())
	}
	for i, link := range m.links[1:] {
		previous := m.links[i]
		switch {
		case link.Type() != Differencing:
			return fmt.Errorf("%w: %s has no parent", ErrParentMismatch, link.label())
		case link.blockSize != oldest.blockSize:
			return fmt.Errorf("%w: blocks of different sizes in %s and %s", ErrUnsupported, oldest.label(), link.label())
		case i > 0 && link.Size() < previous.Size():
			return fmt.Errorf("%w: %s is smaller than its parent", ErrUnsupported, link.label())
		case i > 0 && link.Parent().UUID != previous.UUID():
			return fmt.Errorf("%w: of %s", ErrParentMismatch, link.label())
		case slices.ContainsFunc(m.links[1:i+1], func(l *Image) bool { return l.UUID() == link.UUID() }):
			return fmt.Errorf("%w: %s", ErrCycle, link.label())
		}
	}
	if err := m.verifyOldest(oldest, youngest); err != nil {
		return err
	}
	if err := m.verifyNoOtherMerge(ctx); err != nil {
		return err
	}
	if oldest.Type() == Differencing && youngest.Size() > oldest.Size() {
		return m.verifyGrandparent(ctx, oldest)
	}
	return nil
}

// verifyOldest checks the link between the oldest image and its child, which a
// merge that was interrupted late has already cut: the oldest then carries the
// uuid of the youngest.
func (m *merger) verifyOldest(oldest, youngest *Image) error {
	wanted := m.links[1].Parent().UUID
	grown := m.result.Resumed || m.torn
	known := oldest.UUID() == wanted
	switch {
	case m.result.Resumed:
		if wanted != m.state.Parent || youngest.UUID() != m.state.Child {
			return fmt.Errorf("%w: uuids of the images", ErrMergeState)
		}
		known = known || oldest.UUID() == m.state.Child
	case m.torn:
		known = known || slices.ContainsFunc(m.links[1:], func(l *Image) bool { return l.UUID() == oldest.UUID() })
	case slices.ContainsFunc(m.links[1:], func(l *Image) bool { return l.UUID() == oldest.UUID() }):
		return fmt.Errorf("%w: %s", ErrCycle, oldest.label())
	}
	if !known {
		return fmt.Errorf("%w: %s is not the parent of %s", ErrParentMismatch, oldest.label(), m.links[1].label())
	}
	limit := m.links[1].Size()
	if grown {
		limit = youngest.Size()
	}
	if oldest.Size() > limit {
		return fmt.Errorf("%w: %s is smaller than its parent", ErrUnsupported, m.links[1].label())
	}
	return nil
}

// verifyNoOtherMerge refuses while one of the images takes part in another merge
// that was interrupted: that one must be finished first.
func (m *merger) verifyNoOtherMerge(ctx context.Context) error {
	names, err := m.dir.List(ctx, m.base)
	if err != nil {
		return err
	}
	for _, name := range names {
		target, ok := mergeTarget(name)
		if !ok || target == m.names[0] {
			continue
		}
		involved := slices.Contains(m.names, target)
		if !involved {
			other, err := ReadMergeState(ctx, m.dir, path.Join(m.base, name))
			if err != nil && !errors.Is(err, ErrMergeState) && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			involved = err == nil && slices.ContainsFunc(other.Chain, func(n string) bool { return slices.Contains(m.names, n) })
		}
		if involved {
			return fmt.Errorf("%w: the merge into %s was interrupted", ErrMergeState, target)
		}
	}
	return nil
}

// verifyGrandparent refuses if growing the oldest image would uncover a part of
// its parent that its size hides now.
func (m *merger) verifyGrandparent(ctx context.Context, oldest *Image) error {
	for _, name := range oldest.Parent().Names {
		size, err := m.sizeOf(ctx, path.Join(m.base, name), oldest.Parent().UUID)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) || errors.Is(err, ErrOutside) || errors.Is(err, ErrParentMismatch) {
			continue
		}
		if err != nil {
			return err
		}
		if size > oldest.Size() {
			return fmt.Errorf("%w: the parent of %s is longer than it", ErrUnsupported, oldest.label())
		}
		return nil
	}
	return fmt.Errorf("parent of %s: %w", oldest.label(), ErrParentNotFound)
}

func (m *merger) sizeOf(ctx context.Context, name string, want UUID) (size int64, err error) {
	open := OpenDirectory
	if !isAlias(name) {
		open = openDamaged
	}
	image, err := open(ctx, m.dir, name)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, image.Close()) }()
	if image.UUID() != want {
		return 0, ErrParentMismatch
	}
	return image.Size(), nil
}

// openDamaged opens a file as far as it can be read.
func openDamaged(ctx context.Context, dir Dir, name string) (*Image, error) {
	f, err := dir.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	m, err := Open(f, size, &OpenOptions{Name: name, Mode: Recover})
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	m.closer = f
	return m, nil
}

// placement says where everything goes in the oldest image.
type placement struct {
	blocks []uint32 // that the newer images hold, ascending
	table  bat      // the table as it will be
	moved  []placed // blocks that make room for the table: where they are now
	end    int64    // where the footer will be
}

// place decides where everything goes. It changes nothing.
func (m *merger) place() (*placement, error) {
	oldest, youngest := m.links[0], m.links[m.last()]
	oldest.makeDense(oldest.blockCount())
	entries := divUp(youngest.Size(), oldest.blockSize)
	p := &placement{table: make(bat, entries)}
	for i := range p.table {
		p.table[i] = unallocated
		if i < len(oldest.table) {
			p.table[i] = oldest.table[i]
		}
		if slices.ContainsFunc(m.links[1:], func(l *Image) bool { return l.HasBlock(i) }) {
			p.blocks = append(p.blocks, uint32(i))
		}
	}
	if err := m.dropBadBlocks(p); err != nil {
		return nil, err
	}
	if err := m.makeRoom(p, entries); err != nil {
		return nil, err
	}
	end := m.endOfBlocks(p, entries)
	p.end = max(end, roundUp(oldest.dataEnd, sectorSize))
	for _, b := range p.moved {
		p.table[b.index] = unallocated
	}
	assign := func(block uint32) error {
		at := roundUp(end+oldest.bitmapLen, max(dataAlignment, sectorSize)) - oldest.bitmapLen
		if at/sectorSize >= unallocated {
			return fmt.Errorf("%w: %s would grow beyond 2 TiB", ErrUnsupported, oldest.label())
		}
		p.table[block] = uint32(at / sectorSize)
		end = at + oldest.bitmapLen + oldest.blockSize
		p.end = max(p.end, end)
		return nil
	}
	for _, b := range p.moved {
		if err := assign(b.index); err != nil {
			return nil, err
		}
	}
	for _, block := range p.blocks {
		if p.table[block] == unallocated {
			if err := assign(block); err != nil {
				return nil, err
			}
		}
		if int64(block) < m.state.SyncedBlock && (int(block) >= len(oldest.table) || oldest.table[block] != p.table[block]) {
			m.state.SyncedBlock = 0 // the state is about another file than this
		}
	}
	return p, nil
}

// dropBadBlocks forgets blocks that an interrupted writer put into the table but
// not into the file, as far as the newer images hold all of them.
func (m *merger) dropBadBlocks(p *placement) error {
	oldest := m.links[0]
	for block, fault := range oldest.bad {
		bits, err := m.bitsAbove(int(block))
		if err != nil {
			return err
		}
		if !bits.allSet(oldest.sectorsIn(int(block))) {
			return oldest.badEntry(block, fault)
		}
		p.table[block] = unallocated
	}
	return nil
}

// bitsAbove returns which sectors of a block the newer images hold.
func (m *merger) bitsAbove(block int) (bitmap, error) {
	bits := make(bitmap, m.links[0].bitmapLen)
	for _, link := range m.links[1:] {
		if !link.HasBlock(block) {
			continue
		}
		own, err := link.bitmapOf(block)
		if err != nil {
			return nil, err
		}
		if own == nil {
			bits.set(0, link.sectorsIn(block))
			continue
		}
		for i := range bits {
			bits[i] |= own[i]
		}
	}
	return bits, nil
}

// makeRoom finds the blocks that lie where the longer table will be.
func (m *merger) makeRoom(p *placement, entries int64) error {
	oldest := m.links[0]
	h := &oldest.header
	if entries <= int64(h.MaxTableEntries) {
		return nil
	}
	table := region{int64(h.TableOffset) + 4*int64(h.MaxTableEntries), int64(h.TableOffset) + batSize(entries)}
	if table.to <= int64(h.TableOffset)+batSize(int64(h.MaxTableEntries)) {
		return nil // the padding is enough
	}
	inTheWay := func(what string) error {
		return fmt.Errorf("%w: %s is in the way of a longer table in %s", ErrUnsupported, what, oldest.label())
	}
	if string(oldest.footer.CreatorApp[:3]) == "tap" {
		return inTheWay("the batmap")
	}
	if header := int64(oldest.footer.DataOffset); header < table.to && table.from < header+headerSize {
		return inTheWay("the header")
	}
	for _, l := range h.Locators {
		if l.Code != ([4]byte{}) && l.Length > 0 && l.Offset < uint64(table.to) && uint64(table.from) < l.Offset+uint64(l.Length) {
			return inTheWay("a parent locator")
		}
	}
	whole := oldest.bitmapLen + oldest.blockSize
	for _, b := range p.table.physical() {
		if from := int64(b.sector) * sectorSize; from < table.to && table.from < from+whole {
			p.moved = append(p.moved, b)
		}
	}
	return nil
}

// endOfBlocks returns where blocks may be added. In a file that no merge has
// touched that is where the footer is. Afterwards the footer is behind space
// for blocks that are not in the table yet; the last block in the table counts.
func (m *merger) endOfBlocks(p *placement, entries int64) int64 {
	oldest := m.links[0]
	untouched := !m.result.Resumed && !m.torn
	if untouched || string(oldest.footer.CreatorApp[:3]) == "tap" {
		return max(roundUp(oldest.dataEnd, sectorSize), int64(oldest.header.TableOffset)+batSize(entries))
	}
	end := int64(oldest.header.TableOffset) + batSize(max(entries, int64(oldest.header.MaxTableEntries)))
	for _, r := range oldest.structures() {
		end = max(end, r.to)
	}
	for _, l := range oldest.header.Locators {
		if l.Length <= maxLocatorData && l.Offset < uint64(oldest.fileSize) {
			end = max(end, roundUp(int64(l.Offset)+int64(l.Length), sectorSize))
		}
	}
	for _, sector := range p.table {
		if sector != unallocated {
			end = max(end, int64(sector)*sectorSize+oldest.bitmapLen+oldest.blockSize)
		}
	}
	return end
}
