package xapitest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/xenbackup/xenbackup/xva"
)

// findSR finds the repository of disks that are not in the archive.
func (im *importer) findSR(sr *xva.Object) error {
	if ref, err := im.pool.refByUUID("SR", sr.Text("uuid")); err == nil {
		im.made[sr.ID] = ref
	}
	return nil
}

// makeDisk makes a disk for content that will follow, or finds one that is
// there: all disks of an import of metadata, and ISO images.
func (im *importer) makeDisk(vdi *xva.Object) error {
	listed, err := im.isListed(vdi.ID)
	if err != nil {
		return fail("IMPORT_ERROR_GENERIC", err.Error())
	}
	if im.metadata || !listed {
		uuid := vdi.Text("uuid")
		if ref, err := im.pool.refByUUID("VDI", cmp.Or(im.mapped[uuid], uuid)); err == nil {
			im.made[vdi.ID] = ref
		} else if listed && !im.force {
			return fail("VDI_LOCATION_MISSING", im.made[vdi.Text("SR")], vdi.Text("location"))
		}
		return nil
	}
	values, err := decodeFields("VDI", vdi.Snapshot, chosenByClient)
	if err != nil {
		return err
	}
	ref, err := im.pool.createDisk(im.sr, values.int("virtual_size"), values)
	if err != nil {
		return err
	}
	im.made[vdi.ID] = ref
	im.own["VDI"] = append(im.own["VDI"], ref)
	return nil
}

// makeVM makes a machine without devices. A control domain is the one that is
// there.
func (im *importer) makeVM(vm *xva.Object) error {
	if control, _ := vm.Snapshot["is_control_domain"].(bool); control {
		if ref, err := im.pool.refByUUID("VM", vm.Text("uuid")); err == nil {
			im.made[vm.ID] = ref
		}
		return nil
	}
	values, err := decodeFields("VM", vm.Snapshot, func(f *field) bool { return chosenByClient(f) || f.name == "bios_strings" })
	if err != nil {
		return err
	}
	delete(values, "blocked_operations")
	values["is_default_template"] = false
	if template, _ := vm.Snapshot["is_a_template"].(bool); !template && values.str("generation_id") != "" {
		values["generation_id"] = fmt.Sprintf("%d:%d", rand.Int64(), rand.Int64())
	}
	if err := im.suspend(vm, values); err != nil {
		return err
	}
	config := put(values.dict("other_config"), "import_task", im.task)
	if im.restore {
		values["uuid"], values["version"] = vm.Text("uuid"), values.int("version")+1
		im.replace(vm.Text("uuid"))
	} else {
		config["mac_seed"] = newUUID()
	}
	values["other_config"] = config
	im.vms = append(im.vms, im.create("VM", vm, values))
	return nil
}

// suspend takes over the memory image of a suspended machine; all others are
// halted.
func (im *importer) suspend(vm *xva.Object, values record) error {
	if vm.Text("power_state") != "Suspended" {
		values["power_state"], values["last_booted_record"], values["last_boot_CPU_flags"] = "Halted", "", map[string]string{}
		return nil
	}
	image, err := im.must(vm, "suspend_VDI")
	if err != nil && !im.force {
		return err
	}
	values["suspend_VDI"] = cmp.Or(image, null)
	if values["power_state"] = "Suspended"; err != nil {
		values["power_state"] = "Halted"
	}
	return nil
}

// replace removes the older machine that a restored one stands for. Its disks
// stay, as those of every machine that is destroyed.
func (im *importer) replace(uuid string) {
	_ = im.pool.db.update(func(tx tx) error {
		ref, err := tx.byUUID("VM", uuid)
		if err != nil {
			return err
		}
		vm, err := tx.record("VM", ref)
		if err != nil {
			return err
		}
		for class, back := range map[string]string{"VBD": "VBDs", "VIF": "VIFs", "VTPM": "VTPMs"} {
			for _, device := range vm.set(back) {
				_ = tx.destroy(class, device) // it exists
			}
		}
		_ = tx.destroy("VM_metrics", vm.str("metrics")) // it exists
		return tx.destroy("VM", ref)
	})
}

// makeNetwork finds a network by its name, then by its bridge, or makes it.
func (im *importer) makeNetwork(network *xva.Object) error {
	for _, name := range []string{"name_label", "bridge"} {
		want := network.Text(name)
		refs := im.pool.refsWhere("network", func(r record) bool { return want != "" && r.str(name) == want })
		if len(refs) > 0 {
			im.made[network.ID] = refs[0]
			return nil
		}
	}
	values, err := decodeFields("network", network.Snapshot, func(f *field) bool { return f.writable && f.name != "purpose" })
	if err != nil {
		return err
	}
	values["bridge"], values["managed"] = "xapi"+strings.TrimPrefix(network.ID, "Ref:"), true
	im.create("network", network, values)
	return nil
}

// makeVBD plugs a disk into its machine. A CD drive is emptied when its image is
// not here.
func (im *importer) makeVBD(vbd *xva.Object) error {
	if im.known(vbd, "VM") {
		return nil
	}
	vm, err := im.must(vbd, "VM")
	if err != nil {
		return err
	}
	values, err := decodeFields("VBD", vbd.Snapshot, chosenByClient)
	if err != nil {
		return err
	}
	values["VM"], values["currently_attached"] = vm, false
	vdi, found := im.made[vbd.Text("VDI")]
	switch {
	case found:
		values["VDI"] = vdi
	case vbd.Text("type") == "CD":
		values["VDI"], values["empty"] = null, true
	case im.force:
		return nil
	default:
		return fail("IMPORT_ERROR_ATTACHED_DISKS_NOT_FOUND")
	}
	im.create("VBD", vbd, values)
	return nil
}

// known says that a device belongs to a machine that was there before.
func (im *importer) known(device *xva.Object, field string) bool {
	object := im.ova.Object(device.Text(field))
	if object == nil {
		return false
	}
	control, _ := object.Snapshot["is_control_domain"].(bool)
	return control
}

// makeVIF plugs an interface in, with a MAC of its own unless it is restored.
func (im *importer) makeVIF(vif *xva.Object) error {
	if im.known(vif, "VM") {
		return nil
	}
	vm, err := im.must(vif, "VM")
	if err != nil {
		return err
	}
	network, err := im.must(vif, "network")
	if err != nil {
		return err
	}
	values, err := decodeFields("VIF", vif.Snapshot, func(f *field) bool { return chosenByClient(f) || f.name == "MAC_autogenerated" })
	if err != nil {
		return err
	}
	values["VM"], values["network"], values["currently_attached"] = vm, network, false
	if !im.restore {
		values["MAC"], values["MAC_autogenerated"] = newMAC(), true
	}
	im.create("VIF", vif, values)
	return nil
}

// makeVTPM gives the machine its TPM, with what it holds.
func (im *importer) makeVTPM(vtpm *xva.Object) error {
	vm, err := im.must(vtpm, "vTPM'_VM")
	if err != nil {
		return err
	}
	unique, _ := vtpm.Snapshot["vTPM'_is_unique"].(bool)
	ref := im.create("VTPM", vtpm, record{"VM": vm, "is_unique": unique})
	im.pool.mu.Lock()
	defer im.pool.mu.Unlock()
	im.pool.vtpms[ref] = vtpm.Text("vTPM'_content")
	return nil
}
