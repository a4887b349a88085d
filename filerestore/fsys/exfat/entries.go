package exfat

import (
	"errors"
	"io"
	"time"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/clusters"
)

// entries is how exFAT keeps its directories.
type entries struct {
	heap     *clusters.Heap
	zone     *time.Location
	upcase   *upcase
	warnings *clusters.Warnings
}

// Next implements clusters.Format. What is not a file is skipped.
func (x *entries) Next(d *clusters.Dir, pos int64) (clusters.Object, int64, error) {
	for start := pos; ; pos += clusters.EntrySize {
		b, place, err := d.Entry(pos)
		if err != nil {
			return clusters.Object{}, start, err
		}
		switch kind := b[0]; {
		case kind == 0:
			return clusters.Object{}, pos, io.EOF
		case kind == kindFile:
			return x.file(d, start, pos, place, int(b[1])+1)
		case kind == kindBitmap, kind == kindUpcase, kind == kindLabel:
		case kind&inUse != 0 && kind&(secondary|benign) == 0:
			x.warnings.Add(fsys.Skipped, "there are entries of an unknown kind %#x, which are not shown", kind)
		}
	}
}

// file reads the set of n entries at a position; start is where who asked
// began.
func (x *entries) file(d *clusters.Dir, start, pos, place int64, n int) (clusters.Object, int64, error) {
	if n < 3 || n > maxSet {
		return clusters.Object{}, pos + clusters.EntrySize, d.Corrupt(pos, "number of entries")
	}
	var buf [maxSet * clusters.EntrySize]byte
	set := buf[:0]
	for i := range int64(n) {
		at := pos + i*clusters.EntrySize
		b, _, err := d.Entry(at)
		if errors.Is(err, io.EOF) {
			return clusters.Object{}, at, d.Corrupt(pos, "the directory ends in its set")
		}
		if err != nil {
			return clusters.Object{}, start, err
		}
		if i > 0 && b[0]&(inUse|secondary) != inUse|secondary {
			return clusters.Object{}, at, d.Corrupt(pos, "its set is cut short")
		}
		set = append(set, b...)
	}
	next := pos + int64(n)*clusters.EntrySize
	o, err := decode(set, place, x.zone)
	if err != nil {
		return clusters.Object{}, next, d.Error(pos, err)
	}
	return o, next, nil
}

// Fold implements clusters.Format: by the table of the volume.
func (x *entries) Fold(name string) string { return clusters.Fold(name, x.upcase.of) }
