package ext

import (
	"errors"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// copyGroups are groups in which a copy of the superblock and of the group
// descriptors is looked for: those of sparse_super, of which sparse_super2
// keeps the first one.
var copyGroups = [...]uint64{1, 3, 5, 7, 9}

// superblock reads the first superblock, or, where that is damaged, a copy.
func (f *FS) superblock(d *device) (*superblock, error) {
	var b [superSize]byte
	if err := d.readAt(b[:], superOffset); err != nil {
		return nil, err
	}
	f.copyGroup, f.otherCopies = 0, false
	sb, err := parseSuper(&b)
	switch {
	case err == nil:
		return sb, nil
	case errors.Is(err, fsys.ErrUnsupported) && !damagedSuper(&b):
		return nil, err // it is meant so: a copy would be of older times
	}
	best, bad := f.copyOf(d, &b)
	if bad != nil {
		return nil, bad
	}
	if best == nil {
		return nil, err
	}
	return best, nil
}

// damagedSuper tells whether a superblock that claims to have a checksum has a
// wrong one.
func damagedSuper(b *[superSize]byte) bool {
	return le.Uint32(b[0x64:])&roMetadataCsum != 0 && crc32c(^uint32(0), b[:0x3FC]) != le.Uint32(b[0x3FC:])
}

// copyOf returns a copy of the first superblock, nil if there is none. mkfs
// leaves the copies of an older file system where the new one has none: of
// several, the one counts that has the UUID of what is left of the first, else
// the one that was made last.
func (f *FS) copyOf(d *device, first *[superSize]byte) (best *superblock, err error) {
	var b [superSize]byte
	var rank uint64
	for c := range copyPlaces {
		if c.off > uint64(d.size-superSize) {
			continue
		}
		if err := d.readAt(b[:], int64(c.off)); err != nil {
			return nil, err
		}
		sb, bad := parseSuper(&b)
		if bad != nil || !sb.isCopy(&b, c.group, int64(c.off)) || sb.blocks > uint64(d.size/sb.blockSize) {
			continue
		}
		r := uint64(le.Uint32(b[0x108:])) | uint64(b[0x276])<<32 // when it was made
		if le.Uint16(first[0x38:]) == superMagic && [16]byte(first[0x68:]) == sb.uuid {
			r |= 1 << 63
		}
		f.otherCopies = f.otherCopies || best != nil && sb.uuid != best.uuid
		if best == nil || r > rank {
			best, rank, f.copyGroup = sb, r, c.group
		}
	}
	return best, nil
}

// copyPlace is where a copy of a superblock may be.
type copyPlace struct {
	group, off uint64
}

// copyPlaces yields all of them, by size of a block and blocks in a cluster.
func copyPlaces(yield func(copyPlace) bool) {
	for shift := range 7 {
		for _, ratio := range [...]uint64{1, 16} {
			for _, group := range copyGroups {
				bs := uint64(1024) << shift
				off := group * 8 * bs * ratio * bs
				if shift == 0 {
					off += 1024
				}
				if !yield(copyPlace{group, off}) {
					return
				}
			}
		}
	}
}

// isCopy tells that b is the copy of the superblock that belongs to a place.
func (sb *superblock) isCopy(b *[superSize]byte, group uint64, off int64) bool {
	return uint64(le.Uint16(b[0x5A:])) == group && sb.hasSuper(group) && int64(sb.groupStart(group))*sb.blockSize == off
}

// groupStart is the first block of a group.
func (sb *superblock) groupStart(group uint64) uint64 {
	return sb.firstBlock + group*uint64(sb.blocksPerGroup)
}

// descCopies returns where the copies of a descriptor are: behind those of the
// superblock, or, with meta_bg, in the second and the last group of its own
// meta group.
func (sb *superblock) descCopies(group uint64) (offsets []int64) {
	perBlock := uint64(sb.blockSize) / uint64(sb.descSize)
	meta := group / perBlock
	in := int64(group%perBlock) * int64(sb.descSize)
	if sb.hasIncompat(incompatMetaBG) && meta >= uint64(sb.firstMetaBG) {
		for _, g := range [...]uint64{meta*perBlock + 1, meta*perBlock + perBlock - 1} {
			block := sb.groupStart(g)
			if sb.hasSuper(g) {
				block++
			}
			offsets = append(offsets, int64(block)*sb.blockSize+in)
		}
		return offsets
	}
	for _, g := range append(copyGroups[:], uint64(sb.backupGroups[1])) {
		if g < sb.groups() && sb.hasSuper(g) && g > 0 {
			offsets = append(offsets, int64(sb.groupStart(g)+1+meta)*sb.blockSize+in)
		}
	}
	return offsets
}

// inodeTable returns the first block of a group's inodes. Where the descriptor
// is damaged, a copy of it tells: tables stay where mkfs put them.
func (f *FS) inodeTable(group uint64) (uint64, error) {
	table, err := f.tableAt(group, f.sb.descOffset(group))
	if err == nil || !errors.Is(err, fsys.ErrCorrupt) {
		return table, err
	}
	for _, off := range f.sb.descCopies(group) {
		if table, bad := f.tableAt(group, off); bad == nil {
			f.warn(fsys.Damaged, "there are damaged group descriptors; copies of them are used")
			return table, nil
		}
	}
	return 0, err
}
