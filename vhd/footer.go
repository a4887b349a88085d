package vhd

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

const (
	sectorSize    = 512
	footerSize    = 512
	formatVersion = 0x00010000
	noOffset      = math.MaxUint64 // "there is none"

	footerCookie   = "conectix"
	poisonedCookie = "v_poison" // blktap disables a disk with it while it resizes
)

// epoch is the zero of the timestamps in a VHD.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// DiskType says how an image holds its disk.
type DiskType uint32

// The types of disk that are in use.
const (
	Fixed        DiskType = 2 // every byte of the disk, then the footer
	Dynamic      DiskType = 3 // the blocks ever written; the others read as zeros
	Differencing DiskType = 4 // what differs from a parent image
)

// String returns the name of the type in lower case.
func (t DiskType) String() string {
	switch t {
	case Fixed:
		return "fixed"
	case Dynamic:
		return "dynamic"
	case Differencing:
		return "differencing"
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// Footer is the last sector of an image, of which dynamic and differencing
// images keep a copy in their first sector. See the package documentation for
// the offsets.
type Footer struct {
	Features       uint32
	Version        uint32
	DataOffset     uint64 // of the header in bytes; all ones for a fixed disk
	Timestamp      uint32 // seconds since 2000-01-01, but XO writes Unix seconds
	CreatorApp     [4]byte
	CreatorVersion uint32
	CreatorHost    [4]byte
	OriginalSize   int64 // in bytes, when the disk was created
	CurrentSize    int64 // in bytes: the virtual size
	Geometry       Geometry
	Type           DiskType
	UUID           UUID
	SavedState     uint8
	Hidden         uint8 // an extension of blktap
}

// parseFooter checks cookie, checksum and version, and that sizes can be held.
func parseFooter(b *[footerSize]byte) (Footer, error) {
	switch string(b[:8]) {
	case footerCookie:
	case poisonedCookie:
		return Footer{}, inField("cookie", fmt.Errorf("disk was disabled by its last writer: %w", ErrUnsupported))
	default:
		return Footer{}, inField("cookie", ErrNotVHD)
	}
	if !footerSumOK(b) {
		return Footer{}, inField("checksum", ErrChecksum)
	}
	be := binary.BigEndian
	f := Footer{
		Features:       be.Uint32(b[8:]),
		Version:        be.Uint32(b[12:]),
		DataOffset:     be.Uint64(b[16:]),
		Timestamp:      be.Uint32(b[24:]),
		CreatorApp:     [4]byte(b[28:]),
		CreatorVersion: be.Uint32(b[32:]),
		CreatorHost:    [4]byte(b[36:]),
		OriginalSize:   int64(be.Uint64(b[40:])),
		CurrentSize:    int64(be.Uint64(b[48:])),
		Geometry:       Geometry{be.Uint16(b[56:]), b[58], b[59]},
		Type:           DiskType(be.Uint32(b[60:])),
		UUID:           UUID(b[68:]),
		SavedState:     b[84],
		Hidden:         b[85],
	}
	if f.Version>>16 != formatVersion>>16 {
		return Footer{}, inField("version", ErrVersion)
	}
	if f.CurrentSize < 0 || f.CurrentSize > math.MaxInt64/2 {
		return Footer{}, inField("current size", ErrUnsupported)
	}
	if f.Type != Fixed && f.Type != Dynamic && f.Type != Differencing {
		return Footer{}, inField("disk type", ErrUnsupported)
	}
	if string(f.CreatorApp[:3]) == "tap" && f.CreatorVersion == 0x00000001 {
		return Footer{}, inField("creator version", fmt.Errorf("bitmaps of tap 0.1 are little-endian: %w", ErrUnsupported))
	}
	return f, nil
}

// footerSumOK checks the checksum. Old blktap set the hidden flag without
// updating it, so a sum that is right without the flag is right.
func footerSumOK(b *[footerSize]byte) bool {
	want := binary.BigEndian.Uint32(b[64:])
	got := checksum(b[:], 64)
	return want == got || want == got+uint32(b[85])
}

// encode returns the sector, with its checksum.
func (f *Footer) encode() *[footerSize]byte {
	b := new([footerSize]byte)
	copy(b[:], footerCookie)
	be := binary.BigEndian
	be.PutUint32(b[8:], f.Features)
	be.PutUint32(b[12:], f.Version)
	be.PutUint64(b[16:], f.DataOffset)
	be.PutUint32(b[24:], f.Timestamp)
	copy(b[28:], f.CreatorApp[:])
	be.PutUint32(b[32:], f.CreatorVersion)
	copy(b[36:], f.CreatorHost[:])
	be.PutUint64(b[40:], uint64(f.OriginalSize))
	be.PutUint64(b[48:], uint64(f.CurrentSize))
	be.PutUint16(b[56:], f.Geometry.Cylinders)
	b[58], b[59] = f.Geometry.Heads, f.Geometry.Sectors
	be.PutUint32(b[60:], uint32(f.Type))
	copy(b[68:], f.UUID[:])
	b[84], b[85] = f.SavedState, f.Hidden
	be.PutUint32(b[64:], checksum(b[:], 64))
	return b
}

// checksum is the complement of the sum of all bytes but those of the checksum
// itself, which is at offset field.
func checksum(b []byte, field int) uint32 {
	var sum uint32
	for i, c := range b {
		if i < field || i >= field+4 {
			sum += uint32(c)
		}
	}
	return ^sum
}

// timestamp returns the seconds since 2000, 0 for a time outside of what a VHD can hold.
func timestamp(t time.Time) uint32 {
	s := t.Unix() - epoch.Unix()
	if t.IsZero() || s < 0 || s > math.MaxUint32 {
		return 0
	}
	return uint32(s)
}
