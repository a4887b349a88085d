package xva

import (
	"crypto/sha1"
	"fmt"
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
	return 2 * sha1.Size
}

func (c Checksum) sum(data []byte) string {
	if c == XXHash {
		return fmt.Sprintf("%016X", xxhash.Sum64(data))
	}
	return fmt.Sprintf("%x", sha1.Sum(data)) // the format's choice; it guards against accidents
}
