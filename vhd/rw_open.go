package vhd

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// OpenRW opens an image of size bytes for writing, after its structure proved
// sound. With [Recover] it accepts footers that differ, or of which one is missing or
// damaged, as a crash leaves them, and writes them anew; a damaged block table it
// never accepts. f belongs to the caller, who closes it after the image. Nobody
// else may write the image meanwhile, nor read it through [Open].
func OpenRW(f File, size int64, opts *OpenOptions) (*RW, error) {
	m, err := Open(f, size, opts)
	if err != nil {
		return nil, err
	}
	if len(m.bad) > 0 {
		return nil, errors.Join(errOf(m.findings)...)
	}
	w := &RW{f: f, name: m.name, footer: m.footer, header: m.header, blockSize: m.blockSize, bitmapLen: m.bitmapLen}
	w.footerOff, w.dirtyEnd = m.dataEnd, size
	if m.Type() == Fixed {
		w.end = m.Size()
		return w, nil
	}
	w.headerOff = int64(m.footer.DataOffset)
	if w.headerOff%sectorSize != 0 {
		return nil, w.errAt("footer", w.headerOff, fmt.Errorf("a header inside a sector: %w", ErrUnsupported))
	}
	table := newTable(m.blockCount())
	for b := range m.entries() {
		table[b.index] = b.sector
	}
	w.blocks.init(table)
	if w.end, err = m.occupied(); err != nil {
		return nil, err
	}
	if len(m.findings) > 0 || w.end > w.footerOff {
		return w, w.mend(size)
	}
	return w, nil
}

func errOf(findings []*FormatError) []error {
	errs := make([]error, len(findings))
	for i, f := range findings {
		errs[i] = f
	}
	return errs
}

// occupied returns where the last structure or block of the file ends.
func (m *Image) occupied() (int64, error) {
	end := int64(0)
	for _, r := range m.structures() {
		end = max(end, r.to)
	}
	for _, l := range m.header.Locators {
		if l.Code != [4]byte{} && l.Length > 0 && l.Offset < uint64(m.fileSize) {
			end = max(end, roundUp(int64(l.Offset)+int64(l.Length), sectorSize))
		}
	}
	for b := range m.entries() {
		end = max(end, int64(b.sector)*sectorSize+m.bitmapLen+m.blockSize)
	}
	behind := int64(m.header.TableOffset) + batSize(int64(m.header.MaxTableEntries))
	raw := make([]byte, sectorSize)
	if behind+sectorSize > m.dataEnd {
		return end, nil
	}
	if err := m.readFull(raw, behind, "batmap"); err != nil {
		return 0, err
	}
	if string(raw[:8]) == batmapCookie { // bits that are not set in it are always right, and we set none
		at, sectors := binary.BigEndian.Uint64(raw[8:]), binary.BigEndian.Uint32(raw[16:])
		end = max(end, behind+sectorSize)
		if at < uint64(m.dataEnd) {
			end = max(end, min(m.dataEnd, int64(at)+int64(sectors)*sectorSize))
		}
	}
	return end, nil
}

// mend writes both footers anew, the trailing one behind all else.
func (w *RW) mend(size int64) error {
	w.footerOff = roundUp(max(w.end, size-footerSize), sectorSize)
	w.dirtyEnd, w.grown = w.footerOff+footerSize, true
	if err := w.writeFooterAt(w.footerOff); err != nil {
		return err
	}
	return w.writeFooterAt(0)
}
