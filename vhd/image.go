package vhd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"sync"
	"sync/atomic"

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
}

// Image is one VHD: a whole disk, or with type [Differencing] what differs
// from its parent. It is a [disk.Source], and all its methods may be called
// concurrently. It holds 4 bytes per block of the disk, and bitmaps of partly
// filled blocks once they were read, within a fixed bound.
type Image struct {
	r        io.ReaderAt
	name     string
	fileSize int64
	dataEnd  int64 // where the data of the file ends: at the footer, if there is one

	footer   Footer
	header   Header
	parent   ParentRef
	findings []*FormatError

	table     bat
	bad       map[uint32]error // why blocks cannot be where the table says; Recover only
	allocated int
	blockSize int64
	bitmapLen int64

	bitmaps bitmapCache
}

// Open reads the structures of an image of size bytes. It allocates in
// proportion to size at most, whatever the file claims, and some 1 GiB for the
// worst of sparse files. The caller keeps r open while the image is in use. Errors wrap [ErrNotVHD], [ErrChecksum],
// [ErrVersion], [ErrTruncated], [ErrInconsistent], [ErrBAT], [ErrUnsupported]
// in a [*FormatError], or come from r.
func Open(r io.ReaderAt, size int64, opts *OpenOptions) (*Image, error) {
	if opts == nil {
		opts = &OpenOptions{}
	}
	m := &Image{r: r, name: opts.Name, fileSize: size}
	if err := m.readFooter(opts.Mode); err != nil {
		return nil, err
	}
	if m.footer.Type == Fixed {
		return m, m.openFixed()
	}
	if err := m.readHeader(); err != nil {
		return nil, err
	}
	if err := m.readTable(opts.Mode); err != nil {
		return nil, err
	}
	if m.footer.Type == Differencing {
		m.parent = ParentRef{UUID: m.header.ParentUUID, Names: parentNames(&m.header, m.readLocator)}
	}
	return m, nil
}

func (m *Image) openFixed() error {
	m.blockSize = disk.BlockSize
	m.allocated = int(divUp(m.Size(), m.blockSize))
	if m.Size() > m.dataEnd {
		return m.errAt("footer", "current size", m.dataEnd, ErrTruncated)
	}
	return nil
}

// readFooter chooses the footer that counts.
func (m *Image) readFooter(mode Mode) error {
	if m.fileSize < footerSize {
		return m.errAt("footer", "", 0, ErrTruncated)
	}
	end, endErr := m.footerAt(m.fileSize - footerSize)
	if endErr != nil && mode == Recover && m.fileSize%sectorSize == sectorSize-1 {
		end, endErr = m.shortFooter(endErr)
	}
	if isIO(endErr) {
		return endErr
	}
	m.dataEnd = m.fileSize
	if endErr == nil {
		m.dataEnd = end.off
		if end.footer.Type == Fixed {
			m.footer = end.footer
			return nil
		}
	}
	front, frontErr := m.footerAt(0)
	if frontErr == nil && front.footer.Type == Fixed {
		frontErr = m.errAt("footer", "disk type", 0, ErrNotVHD) // a fixed disk has no copy there
	}
	if isIO(frontErr) {
		return frontErr
	}
	switch {
	case endErr == nil && frontErr == nil && end.raw == front.raw:
		m.footer = end.footer
		return nil
	case endErr == nil && frontErr == nil:
		frontErr = m.errAt("footer copy", "", 0, ErrInconsistent)
	case endErr != nil && frontErr == nil:
		endErr = m.errAt("footer", "", max(0, m.fileSize-footerSize), fmt.Errorf("%w (%w)", ErrTruncated, errors.Unwrap(endErr)))
	}
	if mode == Strict || (endErr != nil && frontErr != nil) {
		if endErr != nil {
			return endErr
		}
		return frontErr
	}
	if endErr == nil {
		m.footer = end.footer
		m.found(frontErr)
		return nil
	}
	m.footer = front.footer
	m.found(endErr)
	return nil
}

type footerCopy struct {
	off    int64
	raw    [footerSize]byte
	footer Footer
}

