package exfat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/clusters"
)

const (
	bootSize    = 512
	bootSectors = 12 // of a boot region; the last one has the checksum

	signature = "\xEB\x76\x90EXFAT   "

	flagActive  = 1 // the second table and bitmap are those to read
	flagDirty   = 2
	flagFailure = 4
)

var le = binary.LittleEndian

// boot is what a boot sector says, in bytes where it says sectors.
type boot struct {
	size      int64
	sector    int64
	cluster   int64
	table     int64 // the one to read
	tableSize int64
	second    bool // and it is the second one
	heap      int64
	clusters  uint32
	root      uint32
	serial    uint32
	flags     uint16
}

// readBoot reads the main boot region, or the backup behind it where the main
// one is damaged, or was overwritten with one and the same byte.
func readBoot(dev *clusters.Device) (b *boot, backup bool, err error) {
	if dev.Size < bootSize {
		return nil, false, dev.Error("boot sector", 0, fmt.Errorf("%w: volume of %d bytes", fsys.ErrWrongFormat, dev.Size))
	}
	first, err := dev.Bytes(0, bootSize)
	if err != nil {
		return nil, false, err
	}
	b, err = parseBoot(dev, 0, 0)
	if err == nil || !damage(err) {
		return b, false, err
	}
	wiped := !slices.ContainsFunc(first, func(c byte) bool { return c != first[0] })
	if !wiped && string(first[:3]) != signature[:3] && string(first[3:11]) != signature[3:] {
		return nil, false, err
	}
	for shift := 9; shift <= 12; shift++ {
		b, second := parseBoot(dev, bootSectors<<shift, int64(1)<<shift)
		if second == nil {
			return b, true, nil
		}
		if !damage(second) {
			return nil, false, second
		}
	}
	return nil, false, err
}

// damage tells that it is the volume's fault.
func damage(err error) bool {
	return errors.Is(err, fsys.ErrCorrupt) || errors.Is(err, fsys.ErrWrongFormat)
}

// parseBoot reads the boot region at an offset. sector is the size that the
// sector must have; 0 is any.
func parseBoot(dev *clusters.Device, off, sector int64) (*boot, error) {
	p, err := dev.Bytes(off, bootSize)
	if err != nil {
		return nil, err
	}
	if string(p[:11]) != signature || p[510] != 0x55 || p[511] != 0xAA || slices.ContainsFunc(p[11:64], func(c byte) bool { return c != 0 }) {
		return nil, dev.Error("boot sector", off, fsys.ErrWrongFormat)
	}
	if p[105] != 1 {
		return nil, dev.Error("boot sector", off, fmt.Errorf("%w: revision %d.%d", fsys.ErrUnsupported, p[105], p[104]))
	}
	if p[108] < 9 || p[108] > 12 || p[109] > 25-p[108] || sector != 0 && sector != 1<<p[108] {
		return nil, dev.Corrupt("boot sector", off, "sectors of 2^%d bytes, clusters of 2^%d of them", p[108], p[109])
	}
	b := &boot{sector: 1 << p[108], serial: le.Uint32(p[100:]), flags: le.Uint16(p[106:]), clusters: le.Uint32(p[92:]), root: le.Uint32(p[96:])}
	if err := verifyBoot(dev, off, b.sector); err != nil {
		return nil, err
	}
	return b, b.geometry(dev, off, p)
}

// verifyBoot proves the checksum of a boot region.
func verifyBoot(dev *clusters.Device, off, sector int64) error {
	p, err := dev.Bytes(off, bootSectors*sector)
	if err != nil {
		return err
	}
	data, sums := p[:(bootSectors-1)*sector], p[(bootSectors-1)*sector:]
	sum := uint32(0)
	for i, c := range data {
		if i == 106 || i == 107 || i == 112 { // flags and share in use
			continue
		}
		sum = sum>>1 | sum<<31
		sum += uint32(c)
	}
	for ; len(sums) >= 4; sums = sums[4:] {
		if le.Uint32(sums) != sum {
			return dev.Error("boot region", off, fsys.ErrChecksum)
		}
	}
	return nil
}

// geometry checks where everything is.
func (b *boot) geometry(dev *clusters.Device, off int64, p []byte) error {
	sectors, tables := le.Uint64(p[72:]), int64(p[110])
	if sectors > 1<<62/uint64(b.sector) || tables < 1 || tables > 2 {
		return dev.Corrupt("boot sector", off, "%d sectors, %d tables", sectors, tables)
	}
	b.size, b.cluster = int64(sectors)*b.sector, b.sector<<p[109]
	b.table, b.tableSize = int64(le.Uint32(p[80:]))*b.sector, int64(le.Uint32(p[84:]))*b.sector
	b.heap = int64(le.Uint32(p[88:])) * b.sector
	if b.table < 2*bootSectors*b.sector || b.heap < b.table+tables*b.tableSize || b.tableSize < (int64(b.clusters)+2)*4 {
		return dev.Corrupt("boot sector", off, "table of %d bytes at %d, clusters at %d", b.tableSize, b.table, b.heap)
	}
	if b.clusters == 0 || b.clusters > 0xFFFFFFF5 || b.heap > b.size || int64(b.clusters) > (b.size-b.heap)/b.cluster {
		return dev.Corrupt("boot sector", off, "%d clusters of %d bytes at %d, in %d bytes", b.clusters, b.cluster, b.heap, b.size)
	}
	if b.second = tables == 2 && b.flags&flagActive != 0; b.second {
		b.table += b.tableSize
	}
	return nil
}

// uuid is the serial number in the form that tools print.
func (b *boot) uuid() string { return fmt.Sprintf("%04X-%04X", b.serial>>16, b.serial&0xFFFF) }
