package vhd

import (
	"fmt"
	"path"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

// Profile says for whom an image is written.
type Profile uint8

const (
	// Repository is a file that is kept: the data of each block begins at a
	// multiple of 4 KiB, so that file systems can share it, and a differencing
	// image names its parent in a W2ru locator beside the header's name.
	Repository Profile = iota

	// Host is a stream as hosts exchange it: no gaps, no locator.
	Host
)

const (
	layoutHeader  = footerSize                // where the header is
	layoutLocator = layoutHeader + headerSize // one sector for the W2ru locator
	layoutTable   = layoutLocator + sectorSize
	dataAlignment = 4096 // of block data in the Repository profile

	// minBlockSize is the smallest size of blocks that is written: old versions of Virtual PC used it.
	minBlockSize = 512 << 10

	// maxParentName leaves room for `.\` in the sector of the locator.
	maxParentName = sectorSize/2 - 2
)

// Layout describes an image completely before its first byte is written:
// blocks of 2 MiB, every sector of a block present, written in ascending order,
// footers identical.
type Layout struct {
	Type       DiskType // Dynamic or Differencing; Fixed only for [Create] and [Flatten]
	Size       int64    // virtual size in bytes, a multiple of 512
	UUID       UUID
	ParentUUID UUID      // for Differencing
	ParentName string    // for Differencing: relative to the directory of the image, with slashes; optional for a Host
	Timestamp  time.Time // zero, and what a VHD cannot hold, is written as 2000-01-01
	Blocks     []uint32  // the blocks that will be written, ascending; [Create] and [Flatten] want none
	Profile    Profile

	// BlockSize is the data bytes of a block, a power of two from 512 KiB to 16 MiB. 0
	// means 2 MiB, the only size that XO, blktap and hosts take.
	BlockSize int64
}

// check refuses what cannot be written; its errors wrap [ErrUnsupported].
func (l Layout) check() error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrUnsupported, fmt.Sprintf(format, args...))
	}
	if bs := l.blockSize(); bs < minBlockSize || bs > maxBlockSize || bs&(bs-1) != 0 {
		return refuse("blocks of %d bytes", bs)
	}
	if l.Size <= 0 || l.Size%sectorSize != 0 || l.Type != Fixed && l.entries() > maxEntries {
		return refuse("size of %d bytes", l.Size)
	}
	if err := l.checkParent(refuse); err != nil {
		return err
	}
	for i, block := range l.Blocks {
		if int64(block) >= l.entries() {
			return refuse("block %d of a disk of %d", block, l.entries())
		}
		if i > 0 && block <= l.Blocks[i-1] {
			return refuse("block %d after block %d", block, l.Blocks[i-1])
		}
	}
	if n := len(l.Blocks); n > 0 && l.bitmapOffset(n-1)/sectorSize >= unallocated {
		return refuse("a file beyond 2 TiB")
	}
	return nil
}

func (l Layout) checkParent(refuse func(string, ...any) error) error {
	switch l.Type {
	case Fixed, Dynamic:
		if !l.ParentUUID.IsZero() || l.ParentName != "" {
			return refuse("a %v disk with a parent", l.Type)
		}
		return nil
	case Differencing:
	default:
		return refuse("writing a disk of %v", l.Type)
	}
	if l.ParentUUID.IsZero() {
		return refuse("a differencing disk without a parent")
	}
	if l.ParentName == "" && l.Profile == Host {
		return nil
	}
	name := l.ParentName
	if name == "" || path.IsAbs(name) || strings.ContainsAny(name, "\\\x00") {
		return refuse("parent name %q", name)
	}
	if len(utf16.Encode([]rune(name))) > maxParentName {
		return refuse("parent name of more than %d characters", maxParentName)
	}
	return nil
}

// checkStream also refuses what has no blocks to stream.
func (l Layout) checkStream() error {
	if l.Type == Fixed {
		return fmt.Errorf("%w: a stream of a %v disk", ErrUnsupported, l.Type)
	}
	return l.check()
}

// blockSize returns the data bytes of a block.
func (l Layout) blockSize() int64 {
	if l.BlockSize == 0 {
		return disk.BlockSize
	}
	return l.BlockSize
}

// bitmapLen returns the bytes of the bitmap of a block.
func (l Layout) bitmapLen() int64 { return bitmapSize(l.blockSize()) }

