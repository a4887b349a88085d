package ext

import (
	"cmp"
	"io/fs"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/names"
)

// smallDir is the size up to which a directory is simply read for each name.
const smallDir = 16 << 10

// Lookup implements fsys.Nodes. Names are compared byte by byte, also where
// the directory folds case. The hash trees of directories are not trusted: of
// a large one an own index is made, and the last ones are kept.
func (f *FS) Lookup(dir fsys.NodeID, name string) (fsys.Entry, error) {
	d, err := f.readable(dir)
	if err != nil {
		return fsys.Entry{}, err
	}
	if name == "" || name == "." || name == ".." {
		return fsys.Entry{}, fs.ErrNotExist
	}
	if d.size > smallDir && d.inline == nil {
		return f.indexed(d, name)
	}
	for pos := int64(0); pos < d.end(); {
		var e fsys.Entry
		found := false
		var bad error
		pos, bad = d.scan(pos, func(x dirent) bool {
			if found = string(x.name) == name; found {
				e = f.entry(x)
			}
			return !found
		})
		if found {
			return e, nil
		}
		err = cmp.Or(err, bad)
	}
	return fsys.Entry{}, cmp.Or(err, fs.ErrNotExist)
}

func (f *FS) indexed(d *directory, name string) (fsys.Entry, error) {
	x := f.indexes.Get(int64(d.in.num))
	if x == nil {
		x = newIndex(d)
		f.indexes.Put(x)
	}
	for pos := range x.Find(name) {
		var e fsys.Entry
		found := false
		_, err := d.scan(pos, func(at dirent) bool {
			if found = string(at.name) == name; found {
				e = f.entry(at)
			}
			return false
		})
		if err != nil || found {
			return e, err
		}
	}
	return fsys.Entry{}, cmp.Or(x.Damage(), fs.ErrNotExist)
}

// newIndex reads a whole directory.
func newIndex(d *directory) *names.Index {
	x := names.New(int64(d.in.num))
	for pos := int64(0); pos < d.end(); {
		next, err := d.scan(pos, func(e dirent) bool {
			x.AddBytes(e.name, e.pos)
			return true
		})
		x.Fail(err)
		pos = next
	}
	x.Sort()
	return x
}
