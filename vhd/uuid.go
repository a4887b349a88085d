package vhd

import (
	"encoding/hex"
	"errors"
	"fmt"
)

// UUID names a disk: the 16 bytes as they are stored, which is the order in
// which they are written (no swapping of the first fields). Any 16 bytes are
// accepted, not only those of RFC 4122; some tools write such.
type UUID [16]byte

var errUUID = errors.New("vhd: not a uuid")

// ParseUUID reads the form 8-4-4-4-12, in hex digits of either case.
func ParseUUID(s string) (UUID, error) {
	var u UUID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return UUID{}, fmt.Errorf("%w: %.40q", errUUID, s)
	}
	if _, err := hex.Decode(u[:], []byte(s[:8]+s[9:13]+s[14:18]+s[19:23]+s[24:])); err != nil {
		return UUID{}, fmt.Errorf("%w: %.40q", errUUID, s)
	}
	return u, nil
}

// String returns the form 8-4-4-4-12 in lower case.
func (u UUID) String() string {
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// IsZero reports whether all bytes are zero: no disk.
func (u UUID) IsZero() bool { return u == UUID{} }

// MarshalText returns the form of [UUID.String].
func (u UUID) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText reads what [ParseUUID] reads.
func (u *UUID) UnmarshalText(text []byte) error {
	parsed, err := ParseUUID(string(text))
	if err != nil {
		return err
	}
	*u = parsed
	return nil
}
