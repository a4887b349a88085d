package clusters

import (
	"cmp"
	"io/fs"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/names"
)

// Lookup implements fsys.Nodes. Of names that are the same to the format, the
// one that is equal byte by byte is preferred, then a long one. Of each
// directory an index is made, and the last ones are kept.
func (f *Files) Lookup(dir fsys.NodeID, name string) (fsys.Entry, error) {
	d, err := f.directory(dir)
	if err != nil {
		return fsys.Entry{}, err
	}
	x := f.indexes.Get(d.o.Place)
	if x == nil {
		x = f.newIndex(d)
		f.indexes.Put(x)
	}
	folded := f.format.Fold(name)
	var best fsys.Entry
	rank := 0
	for pos := range x.Find(folded) {
		o, _, err := f.format.Next(d, pos)
		if err != nil {
			return fsys.Entry{}, err
		}
		if r := f.match(&o, name, folded); r > rank {
			best, rank = o.entry(), r
		}
	}
	if rank == 0 {
		return fsys.Entry{}, cmp.Or(x.Damage(), fs.ErrNotExist)
	}
	return best, nil
}

// match tells how well a name fits: 0 is not at all.
func (f *Files) match(o *Object, name, folded string) int {
	switch {
	case o.Name == name:
		return 3
	case f.format.Fold(o.Name) == folded:
		return 2
	case o.Alias != "" && f.format.Fold(o.Alias) == folded:
		return 1
	}
	return 0
}

// newIndex reads a whole directory.
func (f *Files) newIndex(d *Dir) *names.Index {
	x := names.New(d.o.Place)
	for pos := int64(0); pos >= 0; {
		next, err := f.each(d, pos, func(o *Object, at int64) bool {
			x.Add(f.format.Fold(o.Name), at)
			if o.Alias != "" {
				x.Add(f.format.Fold(o.Alias), at)
			}
			return true
		})
		x.Fail(err)
		pos = next
	}
	x.Sort()
	return x
}
