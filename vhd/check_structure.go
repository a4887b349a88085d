package vhd

import (
	"context"
	"errors"
	"fmt"
)

// checkStructure examines what was read when the image was opened. pending says
// that a merge is not finished, which mends what it left.
func (c *checker) checkStructure(ctx context.Context, m *Image, pending bool) error {
	c.report.Blocks += int64(m.Allocated())
	for _, e := range m.Findings() {
		f := findingOf(m, e)
		f.Repairable = f.Repairable && !pending
		c.add(m, f)
	}
	c.checkSizes(m)
	if blocks, ok := m.source.(*dirBlocks); ok {
		return c.checkFiles(ctx, m, blocks)
	}
	if m.Type() != Fixed {
		c.checkSpace(m)
	}
	if _, err := m.readBatmap(); isIO(err) {
		return err
	} else if e, ok := errors.AsType[*FormatError](err); ok {
		c.add(m, Finding{Kind: FindBatmap, Severity: Warning, Struct: "batmap", Offset: e.Off, Block: -1, Text: e.Error(), Err: err})
	}
	return nil
}

// findingOf translates what Open went over.
func findingOf(m *Image, e *FormatError) Finding {
	f := Finding{Severity: Warning, Struct: e.Struct, Offset: e.Off, Block: -1, Text: e.Err.Error(), Err: e}
	switch {
	case e.Struct == "BAT":
		f.Kind, f.Severity = FindEntry, Damage
		f.Block = (e.Off - int64(m.header.TableOffset)) / 4
	case e.Field == "length":
		f.Kind, f.Text, f.Repairable = FindShortFooter, "it has 511 bytes", true
	case e.Struct == "footer copy":
		f.Kind, f.Text = FindFootersDiffer, "it is sound, and is not what the footer says"
		f.Repairable = m.onlyDetailsDiffer()
		if !f.Repairable {
			f.Severity = Damage
		}
	case e.Struct == "footer" && e.Off == 0:
		f.Kind, f.Repairable = FindFooterCopy, true
	case e.Struct == "footer":
		f.Kind, f.Repairable = FindFooter, len(m.bad) == 0
	default:
		f.Kind = FindUnreadable
	}
	return f
}

// onlyDetailsDiffer tells whether the two footers agree in all that decides what
// the disk holds.
func (m *Image) onlyDetailsDiffer() bool {
	copied, err := m.footerAt(0)
	if err != nil {
		return false
	}
	a, b := m.footer, copied.footer
	return a.UUID == b.UUID && a.CurrentSize == b.CurrentSize && a.Type == b.Type && a.DataOffset == b.DataOffset
}

// checkSizes notes what other tools are known to disagree on.
func (c *checker) checkSizes(m *Image) {
	f := m.Footer()
	if f.OriginalSize > f.CurrentSize {
		c.note(m, FindOriginalSize, fmt.Sprintf("it was made with %d bytes and has %d: XO refuses such disks", f.OriginalSize, f.CurrentSize))
	}
	if f.CurrentSize%sectorSize != 0 {
		c.note(m, FindUnevenSize, fmt.Sprintf("%d bytes are no whole number of sectors: qemu cuts the end off", f.CurrentSize))
	}
	if size := f.Geometry.Size(); size > f.CurrentSize && size < maxGeometrySize {
		c.note(m, FindGeometry, fmt.Sprintf("the geometry says %d bytes, the size %d: old versions of qemu believe the geometry", size, f.CurrentSize))
	}
	if m.Type() != Fixed && m.blockSize != usualBlockSize {
		c.note(m, FindBlockSize, fmt.Sprintf("blocks have %d bytes: XO and blktap expect 2 MiB", m.blockSize))
	}
}

const (
	usualBlockSize  = 2 << 20
	maxGeometrySize = 65535 * 16 * 255 * sectorSize // what the geometry of any larger disk says
)

// checkSpace notes how much of a file no structure explains.
func (c *checker) checkSpace(m *Image) {
	used := int64(footerSize)
	for _, r := range m.structures() {
		used += r.to - r.from
	}
	count := int64(m.allocated)
	used += count * (m.bitmapLen + m.blockSize)
	slack := (count+1)*dataAlignment + (1 << 20) // gaps, names of the parent, a batmap
	if unused := m.fileSize - used; unused-slack > m.blockSize {
		c.note(m, FindUnusedSpace, fmt.Sprintf("%d bytes of the file belong to no block", unused))
	}
}

// checkFiles compares the table of a disk kept as a directory with its files.
func (c *checker) checkFiles(ctx context.Context, m *Image, blocks *dirBlocks) error {
	present, strays, err := blocks.listBlocks(ctx, m.blockCount())
	if err != nil {
		return err
	}
	for i := range m.blockCount() {
		switch {
		case blocks.bits.has(i) && !present.has(i):
			if err := c.checkMoved(m, blocks, i); err != nil {
				return err
			}
		case !blocks.bits.has(i) && present.has(i):
			strays++
		}
	}
	if strays > 0 {
		c.note(m, FindStrayBlock, fmt.Sprintf("%d files of blocks are not listed in the table", strays))
	}
	return nil
}

// checkMoved looks for a block that has no file where an interrupted merge may
// have put it.
func (c *checker) checkMoved(m *Image, blocks *dirBlocks, i int) error {
	err := blocks.readBitmap(make([]byte, m.bitmapLen), i)
	if err == nil {
		return nil
	}
	if !isProof(err) {
		return err
	}
	c.add(m, Finding{Kind: FindLostBlock, Severity: Damage, Struct: "block", Offset: -1, Block: int64(i), Text: "it is listed, and its file is missing", Err: err})
	return nil
}
