package xapitest

import (
	"context"
	"maps"
	"slices"
	"strings"
)

// requiredVM are the fields without a default in VM.create.
const requiredVM = "user_version is_a_template affinity memory_static_max memory_dynamic_max memory_dynamic_min " +
	"memory_static_min VCPUs_params VCPUs_max VCPUs_at_startup actions_after_shutdown actions_after_reboot " +
	"actions_after_crash PV_bootloader PV_kernel PV_ramdisk PV_args PV_bootloader_args PV_legacy_args " +
	"HVM_boot_policy HVM_boot_params platform PCI_bus other_config recommendations"

func (p *Pool) vmMethods() map[string]*method {
	all := map[string]*method{
		"VM.create":   both("args:record", p.vmCreate),
		"VM.destroy":  both("self:ref", p.vmDestroy),
		"VM.snapshot": both("vm:ref new_name:string ignore_vdis:set?", p.vmSnapshot),
		"VM.clone":    both("vm:ref new_name:string", p.vmClone),
		"VM.copy":     both("vm:ref new_name:string sr:ref", p.vmCopy),
		"VM.revert":   both("snapshot:ref", p.vmRevert),
		"VM.snapshot_with_quiesce": both("vm:ref new_name:string", func(_ context.Context, c *call) (any, error) {
			if _, err := p.db.record("VM", c.str(0)); err != nil {
				return nil, err
			}
			return nil, fail("VM_SNAPSHOT_WITH_QUIESCE_NOT_SUPPORTED", c.str(0))
		}),
		"VM.provision": both("vm:ref", func(_ context.Context, c *call) (any, error) {
			_, err := p.db.record("VM", c.str(0)) // without disks in other_config there is nothing to do
			return nil, err
		}),
		"VM.set_bios_strings": both("self:ref value:map", p.vmSetBIOSStrings),
		"VM.update_allowed_operations": both("self:ref", func(_ context.Context, c *call) (any, error) {
			return nil, p.db.update(func(tx tx) error { return tx.refreshVM(c.str(0)) })
		}),
	}
	maps.Copy(all, p.suspendMethods())
	maps.Copy(all, p.migrateMethods())
	maps.Copy(all, p.plugMethods())
	return all
}

// createVM adds a VM with its metrics.
func (p *Pool) createVM(values record) (ref string) {
	_ = p.db.update(func(tx tx) error { // creates, cannot fail
		ref = tx.createVM(values)
		return nil
	})
	return ref
}

func (t tx) createVM(values record) string {
	domain := values.str("domain_type")
	if domain == "" {
		domain = "unspecified"
	}
	values["metrics"] = t.create("VM_metrics", record{
		"memory_actual": values.int("memory_static_max"), "VCPUs_number": values.int("VCPUs_at_startup"),
		"current_domain_type": domain, "hvm": domain == "hvm", "last_updated": now(), "install_time": now(),
	})
	values["domid"] = int64(-1)
	ref := t.create("VM", values)
	_ = t.refreshVM(ref) // it exists
	return ref
}

// vmCreate ignores what a client may not choose. A power state other than
// Suspended, with all that a suspended VM needs, means Halted.
func (p *Pool) vmCreate(_ context.Context, c *call) (any, error) {
	values, err := constructorFields("VM", c.fields(), requiredVM)
	if err != nil {
		return nil, err
	}
	delete(values, "blocked_operations")
	suspended := values.str("power_state") == "Suspended"
	complete := len(values.dict("last_boot_CPU_flags")) > 0 && values.str("last_booted_record") != "" &&
		!slices.Contains([]string{"", null}, values.str("suspend_VDI"))
	if !suspended {
		values["power_state"], values["suspend_VDI"] = "Halted", null
		delete(values, "last_booted_record")
		delete(values, "last_boot_CPU_flags")
	}
	if values["power_state"] = "Halted"; suspended && complete {
		values["power_state"] = "Suspended"
	}
	ref := p.createVM(values)
	if suspended && !complete {
		return nil, fail("VM_BAD_POWER_STATE", ref, "halted", "suspended")
	}
	return ref, nil
}

// vmDestroy removes a VM and its devices. Its disks stay.
func (p *Pool) vmDestroy(ctx context.Context, c *call) (any, error) {
	ref := c.str(0)
	return nil, p.during(ctx, c, "VM", ref, "destroy", func() error {
		return p.db.update(func(tx tx) error {
			if err := tx.allowed(ref, "destroy", "Halted", "Suspended"); err != nil {
				return err
			}
			vm, err := tx.record("VM", ref)
			if err != nil {
				return err
			}
			if vm.bool("is_control_domain") || vm.bool("is_default_template") {
				return fail("OPERATION_NOT_ALLOWED", "this VM cannot be destroyed")
			}
			for class, back := range map[string]string{"VBD": "VBDs", "VIF": "VIFs", "VTPM": "VTPMs", "VGPU": "VGPUs", "VUSB": "VUSBs"} {
				for _, device := range vm.set(back) {
					_ = tx.destroy(class, device) // it exists
				}
			}
			for _, child := range vm.set("children") {
				_ = tx.set("VM", child, record{"parent": vm["parent"]}) // it exists
			}
			_ = tx.destroy("VM_metrics", vm.str("metrics")) // an inventory's dom0 has none
			return tx.destroy("VM", ref)
		})
	})
}

func (p *Pool) vmSetBIOSStrings(_ context.Context, c *call) (any, error) {
	return nil, p.edit(schema()["VM"], c.str(0), func(vm record) (record, error) {
		if len(vm.dict("bios_strings")) > 0 {
			return nil, fail("VM_BIOS_STRINGS_ALREADY_SET")
		}
		return record{"bios_strings": c.dict(1)}, nil
	})
}

// power fails with VM_BAD_POWER_STATE unless the VM is in one of the states.
func (t tx) power(ref string, states ...string) error {
	vm, err := t.record("VM", ref)
	if err != nil {
		return err
	}
	actual := vm.str("power_state")
	if slices.Contains(states, actual) {
		return nil
	}
	return fail("VM_BAD_POWER_STATE", ref, strings.ToLower(strings.Join(states, ", ")), strings.ToLower(actual))
}

// allowed fails when a user has blocked the operation or the VM is in no state
// for it.
func (t tx) allowed(ref, operation string, states ...string) error {
	vm, err := t.record("VM", ref)
	if err != nil {
		return err
	}
	if reason, blocked := vm.dict("blocked_operations")[operation]; blocked {
		return fail("OPERATION_BLOCKED", ref, reason)
	}
	return t.power(ref, states...)
}

// refreshVM recomputes allowed_operations. They follow every change by
// themselves; a real pool can be late.
func (t tx) refreshVM(ref string) error { return t.set("VM", ref, record{}) }
