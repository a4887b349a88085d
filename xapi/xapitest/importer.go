package xapitest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/xenbackup/xenbackup/internal/xmlvalue"
	"github.com/xenbackup/xenbackup/xva"
)

// importer makes the objects of an archive.
type importer struct {
	pool     *Pool
	task     string
	sr       string            // for the disks
	restore  bool              // uuids and MACs are kept, an older machine is replaced
	force    bool              // what cannot be is left out
	metadata bool              // disks are looked for, not made
	mapped   map[string]string // uuids of disks to use instead of those of the archive

	ova  *xva.OVA
	made map[string]string // references by id in the archive
	vms  []string
	own  map[string][]string // references that undo removes, by class
}

// mandatory are the fields without which a host cannot read an object.
func mandatory() map[string]string {
	device := "status_code status_detail runtime_properties qos_algorithm_type qos_algorithm_params qos_supported_algorithms"
	return map[string]string{
		"VM":  requiredVM + " uuid resident_on domid domarch is_control_domain metrics guest_metrics",
		"VBD": "uuid VM VDI userdevice bootable mode type storage_lock empty other_config " + device,
		"VDI": "uuid SR virtual_size physical_utilisation type sharable read_only other_config storage_lock managed missing parent",
		"SR":  "uuid virtual_allocation physical_utilisation physical_size type content_type shared other_config",
		"VIF": "uuid device network VM MAC MTU other_config " + device, "network": "uuid other_config",
		"VM_metrics":       "uuid memory_actual VCPUs_number VCPUs_CPU VCPUs_params VCPUs_flags state start_time install_time last_updated",
		"VM_guest_metrics": "uuid os_version PV_drivers_version PV_drivers_up_to_date networks other last_updated",
	}
}

// check refuses an archive that this pool cannot import, before anything is
// made.
func (im *importer) check(ova *xva.OVA) error {
	var own xva.Version
	_ = im.pool.db.update(func(tx tx) error { // only reads
		own = tx.masterVersion()
		return nil
	})
	if v := ova.Version; v.XapiMajor > own.XapiMajor || v.XapiMajor == own.XapiMajor && v.XapiMinor > own.XapiMinor {
		return fail("IMPORT_INCOMPATIBLE_VERSION")
	}
	fields := mandatory()
	for _, object := range ova.Objects {
		for field := range strings.FieldsSeq(fields[object.Class]) {
			if _, ok := object.Snapshot[field]; !ok {
				return fail("IMPORT_ERROR_GENERIC", fmt.Sprintf("%s %s has no field %s", object.Class, object.ID, field))
			}
		}
	}
	for vm := range ova.OfClass("VM") {
		if err := im.checkVM(vm); err != nil {
			return err
		}
	}
	return nil
}

// checkVM refuses what a restored machine would collide with.
func (im *importer) checkVM(vm *xva.Object) error {
	values, err := decodeFields("VM", vm.Snapshot, func(f *field) bool { return f.name == "other_config" || f.name == "version" })
	if err != nil || !im.restore {
		return err
	}
	for ref, other := range im.pool.recordsWhere("VM", func(record) bool { return true }) {
		if other.str("uuid") == vm.Text("uuid") {
			if other.str("power_state") != "Halted" {
				return fail("VM_BAD_POWER_STATE", ref, "halted", strings.ToLower(other.str("power_state")))
			}
			if other.int("version") >= values.int("version") {
				return fail("VM_TO_IMPORT_IS_NOT_NEWER_VERSION", ref, fmt.Sprint(other.int("version")), fmt.Sprint(values.int("version")))
			}
		} else if seed := values.dict("other_config")["mac_seed"]; seed != "" && other.dict("other_config")["mac_seed"] == seed && !im.metadata {
			return fail("DUPLICATE_MAC_SEED", seed)
		}
	}
	return nil
}

