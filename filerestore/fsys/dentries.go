package fsys

import "sync"

// dentries remembers what names led to: at most two generations of entries.
type dentries struct {
	mu         sync.Mutex
	young, old map[dentry]Entry
}

type dentry struct {
	dir  NodeID
	name string
}

// generation is how many entries one generation of dentries has.
const generation = 4096

func (d *dentries) get(dir NodeID, name string) (Entry, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := dentry{dir, name}
	if e, ok := d.young[key]; ok {
		return e, true
	}
	e, ok := d.old[key]
	if ok {
		d.add(key, e)
	}
	return e, ok
}

func (d *dentries) put(dir NodeID, name string, e Entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.add(dentry{dir, name}, e)
}

func (d *dentries) add(key dentry, e Entry) {
	if d.young == nil || len(d.young) >= generation {
		d.young, d.old = make(map[dentry]Entry), d.young
	}
	d.young[key] = e
}
