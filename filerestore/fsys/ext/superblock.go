package ext

import (
	"bytes"
	"fmt"
	"math/bits"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

const (
	superOffset = 1024
	superSize   = 1024
	superMagic  = 0xEF53

	stateErrors = 2 // s_state: errors were found
)

// superblock holds what a reader needs of it, sizes in bytes, checked.
type superblock struct {
	incompat, compat, ro uint32

	inodes         uint32
	blocks         uint64
	firstBlock     uint64 // first_data_block: where group 0 begins
	blockSize      int64
	clusterSize    int64
	blocksPerGroup uint32
	inodesPerGroup uint32
	inodeSize      int
	descSize       int
	firstMetaBG    uint32
	backupGroups   [2]uint32
	state          uint16
	seed           uint32 // of all checksums but the superblock's

	journalInode  uint32
	journalDevice uint32
	journalUUID   [16]byte
	journalBackup []byte // block map and size of the journal's inode; nil if not kept

	uuid  [16]byte
	label string
}

func (sb *superblock) hasIncompat(f uint32) bool { return sb.incompat&f != 0 }
func (sb *superblock) hasRO(f uint32) bool       { return sb.ro&f != 0 }

// checksums tells that metadata has CRC-32C checksums.
func (sb *superblock) checksums() bool { return sb.hasRO(roMetadataCsum) }

// groups returns the number of block groups.
func (sb *superblock) groups() uint64 {
	return (sb.blocks - sb.firstBlock + uint64(sb.blocksPerGroup) - 1) / uint64(sb.blocksPerGroup)
}

// typeName returns the least file system that has all the features.
func (sb *superblock) typeName() string {
	switch {
	case sb.incompat&incompatExt4 != 0 || sb.ro&roExt4 != 0:
		return "ext4"
	case sb.compat&compatHasJournal != 0:
		return "ext3"
	}
	return "ext2"
}

// parseSuper reads and checks a superblock.
func parseSuper(b *[superSize]byte) (*superblock, error) {
	if le.Uint16(b[0x38:]) != superMagic {
		return nil, formatError("superblock", "magic", superOffset, fsys.ErrWrongFormat)
	}
	sb := &superblock{
		inodes: le.Uint32(b[0:]), blocks: uint64(le.Uint32(b[4:])), firstBlock: uint64(le.Uint32(b[0x14:])),
		blocksPerGroup: le.Uint32(b[0x20:]), inodesPerGroup: le.Uint32(b[0x28:]), state: le.Uint16(b[0x3A:]),
		inodeSize: 128, descSize: 32, uuid: [16]byte(b[0x68:]),
	}
	if le.Uint32(b[0x4C:]) > 0 { // dynamic revision: the fields from here on count
		sb.inodeSize = int(le.Uint16(b[0x58:]))
		sb.compat, sb.incompat, sb.ro = le.Uint32(b[0x5C:]), le.Uint32(b[0x60:]), le.Uint32(b[0x64:])
	}
	if err := checkFeatures(sb.incompat); err != nil {
		return nil, err
	}
	if sb.checksums() {
		if kind := b[0x175]; kind != 1 {
			return nil, formatError("superblock", "checksum type", superOffset, fmt.Errorf("%w: type %d", fsys.ErrUnsupported, kind))
		}
		if crc32c(^uint32(0), b[:0x3FC]) != le.Uint32(b[0x3FC:]) {
			return nil, formatError("superblock", "", superOffset, fsys.ErrChecksum)
		}
	}
	if sb.hasIncompat(incompat64Bit) {
		sb.blocks |= uint64(le.Uint32(b[0x150:])) << 32
		sb.descSize = int(le.Uint16(b[0xFE:]))
	}
	sb.firstMetaBG = le.Uint32(b[0x104:])
	sb.backupGroups = [2]uint32{le.Uint32(b[0x24C:]), le.Uint32(b[0x250:])}
	sb.label = string(bytes.TrimRight(b[0x78:0x88], "\x00"))
	if label, _, cut := bytes.Cut(b[0x78:0x88], []byte{0}); cut {
		sb.label = string(label)
	}
	sb.journalUUID = [16]byte(b[0xD0:])
	sb.journalInode, sb.journalDevice = le.Uint32(b[0xE0:]), le.Uint32(b[0xE4:])
	if b[0xFD] == 1 {
		sb.journalBackup = bytes.Clone(b[0x10C:0x150])
	}
	sb.seed = crc32c(^uint32(0), sb.uuid[:])
	if sb.hasIncompat(incompatCsumSeed) {
		sb.seed = le.Uint32(b[0x270:])
	}
	return sb, sb.checkGeometry(le.Uint32(b[0x18:]), le.Uint32(b[0x1C:]))
}

// checkGeometry proves that nothing derived from the superblock is zero, too
// large or overflows.
func (sb *superblock) checkGeometry(logBlock, logCluster uint32) error {
	bad := func(field string, v any) error {
		return formatError("superblock", field, superOffset, fmt.Errorf("%w: %v", fsys.ErrCorrupt, v))
	}
	if logBlock > 6 {
		return bad("block size", logBlock)
	}
	sb.blockSize = 1024 << logBlock
	sb.clusterSize = sb.blockSize
	if sb.hasRO(roBigalloc) {
		if logCluster < logBlock || logCluster > 20 {
			return bad("cluster size", logCluster)
		}
		sb.clusterSize = 1024 << logCluster
	}
	bs := sb.blockSize
	switch {
	case sb.blocks > 1<<62/uint64(bs) || sb.blocks <= sb.firstBlock || sb.firstBlock > 1:
		return bad("block count", sb.blocks)
	case sb.blocksPerGroup == 0 || int64(sb.blocksPerGroup) > 8*bs*(sb.clusterSize/bs):
		return bad("blocks per group", sb.blocksPerGroup)
	case sb.inodesPerGroup == 0 || int64(sb.inodesPerGroup) > 8*bs:
		return bad("inodes per group", sb.inodesPerGroup)
	case sb.inodeSize < 128 || int64(sb.inodeSize) > bs || bits.OnesCount(uint(sb.inodeSize)) != 1:
		return bad("inode size", sb.inodeSize)
	case sb.descSize < 32 || int64(sb.descSize) > bs || bits.OnesCount(uint(sb.descSize)) != 1,
		sb.hasIncompat(incompat64Bit) && sb.descSize < 64:
		return bad("descriptor size", sb.descSize)
	case sb.inodes == 0 || uint64(sb.inodes) > sb.groups()*uint64(sb.inodesPerGroup):
		return bad("inode count", sb.inodes)
	}
	return nil
}

// hasSuper tells that a group begins with a copy of the superblock.
func (sb *superblock) hasSuper(group uint64) bool {
	switch {
	case group == 0:
		return true
	case sb.compat&compatSparseSuper2 != 0:
		return group == uint64(sb.backupGroups[0]) || group == uint64(sb.backupGroups[1])
	case group == 1 || !sb.hasRO(roSparseSuper):
		return true
	}
	for _, base := range [...]uint64{3, 5, 7} {
		n := base
		for n < group {
			n *= base
		}
		if n == group {
			return true
		}
	}
	return false
}