// make makes all objects: disks first, then machines, networks and devices.
func (im *importer) make(ova *xva.OVA) error {
	im.ova = ova
	im.made, im.own = make(map[string]string), make(map[string][]string)
	for _, step := range []struct {
		class string
		make  func(*xva.Object) error
	}{
		{"SR", im.findSR},
		{"VDI", im.makeDisk},
		{"VM", im.makeVM},
		{"network", im.makeNetwork},
		{"VBD", im.makeVBD},
		{"VIF", im.makeVIF},
		{"VTPM", im.makeVTPM},
	} {
		for object := range ova.OfClass(step.class) {
			if err := step.make(object); err != nil {
				return err
			}
		}
	}
	return im.pool.db.update(func(tx tx) error {
		for _, vm := range im.vms {
			_ = tx.set("VM", vm, record{"current_operations": map[string]string{im.task: "import"}}) // it exists
			_ = tx.refreshVM(vm)
		}
		rec, err := tx.record("task", im.task)
		if err != nil {
			return err
		}
		return tx.set("task", im.task, record{"other_config": put(rec.dict("other_config"), "object_creation", "complete")})
	})
}

// create adds an object that undo would remove.
func (im *importer) create(class string, object *xva.Object, values record) string {
	var ref string
	_ = im.pool.db.update(func(tx tx) error { // creates, cannot fail
		if class == "VM" {
			ref = tx.createVM(values)
		} else {
			ref = tx.create(class, values)
		}
		return nil
	})
	im.made[object.ID] = ref
	im.own[class] = append(im.own[class], ref)
	return ref
}

// finish ends the import of the machines.
func (im *importer) finish() {
	_ = im.pool.db.update(func(tx tx) error {
		for _, vm := range im.vms {
			_ = tx.set("VM", vm, record{"current_operations": map[string]string{}}) // it may be gone
		}
		return nil
	})
}

// undo removes everything that was made.
func (im *importer) undo() {
	_ = im.pool.db.update(func(tx tx) error {
		for _, vm := range im.vms {
			if rec, err := tx.record("VM", vm); err == nil {
				_ = tx.destroy("VM_metrics", rec.str("metrics")) // it exists
			}
		}
		for _, class := range []string{"VBD", "VIF", "VTPM", "VM", "network"} {
			for _, ref := range im.own[class] {
				_ = tx.destroy(class, ref) // it may be gone
			}
		}
		return nil
	})
	_ = im.pool.discard(im.own["VDI"]) // what a user has removed meanwhile is gone
	if im.sr != "" {
		im.pool.accountSR(im.sr)
	}
}

// decodeFields reads the fields of a record that want says, in the types of the
// database. References are left out: they mean nothing outside the archive.
func decodeFields(class string, snapshot map[string]any, want func(f *field) bool) (record, error) {
	values := make(record)
	for _, f := range schema()[class].fields {
		given, ok := snapshot[f.name]
		if !ok || f.kind == kindRef || !want(f) {
			continue
		}
		v, ok := coerce(f.kind, plainValue(given))
		if !ok {
			return nil, fail("IMPORT_ERROR_GENERIC", fmt.Sprintf("%s has a field %s of another type", class, f.name))
		}
		values[f.name] = v
	}
	return values, nil
}

// chosenByClient says that a field may be given to create, or be set.
func chosenByClient(f *field) bool { return f.constructor }

// plainValue turns a value of XML-RPC into what coerce takes.
func plainValue(v any) any {
	switch v := v.(type) {
	case xmlvalue.DateTime:
		return string(v)
	case int64, float64:
		return fmt.Sprint(v)
	case []any:
		out := make([]any, 0, len(v))
		for _, element := range v {
			out = append(out, plainValue(element))
		}
		return out
	case map[string]any:
		out := maps.Clone(v)
		for key, member := range out {
			out[key] = plainValue(member)
		}
		return out
	default:
		return v
	}
}

// must returns the reference that an object's field leads to.
func (im *importer) must(object *xva.Object, field string) (string, error) {
	id := object.Text(field)
	if ref, ok := im.made[id]; ok {
		return ref, nil
	}
	return "", fail("IMPORT_ERROR_FAILED_TO_FIND_OBJECT", id)
}

// isListed says whether the archive holds the content of a disk.
func (im *importer) isListed(id string) (bool, error) {
	disks, err := im.ova.Disks()
	return slices.ContainsFunc(disks, func(d xva.Disk) bool { return d.ID == id }), err
}
