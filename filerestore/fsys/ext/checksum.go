package ext

import (
	"encoding/binary"
	"hash/crc32"
)

var le = binary.LittleEndian

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc32c continues a CRC-32C as ext4 and jbd2 use it: the register is neither
// inverted before nor after. It starts from all ones.
func crc32c(seed uint32, p ...[]byte) uint32 {
	c := ^seed
	for _, b := range p {
		c = crc32.Update(c, castagnoli, b)
	}
	return ^c
}

func crc32c32(seed, v uint32) uint32 {
	var b [4]byte
	le.PutUint32(b[:], v)
	return crc32c(seed, b[:])
}

// crc16 continues the CRC-16 (polynomial 0x8005, reflected) of group
// descriptors without metadata checksums.
func crc16(c uint16, p []byte) uint16 {
	for _, b := range p {
		c ^= uint16(b)
		for range 8 {
			c = c>>1 ^ 0xA001&-(c&1)
		}
	}
	return c
}

// crc32be continues the CRC-32 (polynomial 0x04C11DB7, most significant bit
// first) that the first checksums of journals were.
func crc32be(c uint32, p []byte) uint32 {
	for _, b := range p {
		c = c<<8 ^ crc32beTable[byte(c>>24)^b]
	}
	return c
}

var crc32beTable = func() (t [256]uint32) {
	for i := range t {
		c := uint32(i) << 24
		for range 8 {
			c = c<<1 ^ 0x04C11DB7&-(c>>31)
		}
		t[i] = c
	}
	return t
}()
