package exfat

import (
	"unicode"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/clusters"
)

// maxUpcase is the size of a table that is not compressed.
const maxUpcase = 1 << 17

// upcase makes upper case of UTF-16 units. Its table ends with the last unit
// that changes.
type upcase struct{ table []uint16 }

func (u *upcase) of(c uint16) uint16 {
	if int(c) < len(u.table) {
		return u.table[c]
	}
	return c
}

// parseUpcase reads a table; 0xFFFF says how many units follow that stay.
func parseUpcase(b []byte) (*upcase, bool) {
	u := &upcase{}
	for ; len(b) >= 2; b = b[2:] {
		c := le.Uint16(b)
		if c == 0xFFFF && len(b) >= 4 && len(u.table) < 0xFFFF {
			for range le.Uint16(b[2:]) {
				u.table = append(u.table, uint16(len(u.table)))
			}
			b = b[2:]
		} else {
			u.table = append(u.table, c)
		}
		if len(u.table) > 1<<16 {
			return nil, false
		}
	}
	return u, len(u.table) >= 128 && u.table['a'] == 'A'
}

// plainUpcase stands for a table that is damaged.
func plainUpcase() *upcase {
	u := &upcase{table: make([]uint16, 1<<16)}
	for i := range u.table {
		u.table[i] = uint16(unicode.ToUpper(rune(i)))
	}
	return u
}

// loadUpcase reads the table that an entry of the root describes.
func (f *FS) loadUpcase(entry []byte) error {
	f.entries.upcase = plainUpcase()
	if entry == nil {
		f.warnings.Add(fsys.Damaged, "the volume has no table of upper case; that of Unicode is used to find names")
		return nil
	}
	b, err := f.system(entry, "table of upper case", maxUpcase)
	if err == nil {
		sum := uint32(0)
		for _, c := range b {
			sum = sum>>1 | sum<<31
			sum += uint32(c)
		}
		u, ok := parseUpcase(b)
		if ok && sum == le.Uint32(entry[4:]) {
			f.entries.upcase = u
			return nil
		}
		err = fsys.ErrChecksum
	}
	if damage(err) {
		f.warnings.Add(fsys.Damaged, "the table of upper case is damaged; that of Unicode is used to find names")
		return nil
	}
	return err
}

// system reads what an entry of the root describes: its first cluster is at 20,
// its length at 24. It has a chain.
func (f *FS) system(entry []byte, name string, limit int64) ([]byte, error) {
	o := systemObject(entry)
	if o.Size > limit || o.Size < 0 {
		return nil, f.heap.Corrupt(name, -1, "%d bytes", o.Size)
	}
	src, err := f.heap.Content(name, o)
	if err != nil {
		return nil, err
	}
	b := make([]byte, o.Size)
	if n, err := src.ReadAt(b, 0); n < len(b) {
		return nil, err
	}
	return b, nil
}

func systemObject(entry []byte) *clusters.Object {
	size := int64(min(le.Uint64(entry[24:]), 1<<62))
	return &clusters.Object{First: le.Uint32(entry[20:]), Size: size, Valid: size}
}
