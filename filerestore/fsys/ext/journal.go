package ext

import (
	"encoding/binary"
	"fmt"
	"io"
	"sort"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

var be = binary.BigEndian

// journalMagic begins every block of the journal that is not data.
const journalMagic = "\xc0\x3b\x39\x98"

// Features of a journal.
const (
	journalCompatChecksum = 0x1 // v1: a CRC-32 of each transaction

	journalRevoke     = 0x1
	journal64Bit      = 0x2
	journalAsync      = 0x4
	journalCsum2      = 0x8
	journalCsum3      = 0x10
	journalFastCommit = 0x20

	journalRead = journalRevoke | journal64Bit | journalAsync | journalCsum2 | journalCsum3 | journalFastCommit
)

// journal is the log of jbd2. All its numbers are big-endian.
type journal struct {
	f     *FS
	dev   *device // the volume, or another one
	runs  []run   // where its blocks are, ascending, without gaps
	super uint64  // the block that has its superblock

	compat, incompat uint32
	length           uint64 // blocks of the log, the superblock included, those for fast commits not
	fastCommits      uint64 // first block of the area of fast commits; 0 if there is none
	fastEnd          uint64 // behind that area
	first            uint64 // where the log begins after its end
	start            uint64 // of the oldest transaction; 0 if there is none
	sequence         uint32 // of the oldest transaction
	seed             uint32 // of checksums v2 and v3
}

func (j *journal) has(f uint32) bool { return j.incompat&f != 0 }

// checksums tells that each block of the log has its CRC-32C: v2 or v3.
func (j *journal) checksums() bool { return j.has(journalCsum2 | journalCsum3) }

// findJournal opens the journal, which is inside the volume, or on a device of
// its own: nil if that is not at hand.
func (f *FS) findJournal(o *Options) (*journal, error) {
	if f.sb.journalInode != 0 {
		return f.openJournal()
	}
	if o.Journal == nil {
		return nil, nil //nolint:nilnil // no journal is an answer
	}
	r, size, ok := o.Journal(formatUUID(f.sb.journalUUID))
	if !ok {
		return nil, nil //nolint:nilnil // likewise
	}
	return f.openJournalDevice(r, size)
}

// openJournalDevice reads a device that is a journal: it begins with a
// superblock like that of a volume, and counts its blocks from there.
func (f *FS) openJournalDevice(r io.ReaderAt, size int64) (*journal, error) {
	bs := f.sb.blockSize
	f.log = &device{r: r, size: size, blockSize: bs}
	var b [superSize]byte
	if err := f.log.readAt(b[:], superOffset); err != nil {
		return nil, err
	}
	if le.Uint16(b[0x38:]) != superMagic || le.Uint32(b[0x60:])&incompatJournalDev == 0 || [16]byte(b[0x68:]) != f.sb.journalUUID {
		return nil, corrupt("journal device", superOffset, "not that of this volume")
	}
	if shift := le.Uint32(b[0x18:]); shift > 6 || 1024<<shift != bs {
		return nil, corrupt("journal device", superOffset, "block size %d", shift)
	}
	j := &journal{f: f, dev: f.log, super: uint64(superOffset/bs) + 1}
	blocks := min(uint64(le.Uint32(b[4:])), uint64(size/bs))
	if blocks <= j.super {
		return nil, corrupt("journal device", superOffset, "%d blocks", blocks)
	}
	j.runs = []run{{count: blocks, kind: disk.Data}}
	if err := j.readSuper(blocks); err != nil {
		return nil, err
	}
	return j, j.checkUsers()
}

// checkUsers tells whether the journal, on a device of its own, is of this
// volume alone: transactions do not say of which volume they are.
func (j *journal) checkUsers() error {
	b := make([]byte, j.f.sb.blockSize)
	if err := j.read(b, j.super); err != nil {
		return err
	}
	switch n := be.Uint32(b[0x40:]); {
	case n > 1:
		return formatError("journal superblock", fmt.Sprintf("journal of %d volumes", n), superOffset, fsys.ErrUnsupported)
	case n == 1 && [16]byte(b[0x100:]) != j.f.sb.uuid:
		return corrupt("journal superblock", superOffset, "journal of volume %s", formatUUID([16]byte(b[0x100:])))
	}
	return nil
}

// openJournal finds the journal in the volume and reads its superblock.
func (f *FS) openJournal() (*journal, error) {
	j := &journal{f: f, dev: f.dev}
	in, err := f.journalInode()
	if err != nil {
		return nil, err
	}
	blocks := uint64(in.size / f.sb.blockSize)
	for b := uint64(0); b < blocks; {
		r, err := f.mapBlock(in, b)
		if err != nil {
			return nil, err
		}
		if r.kind != disk.Data {
			return nil, corrupt("journal", in.off, "hole at block %d", b)
		}
		j.runs = append(j.runs, r)
		b = r.end()
		if len(j.runs) > maxJournalRuns {
			return nil, formatError("journal", "extents", in.off, fsys.ErrLimit)
		}
	}
	return j, j.readSuper(blocks)
}

const (
	maxJournalRuns = 1 << 20

	// maxJournalBlocks bounds the time of a replay; mkfs makes none of more than
	// ten million.
	maxJournalBlocks = 1 << 24
)

// journalInode returns the journal's inode, or, if that is damaged, what the
// superblock keeps of it.
func (f *FS) journalInode() (*inode, error) {
	in, err := f.inode(uint64(f.sb.journalInode))
	if err == nil {
		return in, nil
	}
	backup := f.sb.journalBackup
	if backup == nil {
		return nil, err
	}
	in = &inode{num: f.sb.journalInode, off: superOffset, raw: make([]byte, 128), mode: modeRegular, links: 1}
	copy(in.block(), backup)
	in.seed = crc32c32(crc32c32(f.sb.seed, in.num), 0)
	in.size = int64(le.Uint32(backup[64:])) | int64(le.Uint32(backup[60:]))<<32
	if le.Uint16(backup) == extentMagic {
		in.flags = flagExtents
	}
	if in.size < 0 {
		return nil, err
	}
	return in, nil
}

// phys returns where block b of the journal is.
func (j *journal) phys(b uint64) (uint64, error) {
	i := sort.Search(len(j.runs), func(i int) bool { return j.runs[i].end() > b })
	if i == len(j.runs) {
		return 0, corrupt("journal", -1, "block %d beyond its end", b)
	}
	return j.runs[i].phys + b - j.runs[i].first, nil
}

// read fills p with block b of the journal.
func (j *journal) read(p []byte, b uint64) error {
	n, err := j.phys(b)
	if err != nil {
		return err
	}
	return j.dev.readAt(p, int64(n)*j.f.sb.blockSize)
}

func (j *journal) readSuper(blocks uint64) error {
	b := make([]byte, j.f.sb.blockSize)
	if err := j.read(b, j.super); err != nil {
		return err
	}
	off := int64(j.runs[0].phys+j.super) * j.f.sb.blockSize
	kind := be.Uint32(b[4:])
	if string(b[:4]) != journalMagic || kind != 3 && kind != 4 {
		return corrupt("journal superblock", off, "magic %x, type %d", b[:4], kind)
	}
	length := uint64(be.Uint32(b[0x10:]))
	j.length, j.first, j.sequence, j.start = length, uint64(be.Uint32(b[0x14:])), be.Uint32(b[0x18:]), uint64(be.Uint32(b[0x1C:]))
	if kind == 4 {
		j.compat, j.incompat = be.Uint32(b[0x24:]), be.Uint32(b[0x28:])
		if unknown := j.incompat &^ journalRead; unknown != 0 {
			return formatError("journal superblock", fmt.Sprintf("feature %#x", unknown), off, fsys.ErrUnsupported)
		}
		if err := j.checkSuper(b, off); err != nil {
			return err
		}
	}
	if j.has(journalFastCommit) {
		n := uint64(be.Uint32(b[0x54:]))
		if n == 0 {
			n = 256
		}
		if n < j.length {
			j.length -= n
			j.fastCommits, j.fastEnd = j.length+1, length // the block between is not used
		}
	}
	switch {
	case int64(be.Uint32(b[0xC:])) != j.f.sb.blockSize:
		return corrupt("journal superblock", off, "block size %d", be.Uint32(b[0xC:]))
	case length > maxJournalBlocks:
		return formatError("journal superblock", fmt.Sprintf("%d blocks", length), off, fsys.ErrLimit)
	case length > blocks || j.first == 0 || j.first >= j.length || j.start >= j.length:
		return corrupt("journal superblock", off, "%d of %d blocks, first %d, start %d", length, blocks, j.first, j.start)
	}
	return nil
}

// checkSuper verifies the superblock's checksum and sets the seed of all others.
func (j *journal) checkSuper(b []byte, off int64) error {
	if !j.checksums() {
		return nil
	}
	if kind := b[0x50]; kind != 4 || j.has(journalCsum2) && j.has(journalCsum3) {
		return formatError("journal superblock", "checksum type", off, fmt.Errorf("%w: type %d", fsys.ErrUnsupported, kind))
	}
	if crc32c(^uint32(0), b[:0xFC], []byte{0, 0, 0, 0}, b[0x100:1024]) != be.Uint32(b[0xFC:]) {
		return formatError("journal superblock", "", off, fsys.ErrChecksum)
	}
	j.seed = crc32c(^uint32(0), b[0x30:0x40])
	return nil
}
