package fat

import (
	"io/fs"
	"strings"
	"time"
	"unicode"

	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/clusters"
)

const (
	attrMask = 0x3F
	attrLong = 0x0F // of a piece of a long name

	erased   = 0xE5 // first byte of what was deleted
	kanjiE5  = 0x05 // stands for it
	lastLong = 0x40 // the piece with the end of a long name, which comes first
	maxLong  = 20   // pieces

	lowerBase = 0x08 // flags of Windows NT: the name is in lower case
	lowerExt  = 0x10
)

// entries is how FAT keeps its directories.
type entries struct {
	dev  *clusters.Device
	boot *boot
	page *codePage
	zone *time.Location
}

// Next implements clusters.Format. Pieces of a long name that do not belong to
// the short entry behind them are ignored.
func (x *entries) Next(d *clusters.Dir, pos int64) (clusters.Object, int64, error) {
	var long longName
	for start := pos; ; pos += clusters.EntrySize {
		b, place, err := d.Entry(pos)
		if err != nil {
			return clusters.Object{}, start, err
		}
		switch {
		case b[0] == 0:
			return clusters.Object{}, pos, errEnd
		case b[0] == erased:
			long.reset()
			continue
		case b[11]&attrMask == attrLong:
			long.add(b)
			continue
		case b[11]&clusters.Label != 0, b[0] == '.' && (string(b[:11]) == dot || string(b[:11]) == dotDot):
			long.reset()
			continue
		}
		o := x.object(b, place)
		if name, ok := long.of(b); ok {
			o.Name, o.Alias = name, o.Name
		}
		if o.Name == "" {
			return clusters.Object{}, pos + clusters.EntrySize, d.Corrupt(pos, "no name")
		}
		return o, pos + clusters.EntrySize, nil
	}
}

// The names of the directory itself and of the one it is in.
const (
	dot    = ".          "
	dotDot = "..         "
)

// Parse implements clusters.Format.
func (x *entries) Parse(place int64) (clusters.Object, error) {
	inRoot := place >= x.boot.root && place < x.boot.root+x.boot.rootSize
	if !inRoot && (place < x.boot.heap || place >= x.boot.heap+int64(x.boot.clusters)*x.boot.cluster) {
		return clusters.Object{}, x.missing(place)
	}
	b, err := x.dev.Bytes(place, clusters.EntrySize)
	if err != nil {
		return clusters.Object{}, err
	}
	if b[0] == 0 || b[0] == erased || b[11]&clusters.Label != 0 || string(b[:11]) == dot || string(b[:11]) == dotDot {
		return clusters.Object{}, x.missing(place)
	}
	return x.object(b, place), nil
}

func (x *entries) missing(place int64) error { return x.dev.Error("entry", place, fs.ErrNotExist) }

// object reads a short entry.
func (x *entries) object(b []byte, place int64) clusters.Object {
	o := clusters.Object{
		Name: x.short(b), Place: place, Attributes: uint32(b[11] & attrMask), First: uint32(le.Uint16(b[26:])),
		Created:  clusters.DOSTime(le.Uint16(b[16:]), le.Uint16(b[14:]), min(b[13], 199), x.zone),
		Accessed: clusters.DOSTime(le.Uint16(b[18:]), 0, 0, x.zone),
		Modified: clusters.DOSTime(le.Uint16(b[24:]), le.Uint16(b[22:]), 0, x.zone),
	}
	if x.boot.bits == 32 {
		o.First |= uint32(le.Uint16(b[20:])) << 16 & 0x0FFFFFFF
	}
	if o.IsDir() {
		o.Size = -1
	} else {
		o.Size = int64(le.Uint32(b[28:]))
	}
	o.Valid = o.Size
	return o
}

// short returns the name of eight and three characters.
func (x *entries) short(b []byte) string {
	var name [11]byte
	copy(name[:], b)
	if name[0] == kanjiE5 {
		name[0] = erased
	}
	base, ext := x.part(name[:8], b[12]&lowerBase != 0), x.part(name[8:], b[12]&lowerExt != 0)
	if ext == "" {
		return base
	}
	return base + "." + ext
}

func (x *entries) part(b []byte, lower bool) string {
	var s strings.Builder
	for _, c := range b {
		r := x.page.decode(c)
		if lower {
			r = unicode.ToLower(r)
		}
		s.WriteRune(r)
	}
	return strings.TrimRight(s.String(), " ")
}

// Fold implements clusters.Format: names are the same but for their case.
func (x *entries) Fold(name string) string { return clusters.Fold(name, upper) }

func upper(u uint16) uint16 { return uint16(unicode.ToUpper(rune(u))) }
