package xapitest

import (
	"context"
	"errors"
	"fmt"
)

// vmClone makes a VM of its own, with disks that share what they have in common,
// from a halted or suspended one.
func (p *Pool) vmClone(ctx context.Context, c *call) (any, error) {
	return p.vmDuplicate(ctx, c, "clone", func(vdi string) (string, error) { return p.duplicateDisk(vdi, false) })
}

// vmCopy makes one whose disks share nothing, on any repository.
func (p *Pool) vmCopy(ctx context.Context, c *call) (any, error) {
	return p.vmDuplicate(ctx, c, "copy", func(ref string) (string, error) { return p.fullCopy(ref, c.str(2)) })
}

func (p *Pool) vmDuplicate(ctx context.Context, c *call, operation string, one func(vdi string) (string, error)) (made any, err error) {
	err = p.during(ctx, c, "VM", c.str(0), operation, func() error {
		if err := p.db.update(func(tx tx) error { return tx.allowed(c.str(0), operation, "Halted", "Suspended") }); err != nil {
			return err
		}
		vm, err := p.db.record("VM", c.str(0))
		if err != nil {
			return err
		}
		image := null
		if vm.str("power_state") == "Suspended" && vm.str("suspend_VDI") != null {
			if image, err = one(vm.str("suspend_VDI")); err != nil {
				return err
			}
		}
		ref, err := p.duplicateWith(ctx, c.str(0), c.str(1), nil, false, one)
		made = ref
		switch {
		case image == null:
			return err
		case err != nil:
			return errors.Join(err, p.discard([]string{image}))
		}
		return p.db.set("VM", ref, record{"power_state": "Suspended", "suspend_VDI": image})
	})
	return made, err
}

// fullCopy copies a disk to a repository; null is that of the disk.
func (p *Pool) fullCopy(ref, sr string) (string, error) {
	if err := p.db.update(func(tx tx) error { return errors.Join(tx.hasData(ref), tx.attachable(ref, readOnly, "copy")) }); err != nil {
		return "", err
	}
	vdi, err := p.db.record("VDI", ref)
	if err != nil {
		return "", err
	}
	if sr == "" || sr == null {
		sr = vdi.str("SR")
	}
	need := p.disks.allocated(vdi.str("uuid"))
	if p.isThick(sr) {
		need = vdi.int("virtual_size")
	}
	if free := p.freeSpace(sr); free >= 0 && need > free {
		return "", fail("SR_FULL", fmt.Sprint(need), fmt.Sprint(free))
	}
	return p.copyDisk(vdi, ref, sr, false)
}

// vdiCopy copies a disk to a repository, or over another disk. With a base only
// what differs from it would have to be moved: the outcome is the same.
func (p *Pool) vdiCopy(ctx context.Context, c *call) (made any, err error) {
	into := c.str(3)
	err = p.during(ctx, c, "VDI", c.str(0), "copy", func() error {
		if into == "" || into == null {
			made, err = p.fullCopy(c.str(0), c.str(1))
			return err
		}
		made = into
		return p.copyInto(c.str(0), into)
	})
	return made, err
}

func (p *Pool) copyInto(from, into string) error {
	source, err := p.db.record("VDI", from)
	if err != nil {
		return err
	}
	target, err := p.db.record("VDI", into)
	if err != nil {
		return err
	}
	size := source.int("virtual_size")
	if target.int("virtual_size") < size {
		return fail("VDI_TOO_SMALL", into, fmt.Sprint(size))
	}
	detachSource, err := p.attach(readOnly, from)
	if err != nil {
		return err
	}
	defer detachSource()
	detachTarget, err := p.attach(readWrite, into)
	if err != nil {
		return err
	}
	defer detachTarget()
	err = p.disks.overwrite(target.str("uuid"), source.str("uuid"))
	p.accountDisk(into, target.str("uuid"))
	return err
}
