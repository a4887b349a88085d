package xapitest

import (
	"context"
	"slices"
	"strconv"
)

func (p *Pool) deviceMethods() map[string]*method {
	return map[string]*method{
		"VBD.create":  both("args:record", p.vbdCreate),
		"VBD.destroy": both("self:ref", p.vbdDestroy),
		"VBD.plug":    both("self:ref", p.vbdPlug),
		"VBD.unplug":  both("self:ref", p.vbdUnplug),
		"VIF.create":  both("args:record", p.vifCreate),
		"VIF.destroy": both("self:ref", func(_ context.Context, c *call) (any, error) { return nil, p.destroyObject("VIF", c.str(0)) }),
		"VM.get_allowed_VBD_devices": syncOnly("vm:ref", func(_ context.Context, c *call) (devices any, err error) {
			err = p.db.update(func(tx tx) error {
				devices, err = tx.freeDevices(c.str(0), "VBD", "VBDs", "userdevice", 16)
				return err
			})
			return devices, err
		}),
		"VM.get_allowed_VIF_devices": syncOnly("vm:ref", func(_ context.Context, c *call) (devices any, err error) {
			err = p.db.update(func(tx tx) error { devices, err = tx.freeDevices(c.str(0), "VIF", "VIFs", "device", 7); return err })
			return devices, err
		}),
	}
}

// deviceName is what the guest calls a disk: position 0 is xvda.
func deviceName(userdevice string) string {
	n, err := strconv.Atoi(userdevice)
	if err != nil || n < 0 || n > 25 {
		return ""
	}
	return "xvd" + string(rune('a'+n))
}

// freeDevices lists the positions that no device of the VM takes.
func (t tx) freeDevices(vm, class, back, field string, limit int) ([]string, error) {
	rec, err := t.record("VM", vm)
	if err != nil {
		return nil, err
	}
	var taken []string
	for _, ref := range rec.set(back) {
		if d, err := t.record(class, ref); err == nil {
			taken = append(taken, d.str(field))
		}
	}
	free := []string{}
	for i := range limit {
		if !slices.Contains(taken, itoa(i)) {
			free = append(free, itoa(i))
		}
	}
	return free, nil
}

// place checks the position of a new device, or finds one.
func (t tx) place(vm, class, back, field, wish string, limit int) (string, error) {
	free, err := t.freeDevices(vm, class, back, field, limit)
	if err != nil {
		return "", err
	}
	if wish == "" || wish == "autodetect" {
		if len(free) == 0 {
			return "", fail("INTERNAL_ERROR", "no free device")
		}
		return free[0], nil
	}
	if n, err := strconv.Atoi(wish); err != nil || n < 0 {
		return "", fail("INVALID_DEVICE", wish)
	}
	if !slices.Contains(free, wish) {
		return "", fail("DEVICE_ALREADY_EXISTS", wish)
	}
	return wish, nil
}

func (p *Pool) vbdCreate(_ context.Context, c *call) (any, error) {
	values, err := constructorFields("VBD", c.fields(), "VM VDI userdevice bootable mode type empty other_config qos_algorithm_type qos_algorithm_params")
	if err != nil {
		return nil, err
	}
	var ref string
	err = p.db.update(func(tx tx) error {
		if values.bool("empty") {
			if values.str("type") != "CD" {
				return fail("VBD_NOT_REMOVABLE_MEDIA", null)
			}
			values["VDI"] = null
		} else if _, err := tx.record("VDI", values.str("VDI")); err != nil {
			return err
		}
		device, err := tx.place(values.str("VM"), "VBD", "VBDs", "userdevice", values.str("userdevice"), 255)
		if err != nil {
			return err
		}
		values["userdevice"], values["device"], values["currently_attached"] = device, deviceName(device), false
		ref = tx.create("VBD", values)
		return nil
	})
	return ref, err
}

func (p *Pool) vbdDestroy(_ context.Context, c *call) (any, error) {
	return nil, p.db.update(func(tx tx) error {
		vbd, err := tx.record("VBD", c.str(0))
		if err != nil {
			return err
		}
		if vbd.bool("currently_attached") {
			return fail("OPERATION_NOT_ALLOWED", "VBD '"+vbd.str("uuid")+"' still attached to '"+vbd.str("VM")+"'")
		}
		return tx.destroy("VBD", c.str(0))
	})
}

// vbdPlug attaches a disk to a running VM.
func (p *Pool) vbdPlug(_ context.Context, c *call) (any, error) {
	return nil, p.db.update(func(tx tx) error {
		vbd, err := tx.record("VBD", c.str(0))
		if err != nil {
			return err
		}
		if vbd.bool("currently_attached") {
			return fail("DEVICE_ALREADY_ATTACHED", c.str(0))
		}
		if err := tx.power(vbd.str("VM"), "Running"); err != nil {
			return err
		}
		return tx.plug(c.str(0), vbd)
	})
}

// plug marks a VBD as attached if its disk can be.
func (t tx) plug(ref string, vbd record) error {
	if !vbd.bool("empty") && vbd.str("VDI") != null {
		if err := t.attachable(vbd.str("VDI"), vbd.str("mode"), "attach"); err != nil {
			return err
		}
	}
	return t.set("VBD", ref, record{"currently_attached": true})
}

func (p *Pool) vbdUnplug(_ context.Context, c *call) (any, error) {
	return nil, p.db.update(func(tx tx) error {
		vbd, err := tx.record("VBD", c.str(0))
		if err != nil {
			return err
		}
		if !vbd.bool("currently_attached") {
			return fail("DEVICE_ALREADY_DETACHED", c.str(0))
		}
		return tx.set("VBD", c.str(0), record{"currently_attached": false})
	})
}

func (p *Pool) vifCreate(_ context.Context, c *call) (any, error) {
	values, err := constructorFields("VIF", c.fields(), "device network VM MAC MTU other_config qos_algorithm_type qos_algorithm_params")
	if err != nil {
		return nil, err
	}
	var ref string
	err = p.db.update(func(tx tx) error {
		if _, err := tx.record("network", values.str("network")); err != nil {
			return err
		}
		device, err := tx.place(values.str("VM"), "VIF", "VIFs", "device", values.str("device"), 255)
		if err != nil {
			return err
		}
		values["device"], values["currently_attached"] = device, false
		if values.str("MAC") == "" {
			values["MAC"], values["MAC_autogenerated"] = newMAC(), true
		}
		ref = tx.create("VIF", values)
		return nil
	})
	return ref, err
}
