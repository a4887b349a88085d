package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/clusters"
)

const bootSize = 512

var le = binary.LittleEndian

// boot is what the boot sector says, in bytes where it says sectors.
type boot struct {
	bits        int   // of an entry of the table: 12, 16 or 32
	sector      int64 // size
	cluster     int64 // size
	tables      int64 // offset of the first one
	tableSize   int64
	tableCount  int
	active      int  // the table to read
	mirrored    bool // the other tables are copies of it
	root        int64
	rootSize    int64 // of a root before the heap; 0 in FAT32
	rootCluster uint32
	heap        int64
	clusters    uint32
	size        int64 // of the volume

	serial   uint32
	extended bool // serial and label are there
	label    string
	state    byte // bit 0: in use; bit 1: errors
}

// backupSector has a copy of the boot sector of FAT32. The boot sector says so
// itself, but it is the one that is damaged, and there is no other custom.
const backupSector = 6

// readBoot reads the boot sector, or, of FAT32, its backup where that is
// damaged.
func readBoot(dev *clusters.Device) (b *boot, backup bool, err error) {
	if dev.Size < bootSize {
		return nil, false, dev.Error("boot sector", 0, fmt.Errorf("%w: volume of %d bytes", fsys.ErrWrongFormat, dev.Size))
	}
	var p [bootSize]byte
	if err := dev.ReadAt(p[:], 0); err != nil {
		return nil, false, err
	}
	b, err = parseBoot(&p)
	if err == nil || errors.Is(err, fsys.ErrUnsupported) {
		return b, false, err
	}
	for sector := int64(512); sector <= 4096 && backupSector*sector+bootSize <= dev.Size; sector *= 2 {
		if err := dev.ReadAt(p[:], backupSector*sector); err != nil {
			return nil, false, err
		}
		b, bad := parseBoot(&p)
		if bad == nil && b.bits == 32 && b.sector == sector && le.Uint16(p[50:]) == backupSector && string(p[82:90]) == "FAT32   " {
			return b, true, nil
		}
	}
	return nil, false, err
}

// parseBoot reads a boot sector. That it is one is known by its fields: the
// signature and the jump are found in other sectors too, and one of them may be
// missing in old volumes.
func parseBoot(b *[bootSize]byte) (*boot, error) {
	wrong := func(field string) (*boot, error) {
		return nil, &fsys.FormatError{FS: "fat", Struct: "boot sector", Field: field, Err: fsys.ErrWrongFormat}
	}
	if signature := b[510] == 0x55 && b[511] == 0xAA; !signature && b[0] != 0xEB && b[0] != 0xE9 {
		return wrong("signature")
	}
	v := &boot{sector: int64(le.Uint16(b[11:])), tableCount: int(b[16])}
	if v.sector < 512 || v.sector > 4096 || bits.OnesCount64(uint64(v.sector)) != 1 {
		return wrong("bytes per sector")
	}
	perCluster := int64(b[13])
	if bits.OnesCount64(uint64(perCluster)) != 1 {
		return wrong("sectors per cluster")
	}
	if b[21] != 0xF0 && b[21] < 0xF8 {
		return wrong("media")
	}
	v.cluster = v.sector * perCluster
	v.tables = v.sector * int64(le.Uint16(b[14:]))
	if v.tables == 0 || v.tableCount == 0 {
		return wrong("tables")
	}
	v.rootSize = (int64(le.Uint16(b[17:]))*32 + v.sector - 1) / v.sector * v.sector
	sectors := int64(le.Uint16(b[19:]))
	if sectors == 0 {
		sectors = int64(le.Uint32(b[32:]))
	}
	v.size = sectors * v.sector
	v.tableSize = v.sector * int64(le.Uint16(b[22:]))
	wide := v.tableSize == 0
	if wide {
		v.tableSize = v.sector * int64(le.Uint32(b[36:]))
	}
	if v.tableSize == 0 {
		return wrong("sectors per table")
	}
	v.root = v.tables + int64(v.tableCount)*v.tableSize
	v.heap = v.root + v.rootSize
	if v.heap+v.cluster > v.size {
		return wrong("sectors")
	}
	return v, v.judge(b, wide)
}

// judge finds the type, which is a matter of the number of clusters, and what
// depends on it.
func (v *boot) judge(b *[bootSize]byte, wide bool) error {
	count := (v.size - v.heap) / v.cluster
	extended, limit := 38, int64(65524)
	switch {
	case wide:
		v.bits, extended, limit = 32, 66, 0x0FFFFFF5
		if v.rootSize != 0 || le.Uint16(b[42:]) != 0 {
			return &fsys.FormatError{FS: "fat", Struct: "boot sector", Field: "version", Off: 42, Err: fmt.Errorf("%w: FAT32 version %#x", fsys.ErrUnsupported, le.Uint16(b[42:]))}
		}
		v.rootCluster = le.Uint32(b[44:]) & 0x0FFFFFFF
	case count < 4085:
		v.bits, limit = 12, 4084
	default:
		v.bits = 16
	}
	if !wide && v.rootSize == 0 {
		return &fsys.FormatError{FS: "fat", Struct: "boot sector", Field: "root entries", Off: 17, Err: fsys.ErrWrongFormat}
	}
	// the table may have less entries, or more
	v.clusters = uint32(min(count, limit, v.tableSize*8/int64(v.bits)-2))
	if v.tableSize*8/int64(v.bits) <= 2 {
		return &fsys.FormatError{FS: "fat", Struct: "boot sector", Field: "sectors per table", Off: 22, Err: fsys.ErrWrongFormat}
	}
	v.mirrored = v.tableCount > 1
	if flags := le.Uint16(b[40:]); wide && flags&0x80 != 0 {
		v.mirrored, v.active = false, int(flags&15)
		if v.active >= v.tableCount {
			return &fsys.FormatError{FS: "fat", Struct: "boot sector", Field: "active table", Off: 40, Err: fmt.Errorf("%w: %d of %d", fsys.ErrCorrupt, v.active, v.tableCount)}
		}
	}
	v.state = b[extended-1]
	if v.extended = b[extended] == 0x29 || b[extended] == 0x28; v.extended {
		v.serial = le.Uint32(b[extended+1:])
	}
	if b[extended] == 0x29 {
		if label := strings.TrimRight(string(b[extended+5:extended+16]), " \x00"); label != "NO NAME" {
			v.label = label
		}
	}
	return nil
}

// uuid is the serial number in the form that tools print.
func (v *boot) uuid() string {
	if !v.extended {
		return ""
	}
	return fmt.Sprintf("%04X-%04X", v.serial>>16, v.serial&0xFFFF)
}
