package ext

import (
	"fmt"
	"io/fs"
	"time"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

const rootInode = 2

// Flags of an inode (i_flags).
const (
	flagEncrypt  = 0x800
	flagIndex    = 0x1000 // the directory has a hash tree
	flagHugeFile = 0x40000
	flagExtents  = 0x80000
	flagEAInode  = 0x200000
	flagInline   = 0x10000000
)

// Types of files (i_mode).
const (
	modeType    = 0xF000
	modeFIFO    = 0x1000
	modeChar    = 0x2000
	modeDir     = 0x4000
	modeBlock   = 0x6000
	modeRegular = 0x8000
	modeSymlink = 0xA000
	modeSocket  = 0xC000
)

// inode is an inode as it is on disk; nobody changes it after it was read.
type inode struct {
	num        uint32
	off        int64  // in the volume
	raw        []byte // all of it
	mode       uint16
	flags      uint32
	generation uint32
	size       int64
	links      uint16
	seed       uint32 // of the checksums of its extents and directory blocks
}

func (in *inode) block() []byte        { return in.raw[0x28:0x64] } // i_block: a map, or 60 bytes of content
func (in *inode) has(flag uint32) bool { return in.flags&flag != 0 }
func (in *inode) is(kind uint16) bool  { return in.mode&modeType == kind }
func (in *inode) String() string       { return fmt.Sprintf("inode %d", in.num) }

// extraSize returns how many bytes of fixed fields follow the first 128.
func (in *inode) extraSize() int {
	if len(in.raw) <= 128 {
		return 0
	}
	return int(le.Uint16(in.raw[0x80:]))
}

// inode reads and checks an inode. One that is not in use is fs.ErrNotExist.
func (f *FS) inode(num uint64) (*inode, error) {
	raw, off, err := f.inodeBytes(num)
	if err != nil {
		return nil, err
	}
	verify := f.sb.checksums()
	if n := f.fast[uint32(num)]; n != nil && n.raw != nil {
		raw, verify = n.raw, false // there are none of its parts put together
	}
	return f.sb.parseInode(uint32(num), off, raw, verify)
}

// inodeBytes reads an inode, and tells where it is.
func (f *FS) inodeBytes(num uint64) (raw []byte, off int64, err error) {
	sb := f.sb
	if num == 0 || num > uint64(sb.inodes) {
		return nil, -1, formatError(fmt.Sprintf("inode %d", num), "", -1, fs.ErrNotExist)
	}
	group, index := (num-1)/uint64(sb.inodesPerGroup), (num-1)%uint64(sb.inodesPerGroup)
	table, err := f.inodeTable(group)
	if err != nil {
		return nil, -1, err
	}
	off = int64(table)*sb.blockSize + int64(index)*int64(sb.inodeSize)
	raw, err = f.dev.bytes(off, int64(sb.inodeSize))
	return raw, off, err
}

func (sb *superblock) parseInode(num uint32, off int64, raw []byte, verify bool) (*inode, error) {
	in := &inode{
		num: num, off: off, raw: raw, mode: le.Uint16(raw), flags: le.Uint32(raw[0x20:]),
		generation: le.Uint32(raw[0x64:]), size: int64(le.Uint32(raw[4:])), links: le.Uint16(raw[0x1A:]),
	}
	if in.links == 0 && (in.mode == 0 || num != rootInode) {
		return nil, formatError(in.String(), "", off, fs.ErrNotExist)
	}
	if extra := in.extraSize(); extra > len(raw)-128 || extra%4 != 0 {
		return nil, corrupt(in.String(), off, "%d extra bytes", extra)
	}
	in.seed = crc32c32(crc32c32(sb.seed, num), in.generation)
	if verify && !in.checksumOK() {
		return nil, formatError(in.String(), "", off, fsys.ErrChecksum)
	}
	if in.is(modeRegular) || in.is(modeDir) && sb.hasIncompat(incompatLargeDir) {
		in.size |= int64(le.Uint32(raw[0x6C:])) << 32
	}
	if in.size < 0 {
		return nil, corrupt(in.String(), off, "size %#x", uint64(in.size))
	}
	return in, nil
}

// checksumOK verifies the CRC-32C of an inode, of which the upper half is kept
// only where there are extra fields.
func (in *inode) checksumOK() bool {
	var zero [2]byte
	want := uint32(le.Uint16(in.raw[0x7C:]))
	sum := crc32c(in.seed, in.raw[:0x7C], zero[:], in.raw[0x7E:128])
	if len(in.raw) > 128 {
		if in.extraSize() < 4 {
			sum = crc32c(sum, in.raw[128:])
		} else {
			want |= uint32(le.Uint16(in.raw[0x82:])) << 16
			return crc32c(sum, in.raw[128:0x82], zero[:], in.raw[0x84:]) == want
		}
	}
	return sum&0xFFFF == want
}

// fileACL returns the block of extended attributes, 0 for none.
func (in *inode) fileACL(sb *superblock) uint64 {
	block := uint64(le.Uint32(in.raw[0x68:]))
	if sb.hasIncompat(incompat64Bit) {
		block |= uint64(le.Uint16(in.raw[0x76:])) << 32
	}
	return block
}

// allocated returns i_blocks in bytes. Half a kilobyte is its unit, or, of huge
// files, a block.
func (in *inode) allocated(sb *superblock) int64 {
	n := int64(le.Uint32(in.raw[0x1C:]))
	if sb.hasRO(roHugeFile) {
		n |= int64(le.Uint16(in.raw[0x74:])) << 32
		if in.has(flagHugeFile) {
			return n * sb.blockSize
		}
	}
	return n * 512
}

// info describes the file.
func (in *inode) info(sb *superblock) fsys.Info {
	i := fsys.Info{
		Node: nodeID(in.num), Mode: fileMode(in.mode), Size: in.size, Allocated: in.allocated(sb), Links: uint32(in.links),
		UID:      uint32(le.Uint16(in.raw[2:])) | uint32(le.Uint16(in.raw[0x78:]))<<16,
		GID:      uint32(le.Uint16(in.raw[0x18:])) | uint32(le.Uint16(in.raw[0x7A:]))<<16,
		Accessed: in.time(8, 0x8C), Changed: in.time(0xC, 0x84), Modified: in.time(0x10, 0x88),
	}
	if 128+in.extraSize() >= 0x98 {
		i.Created = in.time(0x90, 0x94)
	}
	if in.is(modeChar) || in.is(modeBlock) {
		i.Major, i.Minor = in.device()
	}
	return i
}

// time reads signed seconds since 1970; two bits more and the nanoseconds are
// among the extra fields.
func (in *inode) time(seconds, extra int) time.Time {
	s := int64(int32(le.Uint32(in.raw[seconds:])))
	if 128+in.extraSize() < extra+4 {
		return time.Unix(s, 0).UTC()
	}
	e := le.Uint32(in.raw[extra:])
	return time.Unix(s+int64(e&3)<<32, int64(e>>2)).UTC()
}

// device decodes the number of a device: 8+8 bits in the first word, else 12+20
// in the second.
func (in *inode) device() (major, minor uint32) {
	if old := le.Uint32(in.block()); old != 0 {
		return old >> 8 & 0xFF, old & 0xFF
	}
	d := le.Uint32(in.block()[4:])
	return d >> 8 & 0xFFF, d&0xFF | d>>12&0xFFF00
}

// fileMode translates i_mode.
func fileMode(m uint16) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	for _, bit := range [...]struct {
		disk uint16
		mode fs.FileMode
	}{{0o4000, fs.ModeSetuid}, {0o2000, fs.ModeSetgid}, {0o1000, fs.ModeSticky}} {
		if m&bit.disk != 0 {
			mode |= bit.mode
		}
	}
	switch m & modeType {
	case modeRegular:
	case modeDir:
		mode |= fs.ModeDir
	case modeSymlink:
		mode |= fs.ModeSymlink
	case modeChar:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case modeBlock:
		mode |= fs.ModeDevice
	case modeFIFO:
		mode |= fs.ModeNamedPipe
	case modeSocket:
		mode |= fs.ModeSocket
	default:
		mode |= fs.ModeIrregular
	}
	return mode
}

func nodeID(num uint32) fsys.NodeID { return fsys.NodeID{Number: uint64(num)} }
