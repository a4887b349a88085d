package xapitest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// vmClone makes a VM of its own, with disks that share what they have in common,
// from a halted or suspended one.
func (p *Pool) vmClone(ctx context.Context, c *call) (any, error) {
	return p.vmDuplicate(ctx, c, "clone", func(vdi string) (string, error) { return p.duplicateDisk(vdi, false) })
}

// vmCopy makes one whose disks share nothing, on any repository.
func (p *Pool) vmCopy(ctx context.Context, c *call) (any, error) {
	return p.vmDuplicate(ctx, c, "copy", func(ref string) (string, error) { return p.fullCopy(ref, c.str(2)) })
}

func (p *Pool) vmDuplicate(ctx context.Context, c *call, operation string, one func(vdi string) (string, error)) (made any, err error) {
	err = p.during(ctx, c, "VM", c.str(0), operation, func() error {
		if err := p.db.update(func(tx tx) error { return tx.allowed(c.str(0), operation, "Halted", "Suspended") }); err != nil {
			return err
		}
		vm, err := p.db.record("VM", c.str(0))
		if err != nil {
			return err
		}
		image := null
		if vm.str("power_state") == "Suspended" && vm.str("suspend_VDI") != null {
			if image, err = one(vm.str("suspend_VDI")); err != nil {
				return err
			}
		}
		ref, err := p.duplicateWith(ctx, c.str(0), c.str(1), nil, false, one)
		made = ref
		switch {
		case image == null:
			return err
		case err != nil:
			return errors.Join(err, p.discard([]string{image}))
		}
		return p.db.set("VM", ref, record{"power_state": "Suspended", "suspend_VDI": image})
	})
	return made, err
}

// fullCopy copies a disk to a repository; null is that of the disk.
func (p *Pool) fullCopy(ref, sr string) (string, error) {
	if err := p.db.update(func(tx tx) error { return errors.Join(tx.hasData(ref), tx.attachable(ref, readOnly, "copy")) }); err != nil {
		return "", err
	}
	vdi, err := p.db.record("VDI", ref)
	if err != nil {
		return "", err
	}
	if sr == "" || sr == null {
		sr = vdi.str("SR")
	}
	need := p.disks.allocated(vdi.str("uuid"))
	if p.isThick(sr) {
		need = vdi.int("virtual_size")
	}
	if free := p.freeSpace(sr); free >= 0 && need > free {
		return "", fail("SR_FULL", fmt.Sprint(need), fmt.Sprint(free))
	}
	return p.copyDisk(vdi, ref, sr, false)
}

// vdiCopy copies a disk to a repository, or over another disk. With a base only
// what differs from it would have to be moved: the outcome is the same.
func (p *Pool) vdiCopy(ctx context.Context, c *call) (made any, err error) {
	into := c.str(3)
	err = p.during(ctx, c, "VDI", c.str(0), "copy", func() error {
		if into == "" || into == null {
			made, err = p.fullCopy(c.str(0), c.str(1))
			return err
		}
		made = into
		return p.copyInto(c.str(0), into)
	})
	return made, err
}

func (p *Pool) copyInto(from, into string) error {
	source, err := p.db.record("VDI", from)
	if err != nil {
		return err
	}
	target, err := p.db.record("VDI", into)
	if err != nil {
		return err
	}
	size := source.int("virtual_size")
	if target.int("virtual_size") < size {
		return fail("VDI_TOO_SMALL", into, fmt.Sprint(size))
	}
	detachSource, err := p.attach(readOnly, from)
	if err != nil {
		return err
	}
	defer detachSource()
	detachTarget, err := p.attach(readWrite, into)
	if err != nil {
		return err
	}
	defer detachTarget()
	err = p.disks.overwrite(target.str("uuid"), source.str("uuid"))
	p.accountDisk(into, target.str("uuid"))
	return err
}

// vmRevert makes a VM what it was when the snapshot was made: devices and fields
// are those of the snapshot, disks are fresh clones of its disks.
func (p *Pool) vmRevert(ctx context.Context, c *call) (any, error) {
	snapshot, err := p.db.record("VM", c.str(0))
	if err != nil {
		return nil, err
	}
	if !snapshot.bool("is_a_snapshot") {
		return nil, fail("OPERATION_NOT_ALLOWED", "VM is not a snapshot: "+c.str(0))
	}
	ref := snapshot.str("snapshot_of")
	return nil, p.during(ctx, c, "VM", ref, "revert", func() error {
		if err := p.db.update(func(tx tx) error {
			return tx.allowed(ref, "revert", "Halted", "Running", "Paused", "Suspended")
		}); err != nil {
			return err
		}
		return p.revert(ctx, ref, c.str(0))
	})
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
