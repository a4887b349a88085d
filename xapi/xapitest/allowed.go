package xapitest

import (
	"slices"
	"sync"
)

// derive fills in what follows from the other fields of an object, before it is
// stored.
func (t tx) derive(class string, next record) {
	switch class {
	case "VM":
		next["allowed_operations"] = vmOperations(next)
	case "VDI":
		next["allowed_operations"] = t.vdiOperations(next)
	}
}

// operations lists what may be done with a VM in a power state, if nothing
// forbids it.
var operations = sync.OnceValue(func() map[string][]string {
	return map[string][]string{
		"Halted": {
			"changing_NVRAM", "changing_VCPUs", "changing_dynamic_range", "changing_memory_limits", "clone", "copy", "create_vtpm",
			"destroy", "export", "make_into_template", "migrate_send", "snapshot", "start", "start_on",
		},
		"Running":   {"checkpoint", "clean_reboot", "clean_shutdown", "hard_reboot", "hard_shutdown", "migrate_send", "pause", "pool_migrate", "snapshot", "suspend"},
		"Paused":    {"hard_reboot", "hard_shutdown", "snapshot", "unpause"},
		"Suspended": {"checkpoint", "clone", "copy", "destroy", "export", "hard_shutdown", "resume", "resume_on", "snapshot"},
	}
})

// vmOperations lists what may be done with a VM now.
func vmOperations(vm record) []string {
	busy := vm.dict("current_operations")
	shared := []string{"clone", "copy", "export"} // beside each other alone
	for _, op := range busy {
		if !slices.Contains(shared, op) {
			return []string{}
		}
	}
	all := operations()[vm.str("power_state")]
	if vm.bool("is_a_snapshot") {
		all = append(slices.Clip(slices.Clone(all)), "revert")
		slices.Sort(all)
	}
	forbidden := func(op string) bool {
		_, blocked := vm.dict("blocked_operations")[op]
		starts := op == "start" || op == "start_on" || op == "make_into_template"
		return blocked || vm.bool("is_control_domain") || vm.bool("is_a_template") && starts ||
			len(busy) > 0 && !slices.Contains(shared, op)
	}
	if !slices.ContainsFunc(all, forbidden) {
		return all // as most machines have it
	}
	return append([]string{}, slices.DeleteFunc(slices.Clone(all), forbidden)...)
}

// vdiOperations lists what may be done with a disk now.
func (t tx) vdiOperations(vdi record) []string {
	if len(vdi.dict("current_operations")) > 0 || !vdi.bool("managed") {
		return []string{}
	}
	if vdi.str("type") == "cbt_metadata" {
		return []string{"destroy", "forget", "list_changed_blocks"}
	}
	allowed := []string{"clone", "copy", "destroy", "forget", "resize", "snapshot", "update"}
	written := false
	attached := slices.ContainsFunc(vdi.set("VBDs"), func(vbd string) bool {
		v, err := t.record("VBD", vbd)
		plugged := err == nil && v.bool("currently_attached")
		written = written || plugged && v.str("mode") == readWrite
		return plugged
	})
	switch {
	case written:
		allowed = []string{"snapshot", "update"}
	case attached:
		allowed = []string{"clone", "copy", "snapshot", "update"}
	}
	if vdi.bool("is_a_snapshot") && vdi.bool("cbt_enabled") && !attached {
		allowed = append(allowed, "data_destroy", "list_changed_blocks")
	}
	if !vdi.bool("is_a_snapshot") {
		allowed = append(allowed, map[bool]string{false: "enable_cbt", true: "disable_cbt"}[vdi.bool("cbt_enabled")])
	}
	slices.Sort(allowed)
	return allowed
}

// touched recomputes the operations of the disk of a VBD that was plugged,
// unplugged or removed.
func (t tx) touched(class string, old, next record) {
	if class != "VBD" || old.bool("currently_attached") == next.bool("currently_attached") {
		return
	}
	for _, rec := range []record{old, next} {
		if vdi := rec.str("VDI"); vdi != "" && vdi != null {
			_ = t.set("VDI", vdi, record{}) // it may be gone
			return
		}
	}
}
