package xapitest

import (
	"encoding/binary"
	"unicode/utf16"
)

// Sizes of the VHD streams that hosts send and take. This is the host's own
// half of the format, written apart from package vhd, so that each is a check
// on the other.
const (
	sectorSize = 512
	blockSize  = 2 << 20
	footerSize = 512
	headerSize = 1024
	batOffset  = 2048
	unused     = 0xffffffff // BAT entry of a block that is not there
)

// extent is a run of bytes of a disk.
type extent struct{ off, len int64 }

func blockCount(size int64) int { return int((size + blockSize - 1) / blockSize) }

// vhdFooter builds the footer as vhd-tool does: creator "caml", no timestamp.
func vhdFooter(size int64, differencing bool, uuid [16]byte) []byte {
	b := make([]byte, footerSize)
	copy(b, "conectix")
	be := binary.BigEndian
	be.PutUint32(b[8:], 2)           // features: reserved, always set
	be.PutUint32(b[12:], 0x00010000) // file format version
	be.PutUint64(b[16:], footerSize) // offset of the header
	copy(b[28:], "caml")
	be.PutUint32(b[32:], 0x00000001) // creator version
	be.PutUint64(b[40:], uint64(size))
	be.PutUint64(b[48:], uint64(size))
	be.PutUint32(b[56:], geometry(size))
	be.PutUint32(b[60:], 3)
	if differencing {
		be.PutUint32(b[60:], 4)
	}
	copy(b[68:], uuid[:])
	be.PutUint32(b[64:], checksum(b))
	return b
}

// vhdHeader builds the dynamic header. A differencing stream names its parent
// by a path on the host, and has a locator whose sector stays empty.
func vhdHeader(size int64, parent *vhdParent) []byte {
	b := make([]byte, headerSize)
	copy(b, "cxsparse")
	be := binary.BigEndian
	be.PutUint64(b[8:], 0xffffffffffffffff)
	be.PutUint64(b[16:], batOffset)
	be.PutUint32(b[24:], 0x00010000)
	be.PutUint32(b[28:], uint32(blockCount(size))) // disks are far smaller than 2^53 bytes
	be.PutUint32(b[32:], blockSize)
	if parent != nil {
		copy(b[40:], parent.uuid[:])
		be.PutUint32(b[56:], parent.timestamp)
		for i, unit := range utf16.Encode([]rune(parent.path)) {
			if i < 256 {
				be.PutUint16(b[64+2*i:], unit)
			}
		}
		copy(b[576:], "MacX")
		be.PutUint32(b[580:], 1) // sectors reserved for the locator
		be.PutUint32(b[584:], uint32(len("file://")+len(parent.path)))
		be.PutUint64(b[592:], headerSize+footerSize)
	}
	be.PutUint32(b[36:], checksum(b))
	return b
}

// vhdParent is what a differencing stream says of its base.
type vhdParent struct {
	uuid      [16]byte
	timestamp uint32 // seconds since 2000
	path      string
}

// checksum is the complement of the sum of all bytes, the field itself zero.
func checksum(b []byte) uint32 {
	var sum uint32
	for _, c := range b {
		sum += uint32(c)
	}
	return ^sum
}

// geometry is the CHS of the specification's appendix, packed.
func geometry(size int64) uint32 {
	total := min(size/sectorSize, 65535*16*255)
	var heads, perTrack, cylinderHeads int64
	if total >= 65535*16*63 {
		perTrack, heads = 255, 16
		cylinderHeads = total / perTrack
	} else {
		perTrack = 17
		cylinderHeads = total / perTrack
		heads = max((cylinderHeads+1023)/1024, 4)
		if cylinderHeads >= heads*1024 || heads > 16 {
			perTrack, heads = 31, 16
			cylinderHeads = total / perTrack
		}
		if cylinderHeads >= heads*1024 {
			perTrack, heads = 63, 16
			cylinderHeads = total / perTrack
		}
	}
	cylinders := cylinderHeads / heads
	return uint32(cylinders<<16 | heads<<8 | perTrack) // bounded by the format
}

// vhdTable builds the BAT for a stream that holds these blocks in this order,
// right behind the table.
func vhdTable(size int64, blocks []uint32) []byte {
	b := make([]byte, tableSize(blockCount(size)))
	for i := range b {
		b[i] = 0xff
	}
	sector := uint32((batOffset + len(b)) / sectorSize) // bounded by the format
	for _, index := range blocks {
		binary.BigEndian.PutUint32(b[4*index:], sector)
		sector += bufferSize / sectorSize
	}
	return b
}

// tableSize is the length of a BAT, in whole sectors.
func tableSize(entries int) int { return (4*entries + sectorSize - 1) / sectorSize * sectorSize }
