package ext

import (
	"cmp"
	"hash/maphash"
	"io/fs"
	"slices"
	"sort"
	"sync"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
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
	for pos := int64(0); pos < d.size; {
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

// dirIndexes keeps the indexes of the last large directories.
type dirIndexes struct {
	mu    sync.Mutex
	slots int         // of all kept
	kept  []*dirIndex // least used first
}

// maxSlots bounds what is kept: 16 MiB. A directory with more names is indexed
// for each look-up anew.
const maxSlots = 1 << 20

// dirIndex finds the position of an entry by the hash of its name.
type dirIndex struct {
	num    uint32
	seed   maphash.Seed
	slots  []dirSlot // by hash
	damage error     // why it may lack names
}

type dirSlot struct {
	hash uint64
	pos  int64
}

func (f *FS) indexed(d *directory, name string) (fsys.Entry, error) {
	x := f.indexes.get(d.in.num)
	if x == nil {
		x = newDirIndex(d)
		f.indexes.put(x)
	}
	hash := maphash.String(x.seed, name)
	i := sort.Search(len(x.slots), func(i int) bool { return x.slots[i].hash >= hash })
	for ; i < len(x.slots) && x.slots[i].hash == hash; i++ {
		var e fsys.Entry
		found := false
		_, err := d.scan(x.slots[i].pos, func(at dirent) bool {
			if found = string(at.name) == name; found {
				e = f.entry(at)
			}
			return false
		})
		if err != nil || found {
			return e, err
		}
	}
	return fsys.Entry{}, cmp.Or(x.damage, fs.ErrNotExist)
}

// newDirIndex reads a whole directory.
func newDirIndex(d *directory) *dirIndex {
	x := &dirIndex{num: d.in.num, seed: maphash.MakeSeed()}
	for pos := int64(0); pos < d.size; {
		next, err := d.scan(pos, func(e dirent) bool {
			x.slots = append(x.slots, dirSlot{maphash.Bytes(x.seed, e.name), e.pos})
			return true
		})
		x.damage = cmp.Or(x.damage, err)
		pos = next
	}
	slices.SortFunc(x.slots, func(a, b dirSlot) int { return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.pos, b.pos)) })
	return x
}

func (c *dirIndexes) get(num uint32) *dirIndex {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, x := range c.kept {
		if x.num == num {
			c.kept = append(slices.Delete(c.kept, i, i+1), x)
			return x
		}
	}
	return nil
}

func (c *dirIndexes) put(x *dirIndex) {
	if len(x.slots) > maxSlots {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.kept) > 0 && c.slots+len(x.slots) > maxSlots {
		c.slots -= len(c.kept[0].slots)
		c.kept = slices.Delete(c.kept, 0, 1)
	}
	c.kept = append(c.kept, x)
	c.slots += len(x.slots)
}
