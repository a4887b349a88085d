package xva

import (
	"crypto/sha1"
	"encoding/hex"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// Checksum is how the chunks of an archive are guarded. The zero value is SHA-1, which every importer knows.
type Checksum uint8

const (
	// SHA1 is a member <chunk>.checksum of 40 lower-case hex digits.
	SHA1 Checksum = iota
	// XXHash is a member <chunk>.xxhash of 16 upper-case hex digits, XXH64 with seed 0. Pools of the XCP-ng 8.2 generation, and
	// xva-img, do not know it.
	XXHash
)

// String returns the suffix of the members: checksum or xxhash.
func (c Checksum) String() string { return strings.TrimPrefix(c.suffix(), ".") }

func (c Checksum) suffix() string {
	if c == XXHash {
		return ".xxhash"
	}
	return ".checksum"
}

// length of the digits.
func (c Checksum) length() int64 {
	if c == XXHash {
		return 16
	}
	return maxDigest
}

// maxDigest is the length of the longest digits.
const maxDigest = 2 * sha1.Size

// putSum puts the digits for data into dst.
func (c Checksum) putSum(dst, data []byte) {
	if c == XXHash {
		const digits = "0123456789ABCDEF"
		sum := xxhash.Sum64(data)
		for i := range 16 {
			dst[i] = digits[sum>>(60-4*i)&0xf]
		}
		return
	}
	sum := sha1.Sum(data) // the format's choice; it guards against accidents
	hex.Encode(dst, sum[:])
}

// digest is a checksum as an archive has it.
type digest struct {
	kind Checksum
	n    uint8 // length of hex
	hex  [maxDigest]byte
}

// text returns the digits.
func (d *digest) text() []byte { return d.hex[:d.n] }

// matches reports whether data has this checksum, and the one that it has.
func (d *digest) matches(data []byte) (ok bool, got digest) {
	got = digest{kind: d.kind, n: d.n}
	d.kind.putSum(got.hex[:], data)
	return got == *d, got
}

// checksumOf tells by its name whether a member is the checksum of a chunk.
func checksumOf(name, chunk []byte) (Checksum, bool) {
	if len(name) < len(chunk) || string(name[:len(chunk)]) != string(chunk) {
		return 0, false
	}
	switch string(name[len(chunk):]) {
	case ".checksum":
		return SHA1, true
	case ".xxhash":
		return XXHash, true
	}
	return 0, false
}
