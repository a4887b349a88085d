package clusters

import "sync"

// tree remembers where directories were found. It grows by some 50 bytes for
// each directory, and by 20 for each further cluster of one.
type tree struct {
	mu     sync.Mutex
	dirs   map[uint32]found  // by first cluster
	inside map[uint32]uint32 // first cluster of the directory, by the further ones
}

// found is which entry is that of a directory, and which directory it is in.
type found struct{ place, parent int64 }

// claim says that the entry at a place, in the directory parent, is the
// directory that begins at a cluster, unless that belongs to another already.
func (t *tree) claim(first uint32, at found) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, known := t.dirs[first]
	if _, inside := t.inside[first]; known || inside {
		return
	}
	if t.dirs == nil {
		t.dirs = make(map[uint32]found)
	}
	t.dirs[first] = at
}

func (t *tree) find(first uint32) (found, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	have, ok := t.dirs[first]
	return have, ok
}

// own says that a cluster belongs to the directory that begins at first.
func (t *tree) own(cluster, first uint32) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.dirs[cluster]; ok && cluster != first {
		return false
	}
	if cluster == first {
		_, ok := t.inside[cluster]
		return !ok
	}
	if owner, ok := t.inside[cluster]; ok {
		return owner == first
	}
	if t.inside == nil {
		t.inside = make(map[uint32]uint32)
	}
	t.inside[cluster] = first
	return true
}
