package xapitest

import (
	"context"
	"errors"
	"maps"
	"slices"
)

// vmRevert makes a VM what it was when the snapshot was made: devices and fields
// are those of the snapshot, disks are fresh clones of its disks. A VM that is
// gone is made anew, with the uuid and the name that it had.
func (p *Pool) vmRevert(ctx context.Context, c *call) (any, error) {
	snapshot, err := p.db.record("VM", c.str(0))
	if err != nil {
		return nil, err
	}
	if !snapshot.bool("is_a_snapshot") {
		return nil, fail("OPERATION_NOT_ALLOWED", "VM is not a snapshot: "+c.str(0))
	}
	ref := snapshot.str("snapshot_of")
	if _, err := p.db.record("VM", ref); err != nil {
		if ref, err = p.recreate(c.str(0), ref); err != nil {
			return nil, err
		}
	}
	return nil, p.during(ctx, c, "VM", ref, "revert", func() error {
		if err := p.db.update(func(tx tx) error {
			return tx.allowed(ref, "revert", "Halted", "Running", "Paused", "Suspended")
		}); err != nil {
			return err
		}
		return p.revert(ctx, ref, c.str(0))
	})
}

// snapshotMetadata is what a snapshot tells of its VM.
func snapshotMetadata(vm record) string {
	return "('struct' (" + quoted([]string{"uuid", vm.str("uuid")}) + ") (" + quoted([]string{"name_label", vm.str("name_label")}) + "))"
}

// recreate makes the VM again from which a snapshot was made. All snapshots of
// the one that is gone are the new one's.
func (p *Pool) recreate(snapshot, gone string) (ref string, err error) {
	err = p.db.update(func(tx tx) error {
		from, err := tx.record("VM", snapshot)
		if err != nil {
			return err
		}
		told := append(words(from.str("snapshot_metadata")), "", "", "", "", "") // a foreign archive may tell nothing
		values := duplicateRecord(from, snapshot, told[4], false)
		values["is_a_template"], values["snapshot_metadata"], values["uuid"] = false, "", told[2]
		if _, err := tx.byUUID("VM", told[2]); err == nil {
			values["uuid"] = ""
		}
		ref = tx.createVM(values)
		for _, other := range tx.inOrder("VM") {
			if other.record.str("snapshot_of") == gone {
				_ = tx.set("VM", other.ref, record{"snapshot_of": ref}) // it exists
			}
		}
		return nil
	})
	return ref, err
}

func (p *Pool) revert(ctx context.Context, ref, from string) error {
	disks, err := p.disksToCopy(from, nil, false)
	if err != nil {
		return err
	}
	snapshot, err := p.db.record("VM", from)
	if err != nil {
		return err
	}
	image := snapshot.str("suspend_VDI")
	if image != null {
		disks = append(disks, image)
	}
	release, err := p.locks.lock(ctx, disks...)
	if err != nil {
		return err
	}
	defer release()
	copies := make(map[string]string, len(disks))
	for _, vdi := range disks {
		made, err := p.duplicateDisk(vdi, false)
		if err != nil {
			return errors.Join(err, p.discard(slices.Collect(maps.Values(copies))))
		}
		copies[vdi] = made
	}
	var old []string
	err = p.db.update(func(tx tx) (err error) {
		old, err = p.exchange(tx, ref, from, copies)
		return err
	})
	if err != nil {
		return errors.Join(err, p.discard(slices.Collect(maps.Values(copies))))
	}
	return p.discard(old)
}

// exchange gives a VM the devices and fields of its snapshot, and returns the
// disks that it had.
func (p *Pool) exchange(tx tx, ref, from string, copies map[string]string) (old []string, err error) {
	snapshot, err := tx.record("VM", from)
	if err != nil {
		return nil, err
	}
	if err := tx.enter(ref, "Halted", null); err != nil {
		return nil, err
	}
	vm, err := tx.record("VM", ref)
	if err != nil {
		return nil, err
	}
	if image := vm.str("suspend_VDI"); image != null {
		old = append(old, image)
	}
	for class, back := range map[string]string{"VBD": "VBDs", "VIF": "VIFs", "VTPM": "VTPMs"} {
		for _, device := range vm.set(back) {
			if d, err := tx.record(class, device); err == nil && class == "VBD" && d.str("type") == "Disk" {
				old = append(old, d.str("VDI"))
			}
			_ = tx.destroy(class, device) // it exists
		}
	}
	values := maps.Clone(snapshot)
	for _, f := range schema()["VM"].fields {
		if !f.constructor || slices.Contains([]string{"uuid", "name_label", "is_a_template", "power_state", "suspend_VDI", "blocked_operations"}, f.name) {
			delete(values, f.name)
		}
	}
	values["power_state"], values["suspend_VDI"], values["parent"] = "Halted", null, from
	if made, ok := copies[snapshot.str("suspend_VDI")]; ok {
		values["power_state"], values["suspend_VDI"] = "Suspended", made
	}
	if err := tx.set("VM", ref, values); err != nil {
		return nil, err
	}
	p.copyDevices(tx, snapshot, ref, nil, copies, true)
	tx.inherit(copies)
	return slices.DeleteFunc(old, func(vdi string) bool { return vdi == null || vdi == "" }), nil
}

// inherit makes the snapshots of the disks that were replaced those of the disks
// that replace them.
func (t tx) inherit(copies map[string]string) {
	for source, made := range copies {
		vdi, err := t.record("VDI", source)
		if err != nil {
			continue
		}
		origin := vdi.str("snapshot_of")
		for ref, other := range t.all("VDI") {
			if origin != null && other.str("snapshot_of") == origin {
				_ = t.set("VDI", ref, record{"snapshot_of": made}) // it exists
			}
		}
	}
}
