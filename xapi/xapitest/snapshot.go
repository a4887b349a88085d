package xapitest

import (
	"context"
	"errors"
	"maps"
	"slices"
)

// vmSnapshot freezes all disks of a VM but the ignored ones, and makes a VM
// record that describes it as it was.
func (p *Pool) vmSnapshot(ctx context.Context, c *call) (ref any, err error) {
	err = p.during(ctx, c, "VM", c.str(0), "snapshot", func() error {
		if err := p.db.update(func(tx tx) error {
			return tx.allowed(c.str(0), "snapshot", "Halted", "Running", "Paused", "Suspended")
		}); err != nil {
			return err
		}
		ref, err = p.duplicateVM(ctx, c.str(0), c.str(1), c.set(2), true)
		return err
	})
	return ref, err
}

// duplicateVM copies the disks first, then writes all records at once. When a
// disk fails, those copied before are removed again.
func (p *Pool) duplicateVM(ctx context.Context, ref, name string, ignore []string, snapshot bool) (string, error) {
	return p.duplicateWith(ctx, ref, name, ignore, snapshot, func(vdi string) (string, error) { return p.duplicateDisk(vdi, snapshot) })
}

// duplicateWith does so with disks that one makes of another.
func (p *Pool) duplicateWith(ctx context.Context, ref, name string, ignore []string, snapshot bool, one func(vdi string) (string, error)) (string, error) {
	disks, err := p.disksToCopy(ref, ignore, snapshot)
	if err != nil {
		return "", err
	}
	release, err := p.locks.lock(ctx, disks...)
	if err != nil {
		return "", err
	}
	defer release()
	copies := make(map[string]string, len(disks))
	for _, vdi := range disks {
		if err = context.Cause(ctx); err == nil {
			copies[vdi], err = one(vdi)
		}
		if err != nil {
			delete(copies, vdi)
			return "", errors.Join(err, p.discard(slices.Collect(maps.Values(copies))))
		}
	}
	var made string
	err = p.db.update(func(tx tx) (err error) {
		made, err = p.duplicateRecords(tx, ref, name, ignore, copies, snapshot)
		return err
	})
	if err != nil {
		return "", errors.Join(err, p.discard(slices.Collect(maps.Values(copies))))
	}
	return made, nil
}

// disksToCopy lists the disks of a VM that are neither ignored nor CDs.
func (p *Pool) disksToCopy(ref string, ignore []string, snapshot bool) (disks []string, err error) {
	err = p.db.update(func(tx tx) error {
		vm, err := tx.record("VM", ref)
		if err != nil {
			return err
		}
		for _, vbd := range vm.set("VBDs") {
			v, err := tx.record("VBD", vbd)
			if err != nil || v.str("type") != "Disk" || v.bool("empty") || slices.Contains(ignore, v.str("VDI")) {
				continue
			}
			vdi, err := tx.record("VDI", v.str("VDI"))
			if err != nil {
				return err
			}
			if snapshot && vdi.str("on_boot") == "reset" {
				return fail("VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION")
			}
			disks = append(disks, v.str("VDI"))
		}
		return nil
	})
	return disks, err
}

// discard removes disks that nothing uses yet.
func (p *Pool) discard(refs []string) error {
	var errs []error
	for _, ref := range refs {
		vdi, err := p.db.record("VDI", ref)
		if err == nil {
			err = errors.Join(p.destroyObject("VDI", ref), p.disks.forget(vdi.str("uuid")))
			p.coalesce(vdi.str("SR"))
			p.accountSR(vdi.str("SR"))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// duplicateRecords writes the new VM with its devices.
func (p *Pool) duplicateRecords(tx tx, ref, name string, ignore []string, copies map[string]string, snapshot bool) (string, error) {
	vm, err := tx.record("VM", ref)
	if err != nil {
		return "", err
	}
	made := tx.createVM(duplicateRecord(vm, ref, name, snapshot))
	p.copyDevices(tx, vm, made, ignore, copies, snapshot)
	if snapshot {
		err = tx.set("VM", ref, record{"parent": made})
	}
	return made, err
}

// copyDevices gives the VM called made the devices of another. Interfaces keep
// their addresses if keep says so.
func (p *Pool) copyDevices(tx tx, vm record, made string, ignore []string, copies map[string]string, keep bool) {
	for _, vbd := range vm.set("VBDs") {
		v, err := tx.record("VBD", vbd)
		if err != nil || slices.Contains(ignore, v.str("VDI")) {
			continue
		}
		next := copyDevice(v, made)
		if vdi, ok := copies[v.str("VDI")]; ok {
			next["VDI"] = vdi
		}
		tx.create("VBD", next)
	}
	for _, vif := range vm.set("VIFs") {
		v, err := tx.record("VIF", vif)
		if err != nil {
			continue
		}
		next := copyDevice(v, made)
		if !keep {
			next["MAC"] = newMAC()
		}
		tx.create("VIF", next)
	}
	for _, vtpm := range vm.set("VTPMs") {
		if v, err := tx.record("VTPM", vtpm); err == nil {
			p.copyContents(vtpm, tx.create("VTPM", copyDevice(v, made)))
		}
	}
}

// duplicateRecord is the record of the new VM: halted, without devices yet.
func duplicateRecord(vm record, ref, name string, snapshot bool) record {
	next := maps.Clone(vm)
	for _, f := range schema()["VM"].fields {
		switch f.name {
		case "uuid", "allowed_operations", "current_operations", "blocked_operations", "VBDs", "VIFs", "VTPMs", "VGPUs", "VUSBs",
			"consoles", "crash_dumps", "blobs", "children", "snapshots", "attached_PCIs", "resident_on", "guest_metrics",
			"is_default_template", "ha_always_run", "appliance", "suspend_VDI", "snapshot_of", "is_a_snapshot", "snapshot_time",
			"snapshot_info", "snapshot_metadata", "scheduled_to_be_resident_on":
			next[f.name] = f.zero
		}
	}
	next["name_label"], next["power_state"] = name, "Halted"
	if snapshot {
		next["snapshot_metadata"] = snapshotMetadata(vm)
		next["is_a_snapshot"], next["is_a_template"], next["snapshot_of"], next["snapshot_time"] = true, true, ref, now()
		next["snapshot_info"] = map[string]string{"power-state-at-snapshot": vm.str("power_state"), "disk-snapshot-type": "crash_consistent"}
		return next
	}
	next["parent"] = null
	next["other_config"] = put(vm.dict("other_config"), "mac_seed", newUUID())
	return next
}

// copyDevice is the record of a device for another VM.
func copyDevice(device record, vm string) record {
	next := maps.Clone(device)
	next["uuid"], next["VM"], next["currently_attached"] = "", vm, false
	if _, has := device["metrics"]; !has {
		delete(next, "currently_attached") // a VTPM is never attached
	}
	return next
}
