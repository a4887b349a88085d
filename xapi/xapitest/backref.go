package xapitest

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

// link enters a new object into the sets of those it names.
func (t tx) link(class, ref string, rec record) {
	for _, b := range backrefs() {
		if b.from == class {
			t.editSet(b, rec.str(b.forward), ref, with)
		}
	}
}

// unlink removes it from them.
func (t tx) unlink(class, ref string, rec record) {
	for _, b := range backrefs() {
		if b.from == class {
			t.editSet(b, rec.str(b.forward), ref, without)
		}
	}
}

// relink follows a change of the naming fields.
func (t tx) relink(class, ref string, old, next record) {
	for _, b := range backrefs() {
		if b.from != class || old.str(b.forward) == next.str(b.forward) {
			continue
		}
		t.editSet(b, old.str(b.forward), ref, without)
		t.editSet(b, next.str(b.forward), ref, with)
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
