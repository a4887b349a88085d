package clusters

import (
	"cmp"
	"hash/maphash"
	"io/fs"
	"slices"
	"sort"
	"sync"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// Lookup implements fsys.Nodes. Of names that are the same to the format, the
// one that is equal byte by byte is preferred, then a long one. Of each
// directory an index is made, and the last ones are kept.
func (f *Files) Lookup(dir fsys.NodeID, name string) (fsys.Entry, error) {
	d, err := f.directory(dir)
	if err != nil {
		return fsys.Entry{}, err
	}
	x := f.indexes.get(d.o.Place)
	if x == nil {
		x = f.newIndex(d)
		f.indexes.put(x)
	}
	folded := f.format.Fold(name)
	hash := maphash.String(x.seed, folded)
	i := sort.Search(len(x.slots), func(i int) bool { return x.slots[i].hash >= hash })
	var best fsys.Entry
	rank := 0
	for ; i < len(x.slots) && x.slots[i].hash == hash; i++ {
		o, _, err := f.format.Next(d, x.slots[i].pos)
		if err != nil {
			return fsys.Entry{}, err
		}
		if r := f.match(&o, name, folded); r > rank {
			best, rank = o.entry(), r
		}
	}
	if rank == 0 {
		return fsys.Entry{}, cmp.Or(x.damage, fs.ErrNotExist)
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

// maxSlots bounds what is kept of indexes: 16 MiB. A directory with more names
// is indexed for each look-up anew.
const maxSlots = 1 << 20

// index finds the position of an entry by the hash of its folded name.
type index struct {
	place  int64
	seed   maphash.Seed
	slots  []slot // by hash
	damage error  // why it may lack names
}

type slot struct {
	hash uint64
	pos  int64
}

// newIndex reads a whole directory.
func (f *Files) newIndex(d *Dir) *index {
	x := &index{place: d.o.Place, seed: maphash.MakeSeed()}
	add := func(name string, pos int64) {
		x.slots = append(x.slots, slot{maphash.String(x.seed, f.format.Fold(name)), pos})
	}
	for pos := int64(0); pos >= 0; {
		next, err := f.each(d, pos, func(o *Object, at int64) bool {
			add(o.Name, at)
			if o.Alias != "" {
				add(o.Alias, at)
			}
			return true
		})
		x.damage = cmp.Or(x.damage, err)
		pos = next
	}
	slices.SortFunc(x.slots, func(a, b slot) int { return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.pos, b.pos)) })
	return x
}

// indexes keeps those of the directories used last.
type indexes struct {
	mu    sync.Mutex
	slots int      // of all kept
	kept  []*index // least used first
}

// maxIndexes bounds them by number: they are looked through.
const maxIndexes = 64

func (c *indexes) get(place int64) *index {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, x := range slices.Backward(c.kept) {
		if x.place == place {
			c.kept = append(slices.Delete(c.kept, i, i+1), x)
			return x
		}
	}
	return nil
}

func (c *indexes) put(x *index) {
	if len(x.slots) > maxSlots {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.kept) > 0 && (c.slots+len(x.slots) > maxSlots || len(c.kept) >= maxIndexes) {
		c.slots -= len(c.kept[0].slots)
		c.kept = slices.Delete(c.kept, 0, 1)
	}
	c.kept = append(c.kept, x)
	c.slots += len(x.slots)
}
