package restore

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/xenbackup/xenbackup/xapi"
)

// machineFields are the fields of a VM's record that make a VM like it. Fields
// that refer to objects of the pool it came from are not among them.
func machineFields() []string {
	return []string{
		"user_version", "memory_static_max", "memory_static_min", "memory_dynamic_max", "memory_dynamic_min",
		"VCPUs_params", "VCPUs_max", "VCPUs_at_startup", "actions_after_shutdown", "actions_after_reboot",
		"actions_after_crash", "PV_bootloader", "PV_kernel", "PV_ramdisk", "PV_args", "PV_bootloader_args",
		"PV_legacy_args", "HVM_boot_policy", "HVM_boot_params", "HVM_shadow_multiplier", "platform", "PCI_bus",
		"recommendations", "xenstore_data", "ha_restart_priority", "is_vmss_snapshot", "start_delay",
		"shutdown_delay", "order", "version", "generation_id", "hardware_platform_version", "has_vendor_device",
		"reference_label", "domain_type", "NVRAM",
	}
}

// importing keeps a VM that is not complete from being started.
const importing = "Importing…"

// migrationReason is the reason that a backup gives while it blocks migration.
// A record that was read meanwhile has it: it does not belong to the VM.
const migrationReason = "VM migration is blocked during backup"

// createVM makes the VM without devices, in a state other than halted if that says so.
func (m *making) createVM(ctx context.Context, vm, state record) error {
	r := vm.pick(machineFields()...)
	if string(r["HVM_shadow_multiplier"]) == "1" { // the default, which pools without it refuse
		delete(r, "HVM_shadow_multiplier")
	}
	for _, limit := range []string{"memory_dynamic_max", "memory_dynamic_min"} {
		if _, ok := r[limit]; !ok {
			r[limit] = r["memory_static_max"]
		}
	}
	config := withoutJobKeys(vm.dict("other_config"))
	if m.opts.NewMACs {
		delete(config, "mac_seed") // from which the pool would make the same addresses again
	}
	r.set("name_label", fmt.Sprintf("[%s] %s", importing, m.opts.Name))
	r.set("name_description", m.opts.Description)
	r.set("other_config", config)
	r.set("tags", append(vm.list("tags"), m.opts.Tags...))
	r.set("is_a_template", false)
	r.set("ha_always_run", false)
	for _, ref := range []string{"affinity", "appliance", "snapshot_schedule", "suspend_SR"} {
		r.set(ref, xapi.NullRef)
	}
	maps.Copy(r, state)
	if err := m.pool.CallAsync(ctx, "VM.create", &m.made.VM, r); err != nil {
		return fmt.Errorf("restore: create the VM: %w", err)
	}
	blocked := map[string]string{"start": importing, "start_on": importing}
	if err := m.pool.Call(ctx, "VM.set_blocked_operations", nil, m.made.VM, blocked); err != nil {
		return fmt.Errorf("restore: block the start of the VM: %w", err)
	}
	if bios := vm.dict("bios_strings"); len(bios) > 0 {
		if err := m.pool.Call(ctx, "VM.set_bios_strings", nil, m.made.VM, bios); err != nil {
			return fmt.Errorf("restore: BIOS strings: %w", err)
		}
	}
	return m.dropVBDs(ctx)
}

// dropVBDs destroys the VBDs that the pool may have made with the VM.
func (m *making) dropVBDs(ctx context.Context) error {
	var vbds []xapi.Ref[xapi.VBD]
	if err := m.pool.Call(ctx, "VM.get_VBDs", &vbds, m.made.VM); err != nil {
		return fmt.Errorf("restore: VBDs of the VM: %w", err)
	}
	for _, ref := range vbds {
		if err := m.pool.Call(ctx, "VBD.destroy", nil, ref); err != nil {
			return fmt.Errorf("restore: VBDs of the VM: %w", err)
		}
	}
	return nil
}

// createVTPMs makes the virtual TPMs. One whose content was not backed up comes
// empty: the VM had one.
func (m *making) createVTPMs(ctx context.Context) error {
	for _, content := range m.records.VTPMs {
		var ref xapi.Ref[xapi.VTPM]
		if err := m.pool.CallAsync(ctx, "VTPM.create", &ref, m.made.VM, false); err != nil {
			return fmt.Errorf("restore: VTPM: %w", err)
		}
		if content == nil {
			m.log.WarnContext(ctx, "virtual TPM restored without content")
			continue
		}
		if err := m.pool.Call(ctx, "VTPM.set_contents", nil, ref, *content); err != nil {
			return fmt.Errorf("restore: VTPM: %w", err)
		}
	}
	return nil
}

// finish gives the VM its name and lets it start.
func (m *making) finish(ctx context.Context, vm record) error {
	blocked := vm.dict("blocked_operations")
	maps.DeleteFunc(blocked, func(_, reason string) bool { return reason == migrationReason })
	calls := []struct {
		method string
		value  any
	}{
		{"VM.set_name_label", m.opts.Name},
		{"VM.set_blocked_operations", blocked},
	}
	if string(vm["ha_always_run"]) == "true" {
		calls = slices.Insert(calls, 0, struct {
			method string
			value  any
		}{"VM.set_ha_always_run", true})
	}
	for _, c := range calls {
		if err := m.pool.Call(ctx, c.method, nil, m.made.VM, c.value); err != nil {
			return fmt.Errorf("restore: complete the VM: %w", err)
		}
	}
	if err := m.pool.Call(ctx, "VM.get_uuid", &m.made.UUID, m.made.VM); err != nil {
		return fmt.Errorf("restore: complete the VM: %w", err)
	}
	return nil
}
