// Package names finds names in large directories: an index per directory, of the hash
// of each name and where its entry is, and a cache of those used last. A name is
// proven by reading its entry; the index only says where to look.
package names

import (
	"cmp"
	"hash/maphash"
	"iter"
	"slices"
	"sort"
)

// Index finds the entries of one directory. It is built by one goroutine, up to
// [Index.Sort], and may be used by several after that.
type Index struct {
	dir    int64
	seed   maphash.Seed
	slots  []slot // by hash
	damage error
}

type slot struct {
	hash uint64
	pos  int64
}

// New returns an empty index of a directory, which the caller names by a number.
func New(dir int64) *Index { return &Index{dir: dir, seed: maphash.MakeSeed()} }

// Add notes that an entry with this name is at pos.
func (x *Index) Add(name string, pos int64) {
	x.slots = append(x.slots, slot{maphash.String(x.seed, name), pos})
}

// AddBytes is Add.
func (x *Index) AddBytes(name []byte, pos int64) {
	x.slots = append(x.slots, slot{maphash.Bytes(x.seed, name), pos})
}

// Fail notes why names may be missing; the first reason counts.
func (x *Index) Fail(err error) { x.damage = cmp.Or(x.damage, err) }

// Damage says why names may be missing, or nil.
func (x *Index) Damage() error { return x.damage }

// Sort ends the building.
func (x *Index) Sort() {
	slices.SortFunc(x.slots, func(a, b slot) int { return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.pos, b.pos)) })
}

// Find yields where entries of the name may be, ascending.
func (x *Index) Find(name string) iter.Seq[int64] {
	hash := maphash.String(x.seed, name)
	first := sort.Search(len(x.slots), func(i int) bool { return x.slots[i].hash >= hash })
	return func(yield func(int64) bool) {
		for _, s := range x.slots[first:] {
			if s.hash != hash || !yield(s.pos) {
				return
			}
		}
	}
}
