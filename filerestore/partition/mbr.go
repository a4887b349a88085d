package partition

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// maxLogical is how many logical partitions are followed.
const maxLogical = 256

// entry is one of the four of an MBR.
type entry struct {
	flag, kind     byte
	start, sectors uint32
}

func (e entry) used() bool     { return e.kind != 0 && e.sectors != 0 }
func (e entry) extended() bool { return e.kind == 0x05 || e.kind == 0x0F || e.kind == 0x85 }

type mbr struct {
	signature uint32
	entries   [4]entry
}

// parseMBR returns nil for what is none.
func parseMBR(b *[512]byte) *mbr {
	if b[510] != 0x55 || b[511] != 0xAA {
		return nil
	}
	m := &mbr{signature: binary.LittleEndian.Uint32(b[440:])}
	for i := range m.entries {
		e := b[446+16*i:][:16]
		m.entries[i] = entry{e[0], e[4], binary.LittleEndian.Uint32(e[8:]), binary.LittleEndian.Uint32(e[12:])}
	}
	return m
}

// protective tells that a GPT counts.
func (m *mbr) protective() bool {
	for _, e := range m.entries {
		if e.kind == 0xEE {
			return true
		}
	}
	return false
}

// empty tells that there are no partitions, or that these are no entries.
func (m *mbr) empty() bool {
	used := false
	for _, e := range m.entries {
		if e.flag&0x7F != 0 {
			return true
		}
		used = used || e.used()
	}
	return !used
}

// bootSector tells the first sectors of volumes that use the whole disk.
func bootSector(b *[512]byte) bool {
	switch string(b[3:11]) {
	case "NTFS    ", "EXFAT   ", "ReFS\x00\x00\x00\x00", "-FVE-FS-":
		return true
	}
	return (b[0] == 0xEB || b[0] == 0xE9) && (strings.HasPrefix(string(b[0x36:]), "FAT") || strings.HasPrefix(string(b[0x52:]), "FAT32"))
}

func (d *device) readMBR(m *mbr) (*Table, error) {
	t := &Table{Type: "mbr", SectorSize: d.sectorSize, ID: fmt.Sprintf("%08x", m.signature)}
	if t.SectorSize == 0 {
		t.SectorSize = 512
	}
	for i, e := range m.entries {
		if e.used() && !e.extended() {
			t.add(d, Partition{Number: i + 1, Type: fmt.Sprintf("0x%02x", e.kind)}, uint64(e.start), uint64(e.sectors))
		}
	}
	next := 5
	for _, e := range m.entries {
		if e.used() && e.extended() {
			next = d.readLogical(t, e, next)
		}
	}
	return t, nil
}

// readLogical follows the chain in an extended partition. Where it is broken, it ends
// with a warning: what came before is good.
func (d *device) readLogical(t *Table, container entry, number int) int {
	seen := map[uint32]bool{}
	for at := container.start; ; {
		if seen[at] || len(seen) == maxLogical {
			t.warn("the chain of logical partitions comes back to sector %d, or has more than %d", at, maxLogical)
			return number
		}
		seen[at] = true
		b, err := d.sector(int64(at) * t.SectorSize)
		if err != nil {
			t.warn("the chain of logical partitions cannot be read at sector %d: %v", at, err)
			return number
		}
		m := parseMBR(b)
		if m == nil {
			t.warn("the chain of logical partitions is broken at sector %d", at)
			return number
		}
		var link *entry
		for i := range m.entries[:2] {
			e := &m.entries[i]
			switch {
			case !e.used():
			case e.extended():
				link = e
			default:
				t.add(d, Partition{Number: number, Type: fmt.Sprintf("0x%02x", e.kind)}, uint64(at)+uint64(e.start), uint64(e.sectors))
				number++
			}
		}
		if link == nil {
			return number
		}
		next := uint64(container.start) + uint64(link.start)
		if uint64(link.start) >= uint64(container.sectors) || next > 1<<32-1 {
			t.warn("the chain of logical partitions leaves its container at sector %d", at)
			return number
		}
		at = uint32(next)
	}
}
