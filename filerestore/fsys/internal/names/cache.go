package names

import (
	"slices"
	"sync"
)

const (
	// maxSlots bounds what is kept, 16 MiB. A directory with more names is indexed for
	// each look-up anew.
	maxSlots = 1 << 20
	// maxIndexes bounds the indexes by number: they are looked through.
	maxIndexes = 64
)

// Cache keeps the indexes of the directories used last. The zero value is empty; it is
// safe for concurrent use.
type Cache struct {
	mu    sync.Mutex
	slots int      // of all kept
	kept  []*Index // least used first
}

// Get returns the index of a directory, or nil.
func (c *Cache) Get(dir int64) *Index {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, x := range slices.Backward(c.kept) {
		if x.dir == dir {
			c.kept = append(slices.Delete(c.kept, i, i+1), x)
			return x
		}
	}
	return nil
}

// Put keeps an index, unless it is too large, instead of those that were not used for
// longest, and instead of one of the same directory that another goroutine made.
func (c *Cache) Put(x *Index) {
	if len(x.slots) > maxSlots {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.IndexFunc(c.kept, func(k *Index) bool { return k.dir == x.dir }); i >= 0 {
		c.drop(i)
	}
	for len(c.kept) > 0 && (c.slots+len(x.slots) > maxSlots || len(c.kept) >= maxIndexes) {
		c.drop(0)
	}
	c.kept = append(c.kept, x)
	c.slots += len(x.slots)
}

// drop needs the lock.
func (c *Cache) drop(i int) {
	c.slots -= len(c.kept[i].slots)
	c.kept = slices.Delete(c.kept, i, i+1)
}
