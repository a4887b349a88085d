package partition

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"unicode/utf16"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// maxEntries bounds the entries of a GPT, in bytes: 128 times what is usual.
const maxEntries = 2 << 20

// header is a header of a GPT that has proven itself.
type header struct {
	sectorSize  int64
	guid        [16]byte
	entries     uint64 // sector
	count, size uint32
	sum         uint32
}

// readGPT tries the header and its backups. m may be nil.
func (d *device) readGPT(m *mbr) (*Table, error) {
	var first error
	for _, sectorSize := range d.sectorSizes() {
		for i, at := range d.headers(m, sectorSize) {
			h, err := d.readHeader(at, sectorSize)
			if err == nil {
				var t *Table
				if t, err = d.readEntries(h); err == nil {
					if i > 0 {
						t.warn("the first copy of the partition table is damaged; the backup was used")
					}
					return t, nil
				}
			}
			if first == nil {
				first = err
			}
		}
	}
	return nil, first
}

func (d *device) sectorSizes() []int64 {
	if d.sectorSize != 0 {
		return []int64{d.sectorSize}
	}
	return []int64{512, 4096}
}

// headers lists the sectors in which a header may be, the best first.
func (d *device) headers(m *mbr, sectorSize int64) []uint64 {
	last := uint64(max(2, d.size/sectorSize) - 1)
	list := []uint64{1}
	if b, err := d.sector(sectorSize); err == nil && string(b[:8]) == "EFI PART" {
		list = append(list, binary.LittleEndian.Uint64(b[32:]))
	}
	if m != nil {
		for _, e := range m.entries {
			if e.kind == 0xEE {
				list = append(list, uint64(e.start)+uint64(e.sectors)-1)
			}
		}
	}
	list = append(list, last)
	return slices.DeleteFunc(list, func(at uint64) bool { return at < 1 || at > last })
}

func (d *device) readHeader(at uint64, sectorSize int64) (*header, error) {
	off := int64(at) * sectorSize
	b, err := d.sector(off)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	length := le.Uint32(b[12:])
	if string(b[:8]) != "EFI PART" || length < 92 || length > 512 {
		return nil, formatError("GPT header", off, fsys.ErrCorrupt)
	}
	sum := le.Uint32(b[16:])
	clear(b[16:20])
	if crc32.ChecksumIEEE(b[:length]) != sum {
		return nil, formatError("GPT header", off, fsys.ErrChecksum)
	}
	if le.Uint64(b[24:]) != at {
		return nil, formatError("GPT header", off, fmt.Errorf("%w: it says it is in sector %d", fsys.ErrCorrupt, le.Uint64(b[24:])))
	}
	return &header{
		sectorSize: sectorSize, guid: [16]byte(b[56:72]),
		entries: le.Uint64(b[72:]), count: le.Uint32(b[80:]), size: le.Uint32(b[84:]), sum: le.Uint32(b[88:]),
	}, nil
}

func (d *device) readEntries(h *header) (*Table, error) {
	limit := uint64(d.size / h.sectorSize)
	length := uint64(h.count) * uint64(h.size)
	if h.size < 128 || length > maxEntries || h.entries >= limit || length > (limit-h.entries)*uint64(h.sectorSize) {
		return nil, formatError("GPT entries", -1, fmt.Errorf("%w: %d of %d bytes in sector %d", fsys.ErrCorrupt, h.count, h.size, h.entries))
	}
	off := int64(h.entries) * h.sectorSize
	b := make([]byte, length)
	if n, err := d.r.ReadAt(b, off); n < len(b) {
		return nil, formatError("GPT entries", off, unexpected(err))
	}
	if crc32.ChecksumIEEE(b) != h.sum {
		return nil, formatError("GPT entries", off, fsys.ErrChecksum)
	}
	t := &Table{Type: "gpt", SectorSize: h.sectorSize, ID: formatGUID(h.guid)}
	for i := range int(h.count) {
		e := b[i*int(h.size):][:128]
		kind := [16]byte(e[:16])
		start, end := binary.LittleEndian.Uint64(e[32:]), binary.LittleEndian.Uint64(e[40:])
		switch {
		case kind == [16]byte{}:
		case end < start || end == 1<<64-1:
			t.warn("partition %d ends before it begins, and is not shown", i+1)
		default:
			p := Partition{Number: i + 1, Type: formatGUID(kind), UUID: formatGUID([16]byte(e[16:32])), Name: decodeName(e[56:128])}
			t.add(d, p, start, end-start+1)
		}
	}
	return t, nil
}

// formatGUID has the first three fields little-endian.
func formatGUID(g [16]byte) string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(g[:]), le.Uint16(g[4:]), le.Uint16(g[6:]), g[8:10], g[10:])
}

func decodeName(b []byte) string {
	var units []uint16
	for ; len(b) >= 2; b = b[2:] {
		u := binary.LittleEndian.Uint16(b)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}
