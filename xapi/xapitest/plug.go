package xapitest

import "context"

func (p *Pool) plugMethods() map[string]*method {
	attach := func(class string, plugged bool) runFunc {
		return func(_ context.Context, c *call) (any, error) {
			return nil, p.db.update(func(tx tx) error { return tx.attachDevice(class, c.str(0), plugged) })
		}
	}
	destroy := func(class string) runFunc {
		return func(_ context.Context, c *call) (any, error) { return nil, p.destroyObject(class, c.str(0)) }
	}
	return map[string]*method{
		"VIF.plug":     both("self:ref", attach("VIF", true)),
		"VIF.unplug":   both("self:ref", attach("VIF", false)),
		"PBD.plug":     both("self:ref", attach("PBD", true)),
		"PBD.unplug":   both("self:ref", p.pbdUnplug),
		"VBD.insert":   both("vbd:ref vdi:ref", p.vbdInsert),
		"VBD.eject":    both("vbd:ref", p.vbdEject),
		"VUSB.create":  both("VM:ref USB_group:ref other_config:map", p.vusbCreate),
		"VUSB.destroy": both("self:ref", destroy("VUSB")),
	}
}

// attachDevice plugs or unplugs an interface of a running VM, or the way of a
// host to a repository.
func (t tx) attachDevice(class, ref string, plugged bool) error {
	device, err := t.record(class, ref)
	if err != nil {
		return err
	}
	if device.bool("currently_attached") == plugged && class == "VIF" {
		return fail(map[bool]string{true: "DEVICE_ALREADY_ATTACHED", false: "DEVICE_ALREADY_DETACHED"}[plugged], ref)
	}
	if class == "VIF" {
		if err := t.power(device.str("VM"), "Running"); err != nil {
			return err
		}
	}
	return t.set(class, ref, record{"currently_attached": plugged})
}

// pbdUnplug refuses while a disk of the repository is in use.
func (p *Pool) pbdUnplug(_ context.Context, c *call) (any, error) {
	return nil, p.db.update(func(tx tx) error {
		pbd, err := tx.record("PBD", c.str(0))
		if err != nil {
			return err
		}
		sr, err := tx.record("SR", pbd.str("SR"))
		if err != nil {
			return err
		}
		for _, ref := range sr.set("VDIs") {
			if err := tx.attachable(ref, readWrite, "unplug"); err != nil {
				return err
			}
		}
		return tx.attachDevice("PBD", c.str(0), false)
	})
}

// drive returns a VBD with removable media.
func (t tx) drive(ref string) (record, error) {
	vbd, err := t.record("VBD", ref)
	if err == nil && vbd.str("type") != "CD" {
		return nil, fail("VBD_NOT_REMOVABLE_MEDIA", ref)
	}
	return vbd, err
}

func (p *Pool) vbdInsert(_ context.Context, c *call) (any, error) {
	return nil, p.db.update(func(tx tx) error {
		vbd, err := tx.drive(c.str(0))
		if err != nil {
			return err
		}
		if !vbd.bool("empty") {
			return fail("VBD_NOT_EMPTY", c.str(0))
		}
		if _, err := tx.record("VDI", c.str(1)); err != nil {
			return err
		}
		return tx.set("VBD", c.str(0), record{"empty": false, "VDI": c.str(1)})
	})
}

func (p *Pool) vbdEject(_ context.Context, c *call) (any, error) {
	return nil, p.db.update(func(tx tx) error {
		vbd, err := tx.drive(c.str(0))
		if err != nil {
			return err
		}
		if vbd.bool("empty") {
			return fail("VBD_IS_EMPTY", c.str(0))
		}
		return tx.set("VBD", c.str(0), record{"empty": true, "VDI": null})
	})
}

// vusbCreate gives a halted VM a USB device. The pool has no groups of them, so
// that any will do.
func (p *Pool) vusbCreate(_ context.Context, c *call) (ref any, err error) {
	err = p.db.update(func(tx tx) error {
		if err := tx.power(c.str(0), "Halted"); err != nil {
			return err
		}
		ref = tx.create("VUSB", record{"VM": c.str(0), "USB_group": c.str(1), "other_config": c.dict(2)})
		return nil
	})
	return ref, err
}
