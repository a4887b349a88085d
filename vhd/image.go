package vhd

import (
	"context"
	"io"
	"iter"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

// Mode says what [Open] does about damage.
type Mode uint8

const (
	// Strict wants both copies of the footer, identical, and a table whose
	// blocks lie in the file without overlap: what XO wants too.
	Strict Mode = iota

	// Recover opens what can be read: one usable footer is enough, the one at
	// the end before the copy at the front, and a bad entry of the table is an
	// error only for those who read its block. [Image.Findings] says what is wrong.
	Recover
)

// OpenOptions are the options of [Open]; nil means the defaults.
type OpenOptions struct {
	Name string // of the image, for errors
	Mode Mode

	// ReadHead reads the first 64 KiB at once, which hold all structures but a footer of
	// most images: on a network that is two round trips, not six.
	ReadHead bool

	// TrustBatmap skips the bitmaps of the blocks that the batmap of tapdisk
	// calls full, if its checksum is right. That saves a read per block where
	// only the layout is asked for. But a writer that does not know of the batmap
	// leaves it as it was, and then the disk reads wrong: set it only for an
	// image whose batmap was checked.
	TrustBatmap bool
}

// Image is one VHD: a whole disk, or with type [Differencing] what differs
// from its parent. It is a [disk.Source], and all its methods may be called
// concurrently. It holds up to 4 bytes per block of the disk: 8 per block that the
// file has and 1/8 per block of the disk while the file has few, 1/4 if the disk is kept
// as a directory. Bitmaps of partly filled blocks are kept once they were read,
// within a fixed bound.
type Image struct {
	name     string
	footer   Footer
	header   Header // zero for a fixed disk
	parent   ParentRef
	findings []*FormatError

	blockSize int64
	bitmapLen int64 // bytes of a bitmap as it is stored
	allocated int   // blocks
	source    blockSource
	bitmaps   bitmapCache
	closer    io.Closer // what OpenDirectory opened; nil for what the caller did

	// Of a file only.
	r        io.ReaderAt
	fileSize int64
	dataEnd  int64            // where the data of the file ends: at the footer, if there is one
	table    bat              // nil for a fixed disk, and if sparse holds the blocks
	sparse   []placed         // the blocks, ascending, if they are few
	bad      map[uint32]error // why blocks cannot be where the table says; Recover only
}

// Name returns the name given to [Open].
func (m *Image) Name() string { return m.name }

// Footer returns the footer that counts.
func (m *Image) Footer() Footer { return m.footer }

// Header returns the header, the zero value for a fixed disk.
func (m *Image) Header() Header { return m.header }

// UUID returns the uuid of the disk.
func (m *Image) UUID() UUID { return m.footer.UUID }

// Type returns the type of the disk.
func (m *Image) Type() DiskType { return m.footer.Type }

// Parent returns what is known of the parent; the zero value unless the type is [Differencing].
func (m *Image) Parent() ParentRef { return m.parent }

// Size returns the virtual size in bytes. It may end inside a block, and inside a sector.
func (m *Image) Size() int64 { return m.footer.CurrentSize }

// FileSize returns the size of the file in bytes, 0 for a disk kept as a directory.
func (m *Image) FileSize() int64 { return m.fileSize }

// BlockSize returns the bytes of a block; 2 MiB for a fixed disk, which has none.
func (m *Image) BlockSize() int64 { return m.blockSize }

// Findings returns the damage that [Recover] went over, in no particular order.
func (m *Image) Findings() []*FormatError { return m.findings }

// HasBlock reports whether the file holds block i, maybe not all its sectors.
func (m *Image) HasBlock(i int) bool {
	return i >= 0 && m.source.holds(i)
}

// Blocks yields the indexes of the blocks that the file holds, ascending.
func (m *Image) Blocks() iter.Seq[int] {
	return m.source.all()
}

// Allocated returns the number of blocks that the file holds.
func (m *Image) Allocated() int { return m.allocated }

// ReadAt reads from the disk. Sectors that a dynamic disk does not hold are
// zeros; those that a differencing disk does not hold are [ErrParentNeeded]. A
// file that is shorter than it was when opened is [ErrTruncated], never zeros.
func (m *Image) ReadAt(p []byte, off int64) (int, error) {
	p, end, err := clip(p, off, m.Size())
	if err != nil {
		return 0, err
	}
	done := 0
	for done < len(p) {
		at := off + int64(done)
		present, n, err := m.run(at, int64(len(p)-done))
		if err != nil {
			return done, err
		}
		part := p[done : done+int(n)]
		switch {
		case present:
			err = m.readData(part, at)
		case m.footer.Type == Differencing:
			err = m.errAt("block", "", at, ErrParentNeeded)
		default:
			clear(part)
		}
		if err != nil {
			return done, err
		}
		done += len(part)
	}
	return done, end
}

// Extents yields what the file holds, sector by sector: Data, or Hole for what
// the parent must be asked for or reads as zeros.
func (m *Image) Extents(ctx context.Context, off, n int64) iter.Seq2[disk.Extent, error] {
	return extents(ctx, m.Size(), off, n, func(at, n int64) (disk.Kind, int64, error) {
		present, n, err := m.run(at, n)
		if present {
			return disk.Data, n, err
		}
		return disk.Hole, n, err
	})
}

// run returns whether the file holds the sectors from off, and for how many
// bytes, at most n and not beyond the block, the answer is the same.
func (m *Image) run(off, n int64) (present bool, length int64, err error) {
	block, within := int(off/m.blockSize), off%m.blockSize
	n = min(n, m.blockSize-within)
	if m.footer.Type == Fixed {
		return true, n, nil
	}
	if !m.source.holds(block) {
		return false, n, nil
	}
	bits, err := m.bitmapOf(block)
	if err != nil || bits == nil {
		return true, n, err
	}
	first := within / sectorSize
	set, sectors := bits.run(int(first), int(divUp(within+n, sectorSize)))
	return set, min(n, (first+int64(sectors))*sectorSize-within), nil
}

// bitmapOf returns the bitmap of an allocated block, nil when every sector of
// the disk in it is there. The result must not be changed.
func (m *Image) bitmapOf(block int) (bitmap, error) {
	if bits, ok := m.bitmaps.get(block); ok {
		return bits, nil
	}
	buf := m.bitmaps.buffer(int(m.bitmapLen))
	defer m.bitmaps.recycle(buf)
	if err := m.source.readBitmap(*buf, block); err != nil {
		return nil, err
	}
	return m.bitmaps.put(block, *buf, m.sectorsIn(block)), nil
}

// isFull tells whether the n bytes around off, a power of two to which they are
// aligned, are known to be held without looking.
func (m *Image) isFull(off, n int64) bool {
	if m.footer.Type == Fixed {
		return true
	}
	return m.blockSize >= n && m.bitmaps.isFull(int(off/m.blockSize))
}

// sectorsIn returns the number of sectors of the disk in a block.
func (m *Image) sectorsIn(block int) int {
	return int(divUp(min(m.blockSize, m.Size()-int64(block)*m.blockSize), sectorSize))
}

// readData reads from one block that the file holds.
func (m *Image) readData(p []byte, off int64) error {
	return m.source.readData(p, int(off/m.blockSize), off%m.blockSize)
}

// Close closes what [OpenDirectory] opened. After [Open] it does nothing: the
// file belongs to who opened it.
func (m *Image) Close() error {
	if m.closer == nil {
		return nil
	}
	return m.closer.Close()
}
