package xapitest

import (
	"math/bits"
	"slices"
)

// version is a moment in the history of disks: what a disk held when it was
// copied. Versions do not change and know the one before, so that what differs
// between two disks of one family follows from what was written on the way.
type version struct {
	parent  *version // nil: nothing is known of what was before
	changes bitmap   // since the parent
	depth   int
}

// maxHistory is after how many versions a history starts anew: disks on both
// sides of that have to be compared.
const maxHistory = 1000

// next returns the version that follows with these changes. If they are not all
// there were, it is the first one of a new history.
func (v *version) next(changes bitmap, exact bool) *version {
	if !exact || v.depth == maxHistory {
		return new(version)
	}
	return &version{parent: v, changes: changes, depth: v.depth + 1}
}

// until adds up what has changed since an ancestor.
func (v *version) until(ancestor *version, changes bitmap) bitmap {
	for ; v != ancestor; v = v.parent {
		changes.add(v.changes)
	}
	return changes
}

// common returns the youngest version from which both descend, or nil when that
// is not known.
func (v *version) common(w *version) *version {
	seen := make(map[*version]bool)
	for ; v != nil; v = v.parent {
		seen[v] = true
	}
	for w != nil && !seen[w] {
		w = w.parent
	}
	return w
}

// tracked returns the blocks in which two disks can differ, without looking at
// them, or false when one of them was written by somebody else.
func (s *diskStore) tracked(uuid, base string) (bitmap, bool) {
	since, changes, exact := s.history(uuid)
	sinceBase, more, exactBase := s.history(base)
	origin := since.common(sinceBase)
	if !exact || !exactBase || origin == nil {
		return nil, false
	}
	changes.add(more)
	return sinceBase.until(origin, since.until(origin, changes)), true
}

// history returns the version of a disk and what was written since.
func (s *diskStore) history(uuid string) (since *version, written bitmap, exact bool) {
	c, err := s.disk(uuid)
	if err == nil {
		return c.unchanged()
	}
	l := s.log(uuid)
	if l == nil || l.since == nil {
		return nil, nil, false
	}
	return l.since, nil, true
}

// trackedBlock is what one bit of list_changed_blocks stands for.
const trackedBlock = 64 << 10

// bitmap has a bit for each tracked block of a disk; those beyond its end are
// not set.
type bitmap []uint64

// set sets the bits of the blocks that n bytes at off touch.
func (b *bitmap) set(off, n int64) {
	if n <= 0 {
		return
	}
	last := (off + n - 1) / trackedBlock
	b.grow(int(last/64) + 1)
	for i := off / trackedBlock; i <= last; i++ {
		(*b)[i/64] |= 1 << (i % 64)
	}
}

func (b *bitmap) grow(words int) {
	if more := words - len(*b); more > 0 {
		*b = append(*b, make([]uint64, more)...)
	}
}

// add sets the bits that another has.
func (b *bitmap) add(other bitmap) {
	b.grow(len(other))
	for i, word := range other {
		(*b)[i] |= word
	}
}

func (b *bitmap) has(i int) bool { return i/64 < len(*b) && (*b)[i/64]&(1<<(i%64)) != 0 }

func (b *bitmap) empty() bool { return !slices.ContainsFunc(*b, func(w uint64) bool { return w != 0 }) }

func (b *bitmap) clone() bitmap { return slices.Clone(*b) }

// blocks lists the blocks of a VHD with a bit, of a disk of that size, in
// ascending order.
func (b *bitmap) blocks(size int64) (blocks []uint32) {
	const perBlock = blockSize / trackedBlock
	for i, word := range *b {
		for word != 0 {
			block := (i*64 + bits.TrailingZeros64(word)) / perBlock
			if block >= blockCount(size) {
				return blocks
			}
			blocks = append(blocks, uint32(block)) // bounded by the format
			next := (block+1)*perBlock - i*64
			if next >= 64 {
				break
			}
			word &= ^uint64(0) << next
		}
	}
	return blocks
}
