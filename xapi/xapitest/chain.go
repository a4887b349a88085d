package xapitest

import (
	"maps"
	"slices"
)

// keyParent is where storage drivers for VHDs say which VDI is the parent.
const keyParent = "vhd-parent"

// maxDepth is the number of VHDs in a chain at which the drivers refuse a
// further snapshot.
const maxDepth = 30

// chained says whether a repository keeps its disks as chains of VHDs, so that
// snapshots share what they have in common with their origin.
func chained(srType string) bool {
	return slices.Contains([]string{"ext", "nfs", "smb", "file", "xfs", "lvm", "lvmoiscsi", "lvmohba"}, srType)
}

// HoldCoalesce with true stops the storage from coalescing chains by itself, as
// when it is overloaded: hidden disks stay behind where snapshots were removed,
// and chains grow. [Pool.Coalesce] makes up for it, and so does false, for good.
//
// In a pool that is not held coalescing takes no time: the call that removes a
// snapshot returns when it is done.
func (p *Pool) HoldCoalesce(hold bool) {
	p.disks.mu.Lock()
	p.disks.held = hold
	p.disks.mu.Unlock()
	if !hold {
		p.Coalesce()
	}
}

// Coalesce merges on all repositories what can be merged, now.
func (p *Pool) Coalesce() {
	for ref := range p.recordsWhere("SR", func(record) bool { return true }) {
		_ = p.db.update(func(tx tx) error { tx.coalesce(ref); return nil })
		p.accountSR(ref)
	}
}

// coalesce does so on one repository, unless it is held.
func (p *Pool) coalesce(sr string) {
	p.disks.mu.Lock()
	held := p.disks.held
	p.disks.mu.Unlock()
	if !held {
		_ = p.db.update(func(tx tx) error { tx.coalesce(sr); return nil })
	}
}

// chainOf returns the ancestors of a disk, the nearest first.
func (t tx) chainOf(vdi record) (ancestors []string) {
	for uuid := vdi.dict("sm_config")[keyParent]; uuid != "" && len(ancestors) < 2*maxDepth; {
		ref, err := t.byUUID("VDI", uuid)
		if err != nil {
			break
		}
		ancestors = append(ancestors, ref)
		parent, _ := t.record("VDI", ref) // it exists
		uuid = parent.dict("sm_config")[keyParent]
	}
	return ancestors
}

// forkable fails when a disk's chain is too long for one more snapshot.
func (t tx) forkable(ref string) error {
	vdi, err := t.record("VDI", ref)
	if err != nil {
		return err
	}
	if !t.isChained(vdi) || len(t.chainOf(vdi))+1 < maxDepth {
		return nil
	}
	return fail("SR_BACKEND_FAILURE_109", "", "The snapshot chain is too long", "")
}

func (t tx) isChained(vdi record) bool {
	sr, err := t.record("SR", vdi.str("SR"))
	return err == nil && chained(sr.str("type"))
}

// fork makes origin and its new copy children of a hidden disk that holds what
// they share. What nobody has written since it was forked shares its parent.
func (t tx) fork(origin, made string, own int64) {
	vdi, err := t.record("VDI", origin)
	if err != nil || !t.isChained(vdi) {
		return
	}
	parent := vdi.dict("sm_config")[keyParent]
	if parent == "" || !vdi.bool("is_a_snapshot") {
		config := map[string]string{"image-format": "vhd"}
		if parent != "" {
			config[keyParent] = parent
		}
		parent = newUUID()
		t.create("VDI", record{
			"uuid": parent, "location": parent, "name_label": "base copy", "SR": vdi["SR"], "virtual_size": vdi["virtual_size"],
			"physical_utilisation": own, "type": "user", "read_only": true, "managed": false, "sm_config": config,
		})
		_ = t.set("VDI", origin, record{"sm_config": put(vdi.dict("sm_config"), keyParent, parent)}) // it exists
	}
	copied, err := t.record("VDI", made)
	if err == nil {
		_ = t.set("VDI", made, record{"sm_config": put(copied.dict("sm_config"), keyParent, parent), "physical_utilisation": int64(0)}) // it exists
	}
}

// coalesce merges hidden disks into their parents where nothing else needs the
// parent as it is, and removes those that nothing needs at all.
func (t tx) coalesce(sr string) {
	rec, err := t.record("SR", sr)
	if err != nil {
		return
	}
	children := make(map[string][]string) // refs, by the parent's uuid
	hidden := make(map[string]record)     // by ref
	for _, ref := range rec.set("VDIs") {
		vdi, err := t.record("VDI", ref)
		if err != nil {
			continue
		}
		if parent := vdi.dict("sm_config")[keyParent]; parent != "" {
			children[parent] = append(children[parent], ref)
		}
		if !vdi.bool("managed") {
			hidden[ref] = vdi
		}
	}
	for len(hidden) > 0 {
		ref, found := mergeable(hidden, children)
		if !found {
			return
		}
		t.merge(ref, hidden, children)
	}
}

// mergeable finds a hidden disk with at most one child, the first by uuid.
func mergeable(hidden map[string]record, children map[string][]string) (string, bool) {
	for _, ref := range slices.Sorted(maps.Keys(hidden)) {
		if len(children[hidden[ref].str("uuid")]) < 2 {
			return ref, true
		}
	}
	return "", false
}

// merge removes a hidden disk that has at most one child. A leaf takes its place
// in the chain, a hidden child is merged into it.
func (t tx) merge(ref string, hidden map[string]record, children map[string][]string) {
	gone := hidden[ref]
	uuid := gone.str("uuid")
	if below := children[uuid]; len(below) == 1 && hidden[below[0]] != nil {
		t.absorb(ref, below[0], hidden, children)
		return
	}
	parent := gone.dict("sm_config")[keyParent]
	above := without(children[parent], ref)
	for _, child := range children[uuid] {
		t.adopt(child, parent)
		above = append(above, child)
	}
	delete(hidden, ref)
	delete(children, uuid)
	children[parent] = above
	_ = t.destroy("VDI", ref) // it exists
}

// absorb merges a hidden disk into its hidden parent.
func (t tx) absorb(ref, child string, hidden map[string]record, children map[string][]string) {
	parent, gone := hidden[ref], hidden[child]
	uuid := parent.str("uuid")
	for _, below := range children[gone.str("uuid")] {
		t.adopt(below, uuid)
		if hidden[below] != nil {
			hidden[below], _ = t.record("VDI", below) // it exists
		}
	}
	children[uuid] = children[gone.str("uuid")]
	delete(children, gone.str("uuid"))
	delete(hidden, child)
	size := max(parent.int("virtual_size"), gone.int("virtual_size"))
	used := min(size, parent.int("physical_utilisation")+gone.int("physical_utilisation"))
	_ = t.set("VDI", ref, record{"virtual_size": size, "physical_utilisation": used}) // it exists
	hidden[ref], _ = t.record("VDI", ref)
	_ = t.destroy("VDI", child) // it exists
}

// adopt makes a disk the child of another, or of none.
func (t tx) adopt(child, parent string) {
	vdi, err := t.record("VDI", child)
	if err != nil {
		return
	}
	config := drop(vdi.dict("sm_config"), keyParent)
	if parent != "" {
		config[keyParent] = parent
	}
	_ = t.set("VDI", child, record{"sm_config": config}) // it exists
}