func (l Layout) entries() int64 { return divUp(l.Size, l.blockSize()) }

// bitmapOffset returns where the bitmap of the k-th written block is.
func (l Layout) bitmapOffset(k int) int64 {
	first := layoutTable + batSize(l.entries())
	whole := l.bitmapLen() + l.blockSize()
	if l.Profile == Repository {
		first, whole = alignData(first, l.bitmapLen()), roundUp(whole, dataAlignment)
	}
	return first + int64(k)*whole
}

// alignData returns the first place at or after off for a bitmap of n bytes, so that
// the data behind it is aligned.
func alignData(off, n int64) int64 { return roundUp(off+n, dataAlignment) - n }

// dataOffset returns where the data of the k-th written block is.
func (l Layout) dataOffset(k int) int64 { return l.bitmapOffset(k) + l.bitmapLen() }

// blockEnd returns where the data of the k-th written block ends.
func (l Layout) blockEnd(k int) int64 { return l.dataOffset(k) + l.blockSize() }

// fullBitmap returns a bitmap with all sectors present.
func (l Layout) fullBitmap() []byte {
	b := make([]byte, l.bitmapLen())
	for i := range b {
		b[i] = 0xff
	}
	return b
}

// end returns where the last structure before the trailing footer ends.
func (l Layout) end() int64 {
	if n := len(l.Blocks); n > 0 {
		return l.blockEnd(n - 1)
	}
	return layoutTable + batSize(l.entries())
}

// StreamSize returns the exact size in bytes of the file or stream.
func (l Layout) StreamSize() int64 { return l.end() + footerSize }

// footer returns the footer. The creator is one whose current size, not its
// geometry, every version of qemu takes for the size of the disk.
func (l Layout) footer() Footer {
	header := uint64(layoutHeader)
	if l.Type == Fixed {
		header = noOffset
	}
	return Footer{
		Features:       2,
		Version:        formatVersion,
		DataOffset:     header,
		Timestamp:      timestamp(l.Timestamp),
		CreatorApp:     [4]byte{'w', 'i', 'n', ' '},
		CreatorVersion: 0x000a0000,
		CreatorHost:    [4]byte{'W', 'i', '2', 'k'},
		OriginalSize:   l.Size,
		CurrentSize:    l.Size,
		Geometry:       GeometryFor(l.Size),
		Type:           l.Type,
		UUID:           l.UUID,
	}
}

// preamble returns all that comes before the first block.
func (l Layout) preamble() []byte {
	header := Header{
		TableOffset:     layoutTable,
		Version:         formatVersion,
		MaxTableEntries: uint32(l.entries()),
		BlockSize:       uint32(l.blockSize()),
		ParentUUID:      l.ParentUUID,
		ParentName:      l.ParentName,
	}
	var locator []byte
	if l.Type == Differencing && l.Profile == Repository {
		locator = encodeW2ru(l.ParentName)
		header.Locators[0] = Locator{
			Code:   [4]byte([]byte(PlatformW2ru)),
			Space:  1, // a sector
			Length: uint32(len(locator)),
			Offset: layoutLocator,
		}
	}
	table := make(bat, l.entries())
	for i := range table {
		table[i] = unallocated
	}
	for k, block := range l.Blocks {
		table[block] = uint32(l.bitmapOffset(k) / sectorSize)
	}
	footer := l.footer()
	b := make([]byte, layoutTable, layoutTable+batSize(l.entries()))
	copy(b, footer.encode()[:])
	copy(b[layoutHeader:], header.encode()[:])
	copy(b[layoutLocator:], locator)
	return append(b, table.encode()...)
}

// appendGap appends to b what separates the end of the structure before block k
// from its data: zeros, then the bitmap with all bits set.
func (l Layout) appendGap(b []byte, k int) []byte {
	previous := int64(layoutTable) + batSize(l.entries())
	if k > 0 {
		previous = l.blockEnd(k - 1)
	}
	for range l.bitmapOffset(k) - previous {
		b = append(b, 0)
	}
	for range l.bitmapLen() {
		b = append(b, 0xff)
	}
	return b
}

// dataIn returns how many bytes of a block belong to the disk.
func (l Layout) dataIn(block uint32) int64 {
	return min(l.blockSize(), l.Size-int64(block)*l.blockSize())
}
