package vhd

import (
	"encoding/binary"
	"fmt"
)

const (
	batmapCookie  = "tdbatmap"
	batmapVersion = 0x00010002
)

// readBatmap reads the batmap that tapdisk keeps behind the block table: a bit
// per block, set where every sector of the block is there. nil means that there
// is none. What cannot be proven right is an error: the bitmaps are there to be
// asked instead.
func (m *Image) readBatmap() (bitmap, error) {
	if string(m.footer.CreatorApp[:3]) != "tap" || m.footer.CreatorVersion < 0x00010001 || m.blockSize == 0 {
		return nil, nil
	}
	off := int64(m.header.TableOffset) + batSize(int64(m.header.MaxTableEntries))
	var raw [sectorSize]byte
	if off+sectorSize > m.dataEnd {
		return nil, nil
	}
	if err := m.readFull(raw[:], off, "batmap"); err != nil {
		return nil, err
	}
	if string(raw[:8]) != batmapCookie {
		return nil, nil
	}
	be := binary.BigEndian
	at, sectors, version, sum := be.Uint64(raw[8:]), be.Uint32(raw[16:]), be.Uint32(raw[20:]), be.Uint32(raw[24:])
	length := int64(sectors) * sectorSize
	blocks := int64(m.blockCount())
	switch {
	case version != batmapVersion:
		return nil, m.errAt("batmap", "version", off, ErrVersion)
	case at%sectorSize != 0 || at > uint64(m.dataEnd) || int64(at)+length > m.dataEnd:
		return nil, m.errAt("batmap", "offset", off, ErrTruncated)
	case length*8 < blocks || length > batSize(int64(m.header.MaxTableEntries)):
		return nil, m.errAt("batmap", "size", off, fmt.Errorf("%d sectors for %d blocks: %w", sectors, blocks, ErrBAT))
	}
	bits := make(bitmap, length)
	if err := m.readFull(bits, int64(at), "batmap"); err != nil {
		return nil, err
	}
	// libvhd sums only the first sector of a long map: that proves nothing.
	if checksum(bits, len(bits)) != sum {
		return nil, m.errAt("batmap", "checksum", off, ErrChecksum)
	}
	return bits, nil
}

// trustBatmap takes the word of the batmap for which blocks are full. A batmap
// that is damaged is a finding, and not used.
func (m *Image) trustBatmap() error {
	full, err := m.readBatmap()
	if isIO(err) {
		return err
	}
	if err != nil {
		m.found(err)
		return nil
	}
	for b := range m.entries() {
		if _, bad := m.bad[b.index]; full != nil && !bad && full.has(int(b.index)) {
			m.bitmaps.setFull(int(b.index))
		}
	}
	return nil
}
