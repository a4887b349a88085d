package ext

import (
	"fmt"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// descOffset returns where the descriptor of a group is: in a table behind the
// superblock, or, with meta_bg, in the first group of its own meta group.
func (sb *superblock) descOffset(group uint64) int64 {
	perBlock := uint64(sb.blockSize) / uint64(sb.descSize)
	meta := group / perBlock
	block := uint64(superOffset/sb.blockSize) + 1 + meta
	if sb.hasIncompat(incompatMetaBG) && meta >= uint64(sb.firstMetaBG) {
		first := meta * perBlock
		block = sb.firstBlock + first*uint64(sb.blocksPerGroup)
		if sb.hasSuper(first) {
			block++
			if first == 0 && sb.blockSize == superOffset && sb.firstBlock == 0 {
				block++ // the superblock is not the first block of group 0
			}
		}
	}
	return int64(block)*sb.blockSize + int64(group%perBlock)*int64(sb.descSize)
}

// tableAt returns the first block of a group's inodes, by the descriptor at an
// offset.
func (f *FS) tableAt(group uint64, off int64) (uint64, error) {
	sb := f.sb
	d, err := f.dev.bytes(off, int64(sb.descSize))
	if err != nil {
		return 0, err
	}
	if err := sb.checkDesc(group, d); err != nil {
		return 0, formatError(fmt.Sprintf("group descriptor %d", group), "", off, err)
	}
	block := uint64(le.Uint32(d[8:]))
	if sb.descSize >= 64 {
		block |= uint64(le.Uint32(d[0x28:])) << 32
	}
	if block <= sb.firstBlock || block >= sb.blocks {
		return 0, corrupt(fmt.Sprintf("group descriptor %d", group), off, "inode table at block %d of %d", block, sb.blocks)
	}
	return block, nil
}

// checkDesc verifies the checksum of a descriptor: the lower half of a CRC-32C,
// or a CRC-16, over the number of the group and the descriptor without it.
func (sb *superblock) checkDesc(group uint64, d []byte) error {
	var number [4]byte
	le.PutUint32(number[:], uint32(group))
	var got uint16
	switch {
	case sb.checksums():
		got = uint16(crc32c(sb.seed, number[:], d[:0x1E], []byte{0, 0}, d[0x20:]))
	case sb.hasRO(roGDTCsum):
		got = crc16(crc16(crc16(^uint16(0), sb.uuid[:]), number[:]), d[:0x1E])
		if sb.hasIncompat(incompat64Bit) {
			got = crc16(got, d[0x20:])
		}
	default:
		return nil
	}
	if got != le.Uint16(d[0x1E:]) {
		return fsys.ErrChecksum
	}
	return nil
}