func (m *Image) footerAt(off int64) (footerCopy, error) {
	c := footerCopy{off: off}
	if err := m.readFull(c.raw[:], off, "footer"); err != nil {
		return c, err
	}
	var err error
	c.footer, err = parseFooter(&c.raw)
	return c, located(err, m.name, "footer", off)
}

// shortFooter tries the 511 bytes with which old versions of Virtual PC end a
// file. The last byte, which is missing, is zero.
func (m *Image) shortFooter(otherwise error) (footerCopy, error) {
	c := footerCopy{off: m.fileSize - footerSize + 1}
	if err := m.readFull(c.raw[:footerSize-1], c.off, "footer"); err != nil {
		return c, err
	}
	f, err := parseFooter(&c.raw)
	if err != nil {
		return c, otherwise
	}
	c.footer = f
	m.found(m.errAt("footer", "length", c.off, ErrTruncated))
	return c, nil
}

func (m *Image) readHeader() error {
	off := int64(m.footer.DataOffset)
	if m.footer.DataOffset < footerSize || m.footer.DataOffset > math.MaxInt64/2 || off+headerSize > m.fileSize {
		return m.errAt("footer", "data offset", m.fileSize, ErrTruncated)
	}
	var raw [headerSize]byte
	if err := m.readFull(raw[:], off, "header"); err != nil {
		return err
	}
	h, err := parseHeader(&raw)
	if err != nil {
		return located(err, m.name, "header", off)
	}
	m.header = h
	m.blockSize = int64(h.BlockSize)
	m.bitmapLen = bitmapSize(m.blockSize)
	return nil
}

func (m *Image) readTable(mode Mode) error {
	h := &m.header
	headerOff := int64(m.footer.DataOffset)
	needed := divUp(m.Size(), m.blockSize)
	if needed > int64(h.MaxTableEntries) {
		return m.errAt("header", "max table entries", headerOff, fmt.Errorf("the disk has %d blocks: %w", needed, ErrBAT))
	}
	if needed > maxEntries {
		return m.errAt("header", "max table entries", headerOff, fmt.Errorf("the disk has %d blocks: %w", needed, ErrUnsupported))
	}
	if h.TableOffset < footerSize || h.TableOffset%sectorSize != 0 {
		return m.errAt("header", "table offset", headerOff, ErrBAT)
	}
	if h.TableOffset > math.MaxInt64/2 || int64(h.TableOffset)+4*int64(h.MaxTableEntries) > m.fileSize {
		return m.errAt("header", "max table entries", headerOff, ErrTruncated)
	}
	raw := make([]byte, needed*4)
	if err := m.readFull(raw, int64(h.TableOffset), "BAT"); err != nil {
		return err
	}
	m.table = parseBAT(raw)
	for _, sector := range m.table {
		if sector != unallocated {
			m.allocated++
		}
	}
	for fault := range m.table.faults(m.bitmapLen+m.blockSize, m.dataEnd, m.structures()) {
		if mode == Strict {
			return m.badEntry(fault.index, fault.err)
		}
		if len(m.bad) < maxFindings {
			m.found(m.badEntry(fault.index, fault.err))
		}
		if m.bad == nil {
			m.bad = make(map[uint32]error)
		}
		m.bad[fault.index] = fault.err
	}
	m.bitmaps.init(len(m.table))
	return nil
}

// maxFindings bounds the entries of a table that are reported one by one.
const maxFindings = 1000

func (m *Image) badEntry(block uint32, err error) *FormatError {
	return m.errAt("BAT", "entry", int64(m.header.TableOffset)+4*int64(block), err)
}

// structures returns what blocks must not overlap.
func (m *Image) structures() []region {
	h := int64(m.footer.DataOffset)
	t := int64(m.header.TableOffset)
	return []region{{0, footerSize}, {h, h + headerSize}, {t, t + batSize(int64(m.header.MaxTableEntries))}}
}

