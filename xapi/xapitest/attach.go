package xapitest

import (
	"errors"
	"slices"
)

// The modes in which a disk is attached.
const (
	readOnly  = "RO"
	readWrite = "RW"
)

// attach plugs disks into the control domain for a transfer, as a host does:
// the VBDs are there for everyone to see. A disk that is written elsewhere, or
// that is to be written and is attached at all, is VDI_IN_USE.
func (p *Pool) attach(mode string, refs ...string) (detach func(), err error) {
	var vbds []string
	err = p.db.update(func(tx tx) error {
		for _, ref := range refs {
			if err := errors.Join(tx.hasData(ref), tx.attachable(ref, mode, "attach")); err != nil {
				return err
			}
		}
		for _, ref := range slices.Compact(refs) {
			vbds = append(vbds, tx.create("VBD", record{
				"VM": p.controlDomain(tx), "VDI": ref, "mode": mode, "type": "Disk", "bootable": false,
				"unpluggable": true, "currently_attached": true, "userdevice": "autodetect",
			}))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return func() {
		_ = p.db.update(func(tx tx) error {
			for _, vbd := range vbds {
				_ = tx.destroy("VBD", vbd) // it exists unless someone else was faster
			}
			return nil
		})
	}, nil
}

// attachable fails with VDI_IN_USE when a disk cannot be attached in that mode
// beside the VBDs that have it plugged.
func (t tx) attachable(ref, mode, operation string) error {
	vdi, err := t.record("VDI", ref)
	if err != nil {
		return err
	}
	for _, vbd := range vdi.set("VBDs") {
		v, err := t.record("VBD", vbd)
		if err != nil || !v.bool("currently_attached") {
			continue
		}
		if mode == readWrite && !vdi.bool("sharable") || v.str("mode") == readWrite && !vdi.bool("sharable") {
			return fail("VDI_IN_USE", ref, operation)
		}
	}
	return nil
}

// controlDomain returns the VM of the master's dom0.
func (p *Pool) controlDomain(tx tx) string {
	host, err := tx.record("host", p.masterRef())
	if err != nil {
		return null
	}
	return host.str("control_domain")
}
