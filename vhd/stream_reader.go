package vhd

import (
	"errors"
	"fmt"
	"io"
	"math"
)

const (
	// maxEntries bounds the block table: a disk of 128 TiB with blocks of 2 MiB.
	maxEntries = 1 << 26

	tableChunk = 1 << 20
)

// StreamReader reads an image forward only, as a host exports it. It needs
// 4 bytes per block of the disk and 12 per block in the stream, not more. It is
// not safe for concurrent use.
type StreamReader struct {
	r   io.Reader
	pos int64

	raw       [footerSize]byte // what the trailing footer must equal
	footer    Footer
	header    Header
	blockSize int64
	bits      bitmap

	blocks []uint32 // in the order of the disk
	order  []placed // in the order of the stream
	next   int
	err    error // sticky
}

// NewStreamReader reads up to the end of the block table and checks all of it:
// checksums, sizes, blocks that do not overlap. It does not follow parent
// locators: hosts leave their sector empty. Errors wrap [ErrNotVHD],
// [ErrChecksum], [ErrVersion], [ErrTruncated], [ErrBAT], [ErrUnsupported] in a
// [*FormatError], or come from r.
func NewStreamReader(r io.Reader) (*StreamReader, error) {
	s := &StreamReader{r: r}
	if err := s.readFooter(); err != nil {
		return nil, err
	}
	if err := s.readHeader(); err != nil {
		return nil, err
	}
	if err := s.readTable(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *StreamReader) readFooter() error {
	if err := s.readFull(s.raw[:], "footer"); err != nil {
		return err
	}
	var err error
	if s.footer, err = parseFooter(&s.raw); err != nil {
		return located(err, "", "footer", 0)
	}
	if s.footer.Type == Fixed {
		return s.errAt("footer", "disk type", 0, ErrUnsupported)
	}
	return nil
}

func (s *StreamReader) readHeader() error {
	off := s.footer.DataOffset
	if off < footerSize || off > math.MaxInt64/2 {
		return s.errAt("footer", "data offset", 0, ErrUnsupported)
	}
	if err := s.skipTo(int64(off), "header"); err != nil {
		return err
	}
	var raw [headerSize]byte
	if err := s.readFull(raw[:], "header"); err != nil {
		return err
	}
	var err error
	s.header, err = parseHeader(&raw)
	s.blockSize = int64(s.header.BlockSize)
	s.bits = make(bitmap, bitmapSize(s.blockSize))
	return located(err, "", "header", int64(off))
}

func (s *StreamReader) readTable() error {
	h := &s.header
	at := int64(s.footer.DataOffset)
	needed := divUp(s.Size(), s.blockSize)
	switch {
	case needed > int64(h.MaxTableEntries):
		return s.errAt("header", "max table entries", at, ErrBAT)
	case needed > maxEntries:
		return s.errAt("header", "max table entries", at, ErrUnsupported)
	case h.TableOffset > math.MaxInt64/2 || int64(h.TableOffset) < s.pos || h.TableOffset%sectorSize != 0:
		return s.errAt("header", "table offset", at, ErrBAT)
	}
	start := int64(h.TableOffset)
	if err := s.skipTo(start, "BAT"); err != nil {
		return err
	}
	var table bat
	for left := needed * 4; left > 0; {
		chunk := make([]byte, min(left, tableChunk))
		if err := s.readFull(chunk, "BAT"); err != nil {
			return err
		}
		table = append(table, parseBAT(chunk)...)
		left -= int64(len(chunk))
	}
	end := start + batSize(int64(h.MaxTableEntries))
	s.order = table.physical()
	for i, sector := range table {
		if sector != unallocated {
			s.blocks = append(s.blocks, uint32(i))
		}
	}
	whole := int64(len(s.bits)) + s.blockSize
	for fault := range faults(table.entries(), whole, math.MaxInt64, []region{{0, end}}) {
		return s.errAt("BAT", "entry", start+4*int64(fault.index), fault.err)
	}
	return s.skipTo(end, "BAT")
}

// Footer returns the footer at the start of the stream.
func (s *StreamReader) Footer() Footer { return s.footer }

// Header returns the header. Names in it are where the host has the parent.
func (s *StreamReader) Header() Header { return s.header }

// Size returns the virtual size of the disk in bytes.
func (s *StreamReader) Size() int64 { return s.footer.CurrentSize }

// Type returns Dynamic or Differencing.
func (s *StreamReader) Type() DiskType { return s.footer.Type }

// BlockSize returns the bytes of a block, which Next needs room for.
func (s *StreamReader) BlockSize() int64 { return s.blockSize }

// Blocks returns the indexes of the blocks in the stream, ascending; Next may
// yield them in another order. The slice must not be changed.
func (s *StreamReader) Blocks() []uint32 { return s.blocks }

// Next reads the next block of the stream into dst, which has room for a whole
// block, and returns which it is. bitmap is nil when every sector of the disk
// in the block is there. Otherwise, of a differencing image only, it has a bit
// per sector, the highest of byte 0 first, and is valid until the next call; the
// sectors that are not there are zeros in dst. So is what lies beyond the end of
// the disk. The error is io.EOF after the last block.
func (s *StreamReader) Next(dst []byte) (index uint32, bitmap []byte, err error) {
	if s.err != nil {
		return 0, nil, s.err
	}
	if int64(len(dst)) < s.blockSize {
		return 0, nil, fmt.Errorf("room for %d bytes, not for a block: %w", len(dst), io.ErrShortBuffer)
	}
	if s.next == len(s.order) {
		return 0, nil, io.EOF
	}
	b := s.order[s.next]
	dst = dst[:s.blockSize]
	if err := s.readBlock(dst, b); err != nil {
		s.err = err
		return 0, nil, err
	}
	s.next++
	inDisk := min(s.blockSize, s.Size()-int64(b.index)*s.blockSize)
	clear(dst[inDisk:])
	sectors := int(divUp(inDisk, sectorSize))
	if s.bits.allSet(sectors) {
		return b.index, nil, nil
	}
	for at := 0; at < sectors; {
		set, n := s.bits.run(at, sectors)
		if !set {
			clear(dst[at*sectorSize : (at+n)*sectorSize])
		}
		at += n
	}
	if s.footer.Type == Dynamic {
		return b.index, nil, nil // what was never written is zeros
	}
	return b.index, s.bits, nil
}

func (s *StreamReader) readBlock(dst []byte, b placed) error {
	if err := s.skipTo(int64(b.sector)*sectorSize, "block"); err != nil {
		return err
	}
	if err := s.readFull(s.bits, "bitmap"); err != nil {
		return err
	}
	return s.readFull(dst, "block")
}

// Close proves the stream complete: every block was read, the footer that
// follows equals the first one, and nothing comes after it. Else it fails with
// [ErrIncomplete], [ErrTruncated] or [ErrTrailingData]. It does not close the
// underlying reader, and reads at most one sector and a byte.
func (s *StreamReader) Close() error {
	if s.err != nil {
		if errors.Is(s.err, errStreamDone) {
			return nil
		}
		return s.err
	}
	s.err = s.finish()
	if s.err == nil {
		s.err = errStreamDone
		return nil
	}
	return s.err
}

var errStreamDone = fmt.Errorf("vhd: stream reader is closed: %w", io.EOF)

func (s *StreamReader) finish() error {
	if missing := len(s.order) - s.next; missing > 0 {
		return fmt.Errorf("%w: %d of %d were not read", ErrIncomplete, missing, len(s.order))
	}
	at := s.pos
	var raw [footerSize]byte
	if err := s.readFull(raw[:], "trailing footer"); err != nil {
		return err
	}
	if raw != s.raw {
		return s.errAt("trailing footer", "", at, ErrTrailingData)
	}
	var one [1]byte
	for {
		n, err := s.r.Read(one[:])
		switch {
		case n > 0:
			return s.errAt("end", "", s.pos, ErrTrailingData)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return s.errAt("end", "", s.pos, err)
		}
	}
}

// skipTo reads on to an offset of the stream.
func (s *StreamReader) skipTo(off int64, structure string) error {
	n, err := io.CopyN(io.Discard, s.r, off-s.pos)
	s.pos += n
	return s.readErr(err, structure)
}

func (s *StreamReader) readFull(b []byte, structure string) error {
	n, err := io.ReadFull(s.r, b)
	s.pos += int64(n)
	return s.readErr(err, structure)
}

func (s *StreamReader) readErr(err error, structure string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = ErrTruncated
	}
	return s.errAt(structure, "", s.pos, err)
}

func (s *StreamReader) errAt(structure, field string, off int64, err error) error {
	return &FormatError{Name: "stream", Struct: structure, Field: field, Off: off, Err: err}
}