// readLocator reads the content of a locator, nil if that is not possible: its
// name is one of several.
func (m *Image) readLocator(off int64, n int) []byte {
	if off < 0 || off+int64(n) > m.fileSize {
		return nil
	}
	b := make([]byte, n)
	if err := m.readFull(b, off, "locator"); err != nil {
		return nil
	}
	return b
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

// FileSize returns the size of the file in bytes.
func (m *Image) FileSize() int64 { return m.fileSize }

// BlockSize returns the bytes of a block; 2 MiB for a fixed disk, which has none.
func (m *Image) BlockSize() int64 { return m.blockSize }

// Findings returns the damage that [Recover] went over, in no particular order.
func (m *Image) Findings() []*FormatError { return m.findings }

// HasBlock reports whether the file holds block i, maybe not all its sectors.
func (m *Image) HasBlock(i int) bool {
	if m.footer.Type == Fixed {
		return i >= 0 && i < m.allocated
	}
	return i >= 0 && i < len(m.table) && m.table[i] != unallocated
}

// Blocks yields the indexes of the blocks that the file holds, ascending.
func (m *Image) Blocks() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range int(divUp(m.Size(), m.blockSize)) {
			if m.HasBlock(i) && !yield(i) {
				return
			}
		}
	}
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
	if m.table[block] == unallocated {
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
	if err, ok := m.bad[uint32(block)]; ok {
		return nil, m.badEntry(uint32(block), err)
	}
	buf := m.bitmaps.buffer(int(m.bitmapLen))
	defer m.bitmaps.recycle(buf)
	if err := m.readFull(*buf, int64(m.table[block])*sectorSize, "bitmap"); err != nil {
		return nil, err
	}
	return m.bitmaps.put(block, *buf, m.sectorsIn(block)), nil
}

// sectorsIn returns the number of sectors of the disk in a block.
func (m *Image) sectorsIn(block int) int {
	return int(divUp(min(m.blockSize, m.Size()-int64(block)*m.blockSize), sectorSize))
}

// readData reads from one block that the file holds.
func (m *Image) readData(p []byte, off int64) error {
	if m.footer.Type == Fixed {
		return m.readFull(p, off, "data")
	}
	block := off / m.blockSize
	return m.readFull(p, int64(m.table[block])*sectorSize+m.bitmapLen+off%m.blockSize, "block")
}

// readFull fills p or fails: the end of the file is ErrTruncated.
func (m *Image) readFull(p []byte, off int64, structure string) error {
	n, err := m.r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return m.errAt(structure, "", off, ErrTruncated)
	}
	return &readError{m.errAt(structure, "", off, err)}
}

// readError marks an error of the underlying reader: it says nothing about the format.
type readError struct{ *FormatError }

func isIO(err error) bool {
	_, ok := errors.AsType[*readError](err)
	return ok
}

func (m *Image) found(err error) {
	if e, ok := errors.AsType[*FormatError](err); ok {
		m.findings = append(m.findings, e)
	}
}

func (m *Image) errAt(structure, field string, off int64, err error) *FormatError {
	return &FormatError{Name: m.name, Struct: structure, Field: field, Off: off, Err: err}
}

// bitmapCache remembers which blocks are full, a bit each, and some bitmaps of
// the others.
type bitmapCache struct {
	full []atomic.Uint32
	pool sync.Pool

	mu      sync.RWMutex
	partial map[int]bitmap
	bytes   int
}

// maxCachedBitmaps bounds the bytes of bitmaps that one image keeps.
const maxCachedBitmaps = 1 << 20

func (c *bitmapCache) init(blocks int) { c.full = make([]atomic.Uint32, (blocks+31)/32) }

func (c *bitmapCache) get(block int) (bits bitmap, ok bool) {
	if c.full[block/32].Load()&(1<<(block%32)) != 0 {
		return nil, true
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	bits, ok = c.partial[block]
	return bits, ok
}

// put remembers what was read and returns it, nil when the first n sectors are there.
func (c *bitmapCache) put(block int, raw bitmap, n int) bitmap {
	if raw.allSet(n) {
		c.full[block/32].Or(1 << (block % 32))
		return nil
	}
	bits := append(bitmap(nil), raw...)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.partial == nil || c.bytes+len(bits) > maxCachedBitmaps {
		c.partial, c.bytes = make(map[int]bitmap), 0
	}
	c.partial[block] = bits
	c.bytes += len(bits)
	return bits
}

func (c *bitmapCache) buffer(n int) *[]byte {
	if b, ok := c.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, n)
	return &b
}

func (c *bitmapCache) recycle(b *[]byte) { c.pool.Put(b) }
