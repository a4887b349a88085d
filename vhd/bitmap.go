package vhd

import "math/bits"

// bitmap says which sectors of a block the image holds: a bit per sector, the
// highest bit of byte 0 first.
type bitmap []byte

// bitmapSize returns the bytes that the bitmap of a block takes in a file.
func bitmapSize(blockSize int64) int64 { return roundUp(divUp(blockSize/sectorSize, 8), sectorSize) }

func (m bitmap) has(sector int) bool { return m[sector>>3]&(0x80>>(sector&7)) != 0 }

// allSet reports whether the first n sectors are there.
func (m bitmap) allSet(n int) bool {
	for _, b := range m[:n>>3] {
		if b != 0xff {
			return false
		}
	}
	return n&7 == 0 || bits.LeadingZeros8(^m[n>>3]) >= n&7
}

// run returns whether sector is there, and for how many sectors from it, up to
// end, the answer is the same.
func (m bitmap) run(sector, end int) (set bool, n int) {
	set = m.has(sector)
	same := byte(0)
	if set {
		same = 0xff
	}
	i := sector + 1
	for i < end {
		if i&7 == 0 && i+8 <= end && m[i>>3] == same {
			i += 8
			continue
		}
		if m.has(i) != set {
			break
		}
		i++
	}
	return set, i - sector
}

// set marks the n sectors from sector as there.
func (m bitmap) set(sector, n int) {
	for i := sector; i < sector+n; i++ {
		m[i>>3] |= 0x80 >> (i & 7)
	}
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

func divUp(n, unit int64) int64 { return (n + unit - 1) / unit }
