package xapitest

import (
	"maps"
	"slices"
	"sync"
)

// backref says that field forward of class from names an object of class to,
// whose set back lists all that name it.
type backref struct{ from, forward, to, back string }

// backrefs lists the relations that the XenAPI maintains by itself.
func backrefs() []backref {
	return []backref{
		{"VBD", "VM", "VM", "VBDs"},
		{"VBD", "VDI", "VDI", "VBDs"},
		{"VIF", "VM", "VM", "VIFs"},
		{"VIF", "network", "network", "VIFs"},
		{"VTPM", "VM", "VM", "VTPMs"},
		{"VGPU", "VM", "VM", "VGPUs"},
		{"VUSB", "VM", "VM", "VUSBs"},
		{"console", "VM", "VM", "consoles"},
		{"VM", "snapshot_of", "VM", "snapshots"},
		{"VM", "parent", "VM", "children"},
		{"VM", "resident_on", "host", "resident_VMs"},
		{"VM", "appliance", "VM_appliance", "VMs"},
		{"VDI", "SR", "SR", "VDIs"},
		{"VDI", "snapshot_of", "VDI", "snapshots"},
		{"PBD", "SR", "SR", "PBDs"},
		{"PBD", "host", "host", "PBDs"},
		{"PIF", "host", "host", "PIFs"},
		{"PIF", "network", "network", "PIFs"},
		{"task", "subtask_of", "task", "subtasks"},
	}
}

// relations returns them by the class that names the other.
var relations = sync.OnceValue(func() map[string][]backref {
	all := make(map[string][]backref)
	for _, b := range backrefs() {
		all[b.from] = append(all[b.from], b)
	}
	return all
})

// link enters a new object into the sets of those it names.
func (t tx) link(class, ref string, rec record) {
	for _, b := range relations()[class] {
		t.addTo(b, rec.str(b.forward), ref)
	}
}

// backset is the set of one object that a relation fills.
type backset struct{ class, ref, field string }

// addTo enters a reference into a set; later, all at once, while an inventory is
// being entered: sets grow by copying.
func (t tx) addTo(b backref, target, ref string) {
	if t.db.bulk == nil || b.to == "SR" && t.db.limited(target) {
		t.editSet(b, target, ref, with)
		return
	}
	key := backset{b.to, target, b.back}
	t.db.bulk[key] = append(t.db.bulk[key], ref)
}

// setInBulk changes fields of an object that nobody has been shown yet.
func (t tx) setInBulk(class string, r *row, values record) {
	for _, b := range relations()[class] {
		if _, changes := values[b.forward]; changes && values.str(b.forward) != r.record.str(b.forward) {
			t.editSet(b, r.record.str(b.forward), r.ref, without)
			t.addTo(b, values.str(b.forward), r.ref)
		}
	}
	plugged := r.record["currently_attached"]
	maps.Copy(r.record, values)
	t.derive(class, r.record)
	t.touched(class, record{"currently_attached": plugged}, r.record)
}

// limited says that a repository can become full: its disks have to be counted.
func (db *database) limited(sr string) bool {
	r, ok := db.tables["SR"].rows[sr]
	return ok && r.record.int("physical_size") > 0
}

// inBulk runs f while sets are left behind, and brings them up to date after it.
func (db *database) inBulk(f func() error) error {
	_ = db.update(func(tx) error { db.bulk = make(map[backset][]string); return nil })
	err := f()
	_ = db.update(func(t tx) error {
		for key, refs := range db.bulk {
			if r, ok := db.tables[key.class].rows[key.ref]; ok {
				_ = t.set(key.class, key.ref, record{key.field: slices.Concat(r.record.set(key.field), refs)}) // it exists
			}
		}
		db.bulk = nil
		return nil
	})
	return err
}

// unlink removes it from them.
func (t tx) unlink(class, ref string, rec record) {
	for _, b := range relations()[class] {
		t.editSet(b, rec.str(b.forward), ref, without)
	}
}

// relink follows a change of the naming fields.
func (t tx) relink(class, ref string, old, next record) {
	for _, b := range relations()[class] {
		if old.str(b.forward) == next.str(b.forward) {
			continue
		}
		t.editSet(b, old.str(b.forward), ref, without)
		t.addTo(b, next.str(b.forward), ref)
	}
}

// editSet changes one set, if the object that has it exists: a reference may
// dangle.
func (t tx) editSet(b backref, target, ref string, edit func([]string, string) []string) {
	r, ok := t.db.tables[b.to].rows[target]
	if !ok {
		return
	}
	_ = t.set(b.to, target, record{b.back: edit(r.record.set(b.back), ref)}) // it exists
}
