package xapitest

import "context"

func (p *Pool) powerMethods() map[string]*method {
	stop := func(operation, from, to string) runFunc {
		return func(ctx context.Context, c *call) (any, error) {
			return nil, p.changePower(ctx, c, operation, to, from, "Running")
		}
	}
	start := func(operation string, paused int) runFunc {
		return func(ctx context.Context, c *call) (any, error) {
			state := "Running"
			if c.bool(paused) {
				state = "Paused"
			}
			return nil, p.changePower(ctx, c, operation, state, "Halted")
		}
	}
	return map[string]*method{
		"VM.start":          both("vm:ref start_paused:bool force:bool", start("start", 1)),
		"VM.start_on":       both("vm:ref host:ref start_paused:bool force:bool", start("start_on", 2)),
		"VM.clean_shutdown": both("vm:ref", stop("clean_shutdown", "Running", "Halted")),
		"VM.shutdown":       both("vm:ref", stop("shutdown", "Paused", "Halted")),
		"VM.hard_shutdown": both("vm:ref", func(ctx context.Context, c *call) (any, error) {
			return nil, p.changePower(ctx, c, "hard_shutdown", "Halted", "Running", "Paused", "Suspended")
		}),
		"VM.clean_reboot": both("vm:ref", stop("clean_reboot", "Running", "Running")),
		"VM.hard_reboot":  both("vm:ref", stop("hard_reboot", "Paused", "Running")),
		"VM.pause":        both("vm:ref", stop("pause", "Running", "Paused")),
		"VM.unpause": both("vm:ref", func(ctx context.Context, c *call) (any, error) {
			return nil, p.changePower(ctx, c, "unpause", "Running", "Paused")
		}),
	}
}

// changePower takes a VM from one of the states to another, if neither its kind
// nor its user forbids it.
func (p *Pool) changePower(ctx context.Context, c *call, operation, to string, from ...string) error {
	ref := c.str(0)
	return p.during(ctx, c, "VM", ref, operation, func() error {
		image := null
		err := p.db.update(func(tx tx) error {
			vm, err := tx.record("VM", ref)
			if err != nil {
				return err
			}
			image = vm.str("suspend_VDI")
			if vm.bool("is_a_template") {
				return fail("VM_IS_TEMPLATE", ref, operation)
			}
			if err := tx.allowed(ref, operation, from...); err != nil {
				return err
			}
			return tx.enter(ref, to, p.masterRef())
		})
		if err != nil || image == null {
			return err
		}
		_ = p.db.set("VM", ref, record{"suspend_VDI": null}) // it may be gone
		return p.discard([]string{image})
	})
}

// enter changes the power state and, with it, whether the disks and interfaces
// are attached. A disk that cannot be attached leaves all as it was.
func (t tx) enter(ref, state, host string) error {
	vm, err := t.record("VM", ref)
	if err != nil {
		return err
	}
	live := state == "Running" || state == "Paused"
	for _, vbd := range vm.set("VBDs") {
		v, err := t.record("VBD", vbd)
		if err != nil || v.bool("currently_attached") || !live || v.bool("empty") {
			continue
		}
		if err := t.attachable(v.str("VDI"), v.str("mode"), "attach"); err != nil {
			return err
		}
	}
	for class, back := range map[string]string{"VBD": "VBDs", "VIF": "VIFs"} {
		for _, device := range vm.set(back) {
			_ = t.set(class, device, record{"currently_attached": live}) // it exists
		}
	}
	values := record{"power_state": state, "resident_on": null, "domid": int64(-1)}
	if live {
		values["resident_on"], values["domid"] = host, t.db.generation
		values["last_booted_record"] = "('struct' ('uuid' '" + vm.str("uuid") + "'))"
		values["last_boot_CPU_flags"] = map[string]string{"vendor": "GenuineIntel", "features": "178bfbff-f6fa3203-2c100800-00000121"}
		_ = t.set("VM_metrics", vm.str("metrics"), record{"start_time": now(), "last_updated": now()}) // it exists
	}
	return t.set("VM", ref, values)
}
