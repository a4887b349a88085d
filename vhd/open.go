package vhd

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

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
	if opts.ReadHead {
		m.r = &head{r: r, size: size}
		defer func() { m.r = r }()
	}
	m.source = tableBlocks{m}
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
	if opts.TrustBatmap {
		if err := m.trustBatmap(); err != nil {
			return nil, err
		}
	}
	if m.footer.Type == Differencing {
		m.parent = ParentRef{UUID: m.header.ParentUUID, Names: parentNames(&m.header, m.readLocator)}
	}
	return m, nil
}

func (m *Image) openFixed() error {
	m.setFlat()
	if m.Size() > m.dataEnd {
		return m.errAt("footer", "current size", m.dataEnd, ErrTruncated)
	}
	return nil
}

func (m *Image) setFlat() {
	m.source = flatBlocks{m}
	m.blockSize = disk.BlockSize
	m.allocated = int(divUp(m.Size(), m.blockSize))
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
	if m.footer.DataOffset < footerSize || m.footer.DataOffset > math.MaxInt64/2 || off+headerSize > m.dataEnd {
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
	if h.TableOffset > math.MaxInt64/2 || int64(h.TableOffset)+4*int64(h.MaxTableEntries) > m.dataEnd {
		return m.errAt("header", "max table entries", headerOff, ErrTruncated)
	}
	if from := int64(h.TableOffset); headerOff < from+4*needed && from < headerOff+headerSize {
		return m.errAt("header", "table offset", headerOff, fmt.Errorf("the table overlaps the header: %w", ErrBAT))
	}
	mayBeWrong := 0
	if mode == Recover {
		mayBeWrong = maxBadEntries
	}
	if err := m.readEntries(int64(h.TableOffset), int(needed), mayBeWrong); err != nil {
		return err
	}
	for fault := range faults(m.entries(), m.bitmapLen+m.blockSize, m.dataEnd, m.structures()) {
		if mode == Strict {
			return m.badEntry(fault.index, fault.err)
		}
		if _, known := m.bad[fault.index]; known {
			continue
		}
		if len(m.bad) < maxFindings {
			m.found(m.badEntry(fault.index, fault.err))
		}
		if m.bad == nil {
			m.bad = make(map[uint32]error)
		}
		m.bad[fault.index] = fault.err
	}
	m.bitmaps.init(int(needed))
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
