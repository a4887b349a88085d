package fat

import (
	"io"
	"slices"

	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/clusters"
)

// errEnd is the end of a directory.
var errEnd = io.EOF

// perPiece is how many UTF-16 units one piece of a long name has.
const perPiece = 13

// longName collects the pieces of a long name: the last one comes first, and
// all carry the checksum of the short name behind them.
type longName struct {
	units [maxLong * perPiece]uint16
	total int // pieces
	left  int // pieces to come
	sum   byte
}

func (l *longName) reset() { l.total, l.left = 0, 0 }

// add takes a piece. One that does not follow the one before drops both.
func (l *longName) add(b []byte) {
	number := int(b[0] &^ lastLong)
	if b[0]&lastLong != 0 {
		l.total, l.left, l.sum = number, number, b[13]
	}
	if number == 0 || number > maxLong || number != l.left || b[13] != l.sum {
		l.reset()
		return
	}
	l.left--
	at := l.units[l.left*perPiece:][:perPiece]
	for i := range at {
		o := 1 + 2*i
		if i >= 5 {
			o += 3 // attribute, type, checksum
		}
		if i >= 11 {
			o += 2 // cluster
		}
		at[i] = le.Uint16(b[o:])
	}
}

// of returns the name, if it is whole and that of a short entry.
func (l *longName) of(short []byte) (string, bool) {
	if l.total == 0 || l.left != 0 || checksum(short) != l.sum {
		return "", false
	}
	units := l.units[:l.total*perPiece]
	if end := slices.Index(units, 0); end >= 0 {
		units = units[:end]
	}
	return clusters.UTF8(units), len(units) > 0
}

// checksum is that of a short name.
func checksum(short []byte) byte {
	sum := byte(0)
	for _, c := range short[:11] {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}
