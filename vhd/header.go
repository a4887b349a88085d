package vhd

import (
	"encoding/binary"
	"unicode/utf16"
)

const (
	headerSize   = 1024
	headerCookie = "cxsparse"
	maxLocators  = 8

	// maxBlockSize bounds what one block may make us read: 16 MiB. The usual
	// size is 2 MiB; the format allows any power of two sectors.
	maxBlockSize = 16 << 20

	parentNameUnits = 256 // of UTF-16
)

// Header describes the block table and the parent of a dynamic or differencing
// image. See the package documentation for the offsets.
type Header struct {
	TableOffset     uint64 // of the BAT, in bytes
	Version         uint32
	MaxTableEntries uint32 // of the BAT; may be more than the disk needs
	BlockSize       uint32 // data bytes of a block
	ParentUUID      UUID
	ParentTimestamp uint32
	ParentName      string // the "unicode name"; what it means depends on who wrote it
	Locators        [maxLocators]Locator
}

// parseHeader checks cookie, checksum, version and the size of blocks.
func parseHeader(b *[headerSize]byte) (Header, error) {
	if string(b[:8]) != headerCookie {
		return Header{}, inField("cookie", ErrNotVHD)
	}
	be := binary.BigEndian
	if be.Uint32(b[36:]) != checksum(b[:], 36) {
		return Header{}, inField("checksum", ErrChecksum)
	}
	h := Header{
		TableOffset:     be.Uint64(b[16:]),
		Version:         be.Uint32(b[24:]),
		MaxTableEntries: be.Uint32(b[28:]),
		BlockSize:       be.Uint32(b[32:]),
		ParentUUID:      UUID(b[40:]),
		ParentTimestamp: be.Uint32(b[56:]),
		ParentName:      parseParentName((*[parentNameUnits * 2]byte)(b[64:])),
	}
	for i := range h.Locators {
		h.Locators[i] = parseLocator((*[locatorSize]byte)(b[576+i*locatorSize:]))
	}
	if h.Version>>16 != formatVersion>>16 {
		return Header{}, inField("version", ErrVersion)
	}
	if bs := h.BlockSize; bs < sectorSize || bs > maxBlockSize || bs&(bs-1) != 0 {
		return Header{}, inField("block size", ErrUnsupported)
	}
	return h, nil
}

// encode returns the structure with its checksum. The caller has checked that
// the parent's name fits.
func (h *Header) encode() *[headerSize]byte {
	b := new([headerSize]byte)
	copy(b[:], headerCookie)
	be := binary.BigEndian
	be.PutUint64(b[8:], noOffset)
	be.PutUint64(b[16:], h.TableOffset)
	be.PutUint32(b[24:], h.Version)
	be.PutUint32(b[28:], h.MaxTableEntries)
	be.PutUint32(b[32:], h.BlockSize)
	copy(b[40:], h.ParentUUID[:])
	be.PutUint32(b[56:], h.ParentTimestamp)
	for i, unit := range utf16.Encode([]rune(h.ParentName)) {
		be.PutUint16(b[64+2*i:], unit)
	}
	for i := range h.Locators {
		h.Locators[i].encode((*[locatorSize]byte)(b[576+i*locatorSize:]))
	}
	be.PutUint32(b[36:], checksum(b[:], 36))
	return b
}

// parseParentName decodes UTF-16, big-endian unless a byte order mark says
// otherwise (tap 0.1 wrote one), up to the first NUL.
func parseParentName(b *[parentNameUnits * 2]byte) string { return utf16Name(b[:], binary.BigEndian) }

// utf16Name decodes up to the first NUL. A byte order mark overrides order, and
// unpaired surrogates become U+FFFD.
func utf16Name(raw []byte, order binary.ByteOrder) string {
	if len(raw) >= 2 {
		switch [2]byte(raw) {
		case [2]byte{0xff, 0xfe}:
			order, raw = binary.LittleEndian, raw[2:]
		case [2]byte{0xfe, 0xff}:
			order, raw = binary.BigEndian, raw[2:]
		}
	}
	units := make([]uint16, 0, len(raw)/2)
	for ; len(raw) >= 2; raw = raw[2:] {
		unit := order.Uint16(raw)
		if unit == 0 {
			break
		}
		units = append(units, unit)
	}
	return string(utf16.Decode(units))
}
