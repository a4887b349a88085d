package vhd

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

// Diff yields what changed between two points of a chain: the extents of leaf
// that base does not hold the same way, ascending, without overlap and each maximal.
// base is the disk of one of the parents of leaf, opened on its own or not; the
// images of leaf that are newer than it say what changed. An extent is
//
//   - [disk.Data] where a newer image holds sectors: they were written, be it with
//     what was there before;
//   - [disk.Zero] where leaf reads as zeros and base may not, because the disk was
//     shortened and grown between, and where leaf is longer than base and nothing
//     was written.
//
// What is not in an extent reads the same from both, so base with the extents
// copied over it is leaf. If leaf is shorter, its size is the only sign of that. A
// nil base is an empty disk: the extents are all that is not zeros by its absence.
//
// If base is not in the chain of leaf the error is [ErrParentMismatch]. An error is
// the last pair. Only bitmaps are read, of the newer images.
func Diff(ctx context.Context, base, leaf *Chain) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		newer, baseSize, err := leaf.newerThan(base)
		if err != nil {
			yield(disk.Extent{}, err)
			return
		}
		kindAt := func(at, n int64) (disk.Kind, int64, error) { return leaf.changeAt(newer, baseSize, at, n) }
		for e, err := range extents(ctx, leaf.Size(), 0, leaf.Size(), kindAt) {
			if (err != nil || e.Kind != disk.Hole) && !yield(e, err) {
				return
			}
		}
	}
}

// newerThan returns how many images of the chain are newer than base.
func (c *Chain) newerThan(base *Chain) (newer int, baseSize int64, err error) {
	if base == nil {
		return len(c.links), 0, nil
	}
	want := base.links[0].UUID()
	newer = slices.IndexFunc(c.links, func(link *Image) bool { return link.UUID() == want })
	if newer < 0 {
		return 0, 0, fmt.Errorf("%w: %s is not a parent of %s", ErrParentMismatch, base.links[0].label(), c.links[0].label())
	}
	return newer, base.Size(), nil
}

// changeAt says what became of the bytes at off, [disk.Hole] for nothing, and for
// how many of n the answer is the same.
func (c *Chain) changeAt(newer int, baseSize, off, n int64) (disk.Kind, int64, error) {
	visible := int64(0) // how much of base the newer images let through
	if newer < len(c.links) {
		visible = min(baseSize, c.blocks.limits[newer])
	}
	if off < visible {
		n = min(n, visible-off)
	}
	link, n, err := c.blocks.findAbove(newer, off, n)
	switch {
	case err != nil:
		return disk.Hole, n, err
	case link >= 0:
		return disk.Data, n, nil
	case off < visible, newer == len(c.links):
		return disk.Hole, n, nil
	}
	return disk.Zero, n, nil
}
