package exfat

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/clusters"
)

// The kinds of entries. Bit 7 is that it is in use, 6 that it belongs to the
// one before, 5 that who does not know it may skip it.
const (
	kindBitmap = 0x81
	kindUpcase = 0x82
	kindLabel  = 0x83
	kindFile   = 0x85
	kindStream = 0xC0
	kindName   = 0xC1

	inUse     = 0x80
	secondary = 0x40
	benign    = 0x20
)

const (
	maxSet     = 19 // entries: a file, its stream, 17 pieces of its name
	perPiece   = 15 // UTF-16 units in a piece of a name
	noFatChain = 2
)

// errSet is what is wrong with a set, besides fsys.ErrChecksum.
var errSet = fmt.Errorf("%w: entry set", fsys.ErrCorrupt)

// decode makes an object of the entries of a file.
func decode(set []byte, place int64, zone *time.Location) (clusters.Object, error) {
	if checksum(set) != le.Uint16(set[2:]) {
		return clusters.Object{}, fsys.ErrChecksum
	}
	stream := set[clusters.EntrySize:]
	if len(set) < 3*clusters.EntrySize || stream[0] != kindStream {
		return clusters.Object{}, fmt.Errorf("%w without stream and name", errSet)
	}
	name, err := decodeName(stream[clusters.EntrySize:], int(stream[3]))
	if err != nil {
		return clusters.Object{}, err
	}
	size, valid := le.Uint64(stream[24:]), le.Uint64(stream[8:])
	if size > 1<<62 || valid > size {
		return clusters.Object{}, fmt.Errorf("%w: %d bytes of %d are valid", errSet, valid, size)
	}
	return clusters.Object{
		Name: name, Place: place, First: le.Uint32(stream[20:]), Contiguous: stream[1]&noFatChain != 0,
		Size: int64(size), Valid: int64(valid), Attributes: uint32(le.Uint16(set[4:])),
		Created:  stamp(le.Uint32(set[8:]), set[20], set[22], zone),
		Modified: stamp(le.Uint32(set[12:]), set[21], set[23], zone),
		Accessed: stamp(le.Uint32(set[16:]), 0, set[24], zone),
	}, nil
}

// decodeName joins the pieces of a name of n units. Behind them may be what
// vendors put there; what must not be skipped is refused.
func decodeName(rest []byte, n int) (string, error) {
	units := make([]uint16, 0, n)
	for ; len(rest) > 0; rest = rest[clusters.EntrySize:] {
		switch {
		case rest[0] == kindName:
			for i := 0; i < perPiece && len(units) < n; i++ {
				units = append(units, le.Uint16(rest[2+2*i:]))
			}
		case rest[0]&benign == 0:
			return "", fmt.Errorf("%w: entry of kind %#x", fsys.ErrUnsupported, rest[0])
		}
	}
	if len(units) < n || n == 0 {
		return "", fmt.Errorf("%w with %d of %d characters of its name", errSet, len(units), n)
	}
	return clusters.UTF8(units), nil
}

// stamp decodes a time. Its offset from UTC is in quarters of an hour, where
// bit 7 says that it is known.
func stamp(t uint32, hundredths, offset byte, zone *time.Location) time.Time {
	if offset&0x80 == 0 {
		return clusters.DOSTime(uint16(t>>16), uint16(t), min(hundredths, 199), zone)
	}
	at := clusters.DOSTime(uint16(t>>16), uint16(t), min(hundredths, 199), time.UTC)
	if at.IsZero() {
		return at
	}
	return at.Add(-time.Duration(int8(offset<<1)>>1) * 15 * time.Minute)
}

// checksum is that of a set, but for the field that has it.
func checksum(set []byte) uint16 {
	sum := uint16(0)
	for i, c := range set {
		if i == 2 || i == 3 {
			continue
		}
		sum = sum>>1 | sum<<15
		sum += uint16(c)
	}
	return sum
}

// Parse implements clusters.Format. Where the entries of a set go on in another
// cluster, that is the next one of the directory: by the table, or the one
// behind it, as the directory is kept; the checksum tells.
func (x *entries) Parse(place int64) (clusters.Object, error) {
	h := x.heap
	if place < h.Off || place >= h.Off+int64(h.Count)*h.Size {
		return clusters.Object{}, x.missing(place)
	}
	b, err := h.Bytes(place, clusters.EntrySize)
	if err != nil {
		return clusters.Object{}, err
	}
	n := int64(b[1]) + 1
	if b[0] != kindFile || n < 3 || n > maxSet {
		return clusters.Object{}, x.missing(place)
	}
	o, err := x.parse(place, n*clusters.EntrySize, func(c uint32) (uint32, error) {
		var w clusters.Window
		return h.Next(&w, c)
	})
	if errors.Is(err, fsys.ErrCorrupt) {
		o, err = x.parse(place, n*clusters.EntrySize, func(c uint32) (uint32, error) { return c + 1, nil })
	}
	if errors.Is(err, fsys.ErrCorrupt) || errors.Is(err, fsys.ErrUnsupported) {
		return o, h.Error("entry", place, err)
	}
	return o, err
}

// parse reads a set of n bytes, whose clusters follow each other as next says.
func (x *entries) parse(place, n int64, next func(uint32) (uint32, error)) (clusters.Object, error) {
	h := x.heap
	cluster, at := uint32((place-h.Off)/h.Size)+2, place
	var set []byte
	for {
		part := min(n-int64(len(set)), h.Offset(cluster)+h.Size-at)
		b, err := h.Bytes(at, part)
		if err != nil {
			return clusters.Object{}, err
		}
		if set = append(set, b...); int64(len(set)) == n {
			return decode(set, place, x.zone)
		}
		if cluster, err = next(cluster); err != nil {
			return clusters.Object{}, err
		}
		if !h.Contains(cluster) {
			return clusters.Object{}, fmt.Errorf("%w is cut short", errSet)
		}
		at = h.Offset(cluster)
	}
}

func (x *entries) missing(place int64) error { return x.heap.Error("entry", place, fs.ErrNotExist) }
