package restore

import (
	"context"
	"fmt"
	"slices"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xva"
)

// dressing makes an imported VM one that was restored: an archive gives it the name
// and the marks of the snapshot that was exported.
type dressing struct {
	pool Pool
	ref  xapi.Ref[xapi.VM]
	ova  *xva.OVA
	vm   *xapi.VM
}

// dress gives the VM its name, tags and addresses. original is the record of the VM
// that was backed up.
func (d *dressing) dress(ctx context.Context, p *catalog.Point, original record, opts *Options) (result *Result, err error) {
	if d.vm, err = xapi.Get(ctx, d.pool, d.ref); err != nil {
		return nil, fmt.Errorf("restore: the imported VM: %w", err)
	}
	result = &Result{VM: d.vm.UUID, Ref: d.ref, Disks: map[string]string{}}
	if err := d.disks(ctx, result); err != nil {
		return nil, fmt.Errorf("restore: the imported disks: %w", err)
	}
	if !opts.NewMACs && d.vm.PowerState == "Halted" {
		if err := d.addresses(ctx); err != nil {
			return nil, fmt.Errorf("restore: MAC addresses: %w", err)
		}
	}
	for _, key := range jobKeys() {
		if _, ok := d.vm.OtherConfig[key]; ok {
			if err := d.pool.Call(ctx, "VM.remove_from_other_config", nil, d.ref, key); err != nil {
				return nil, fmt.Errorf("restore: complete the VM: %w", err)
			}
		}
	}
	name, description := naming(p, original, opts)
	for _, c := range []struct {
		method string
		value  any
	}{
		{"VM.set_is_a_template", string(original["is_a_template"]) == "true"},
		{"VM.add_tags", restoredTag},
		{"VM.set_name_description", description},
		{"VM.set_name_label", name},
	} {
		if err := d.pool.Call(ctx, c.method, nil, d.ref, c.value); err != nil {
			return nil, fmt.Errorf("restore: complete the VM: %w", err)
		}
	}
	return result, nil
}

// disks takes the marks of backup jobs off the disks, and notes which is which.
func (d *dressing) disks(ctx context.Context, result *Result) error {
	exported := map[string]string{} // uuids by device
	for vbd := range d.ova.OfClass("VBD") {
		if vdi := d.ova.Object(vbd.Text("VDI")); vdi != nil && vbd.Text("type") != "CD" {
			exported[vbd.Text("userdevice")] = vdi.Text("uuid")
		}
	}
	disks, err := disksOf(ctx, d.pool, d.vm)
	if err != nil {
		return err
	}
	for _, at := range disks {
		vdi, err := xapi.Get(ctx, d.pool, at.ref)
		if err != nil {
			return err
		}
		if uuid := exported[at.device]; uuid != "" {
			result.Disks[uuid] = vdi.UUID
		}
		for _, key := range jobKeys() {
			if _, ok := vdi.OtherConfig[key]; !ok {
				continue
			}
			if err := d.pool.Call(ctx, "VDI.remove_from_other_config", nil, at.ref, key); err != nil {
				return err
			}
		}
	}
	return nil
}

// addresses gives the VM the MAC addresses of the archive, for which pools choose new
// ones. They cannot be changed: the interfaces are made anew.
func (d *dressing) addresses(ctx context.Context) error {
	macs := map[string]string{}
	for vif := range d.ova.OfClass("VIF") {
		macs[vif.Text("device")] = vif.Text("MAC")
	}
	for _, ref := range slices.Clone(d.vm.VIFs) {
		var vif record
		if err := d.pool.Call(ctx, "VIF.get_record", &vif, ref); err != nil {
			return err
		}
		mac := macs[vif.text("device")]
		if mac == "" || mac == vif.text("MAC") {
			continue
		}
		r := vif.pick("device", "network", "MTU", "ipv4_allowed", "ipv6_allowed", "locking_mode", "other_config", "qos_algorithm_type", "qos_algorithm_params")
		r.set("VM", d.ref)
		r.set("MAC", mac)
		if err := d.pool.Call(ctx, "VIF.destroy", nil, ref); err != nil {
			return err
		}
		if err := d.pool.Call(ctx, "VIF.create", nil, r); err != nil {
			return err
		}
	}
	return nil
}

// start starts the VM, or resumes it.
func (d *dressing) start(ctx context.Context) error {
	method := "VM.start"
	if d.vm.PowerState == "Suspended" {
		method = "VM.resume"
	}
	return d.pool.CallAsync(ctx, method, nil, d.ref, false, false)
}
