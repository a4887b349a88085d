package vhd

import "fmt"

// Geometry is the cylinders, heads and sectors that a BIOS would see.
type Geometry struct {
	Cylinders uint16
	Heads     uint8
	Sectors   uint8
}

// maxCHSSectors is the largest disk that a geometry can express: 127.5 GiB.
const maxCHSSectors = 65535 * 16 * 255

// GeometryFor returns the geometry that the VHD specification gives a disk of
// size bytes. It is rounded down: Size is at most size.
func GeometryFor(size int64) Geometry {
	total := min(size/sectorSize, maxCHSSectors)
	if total >= 65535*16*63 {
		return chs(total/255/16, 16, 255)
	}
	sectors := int64(17)
	cylinderTimesHeads := total / sectors
	heads := max(4, (cylinderTimesHeads+1023)/1024)
	if cylinderTimesHeads >= heads*1024 || heads > 16 {
		sectors, heads = 31, 16
		cylinderTimesHeads = total / sectors
	}
	if cylinderTimesHeads >= heads*1024 {
		sectors, heads = 63, 16
		cylinderTimesHeads = total / sectors
	}
	return chs(cylinderTimesHeads/heads, heads, sectors)
}

func chs(c, h, s int64) Geometry {
	return Geometry{Cylinders: uint16(c), Heads: uint8(h), Sectors: uint8(s)}
}

// Size returns the bytes that the geometry covers. Some tools take it for the
// size of the disk; this package never does.
func (g Geometry) Size() int64 {
	return int64(g.Cylinders) * int64(g.Heads) * int64(g.Sectors) * sectorSize
}

// String returns the three numbers as C/H/S.
func (g Geometry) String() string {
	return fmt.Sprintf("%d/%d/%d", g.Cylinders, g.Heads, g.Sectors)
}
