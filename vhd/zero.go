package vhd

import "bytes"

// zeros is what isZero compares with; nothing writes to it.
var zeros [64 << 10]byte

// isZero reports whether all bytes are zero. It is fast where they are not, too.
func isZero(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), len(zeros))
		if !bytes.Equal(b[:n], zeros[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}
