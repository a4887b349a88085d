package vhd

import (
	"fmt"
	"math"
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
	layoutBitmap  = sectorSize // bytes of the bitmap of a block of 2 MiB
	dataAlignment = 4096       // of block data in the Repository profile

	// maxParentName leaves room for `.\` in the sector of the locator.
	maxParentName = sectorSize/2 - 2
)

// Layout describes an image completely before its first byte is written:
// blocks of 2 MiB, every sector of a block present, written in ascending order,
// footers identical.
type Layout struct {
	Type       DiskType // Dynamic or Differencing
	Size       int64    // virtual size in bytes, a multiple of 512
	UUID       UUID
	ParentUUID UUID      // for Differencing
	ParentName string    // for Differencing: relative to the directory of the image, with slashes; optional for a Host
	Timestamp  time.Time // zero, and what a VHD cannot hold, is written as 2000-01-01
	Blocks     []uint32  // the blocks that will be written, ascending
	Profile    Profile
}

// check refuses what cannot be written; its errors wrap [ErrUnsupported].
func (l Layout) check() error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrUnsupported, fmt.Sprintf(format, args...))
	}
	if l.Size <= 0 || l.Size%sectorSize != 0 || l.entries() > math.MaxUint32 {
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
	case Dynamic:
		if !l.ParentUUID.IsZero() || l.ParentName != "" {
			return refuse("a dynamic disk with a parent")
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

func (l Layout) entries() int64 { return divUp(l.Size, disk.BlockSize) }

// bitmapOffset returns where the bitmap of the k-th written block is.
func (l Layout) bitmapOffset(k int) int64 {
	first := layoutTable + batSize(l.entries())
	stride := int64(layoutBitmap + disk.BlockSize)
	if l.Profile == Repository {
		first = roundUp(first+layoutBitmap, dataAlignment) - layoutBitmap
		stride = dataAlignment + disk.BlockSize
	}
	return first + int64(k)*stride
}

// end returns where the last structure before the trailing footer ends.
func (l Layout) end() int64 {
	if n := len(l.Blocks); n > 0 {
		return l.bitmapOffset(n-1) + layoutBitmap + disk.BlockSize
	}
	return layoutTable + batSize(l.entries())
}

// StreamSize returns the exact size in bytes of the file or stream.
func (l Layout) StreamSize() int64 { return l.end() + footerSize }

// footer returns the footer. The creator is one whose current size, not its
// geometry, every version of qemu takes for the size of the disk.
func (l Layout) footer() Footer {
	return Footer{
		Features:       2,
		Version:        formatVersion,
		DataOffset:     layoutHeader,
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
		BlockSize:       disk.BlockSize,
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

// gap returns what separates the end of the structure before block k from its
// data: zeros, then the bitmap with all bits set.
func (l Layout) gap(k int) []byte {
	previous := int64(layoutTable) + batSize(l.entries())
	if k > 0 {
		previous = l.bitmapOffset(k-1) + layoutBitmap + disk.BlockSize
	}
	b := make([]byte, l.bitmapOffset(k)+layoutBitmap-previous)
	for i := len(b) - layoutBitmap; i < len(b); i++ {
		b[i] = 0xff
	}
	return b
}

// dataIn returns how many bytes of a block belong to the disk.
func (l Layout) dataIn(block uint32) int64 {
	return min(disk.BlockSize, l.Size-int64(block)*disk.BlockSize)
}
