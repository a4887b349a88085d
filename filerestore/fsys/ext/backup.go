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
	f.copyGroup = 0
	sb, err := parseSuper(&b)
	if err == nil {
		return sb, nil
	}
	for shift := range 7 {
		for _, ratio := range [...]int64{1, 16} { // blocks in a cluster
			for _, group := range copyGroups {
				bs := int64(1024) << shift
				off := group * uint64(8*bs*ratio) * uint64(bs)
				if shift == 0 {
					off += 1024
				}
				if off > uint64(d.size-superSize) {
					break
				}
				if readErr := d.readAt(b[:], int64(off)); readErr != nil {
					return nil, readErr
				}
				if sb, bad := parseSuper(&b); bad == nil && sb.isCopy(&b, group, int64(off)) && sb.blocks <= uint64(d.size/bs) {
					f.copyGroup = group
					return sb, nil
				}
			}
		}
	}
	return nil, err
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
