package xapitest

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

func (p *Pool) migrateMethods() map[string]*method {
	return map[string]*method{
		"VM.pool_migrate":  both("vm:ref host:ref options:map", p.vmPoolMigrate),
		"VDI.pool_migrate": both("vdi:ref sr:ref options:map", p.vdiPoolMigrate),
		"VDI.revert":       both("snapshot:ref", p.vdiRevert),
		"VDI.forget":       both("vdi:ref", p.vdiForget),
		"VDI.update": both("vdi:ref", func(_ context.Context, c *call) (any, error) {
			vdi, err := p.db.record("VDI", c.str(0))
			if err == nil {
				p.accountDisk(c.str(0), vdi.str("uuid"))
			}
			return nil, err
		}),
	}
}

// vmPoolMigrate moves a running VM to another host that sees its disks.
func (p *Pool) vmPoolMigrate(ctx context.Context, c *call) (any, error) {
	ref, host := c.str(0), c.str(1)
	return nil, p.during(ctx, c, "VM", ref, "pool_migrate", func() error {
		if _, err := p.db.record("host", host); err != nil {
			return err
		}
		for _, sr := range p.repositories(map[string][]string{"ref": {ref}}) {
			if !p.sees(host, []string{sr}) {
				return fail("VM_REQUIRES_SR", ref, sr)
			}
		}
		return p.db.update(func(tx tx) error {
			if err := tx.allowed(ref, "pool_migrate", "Running"); err != nil {
				return err
			}
			return tx.set("VM", ref, record{"resident_on": host})
		})
	})
}

// vdiPoolMigrate moves a disk to another repository. Its snapshots stay where
// they are, and changes cannot be tracked on the way.
func (p *Pool) vdiPoolMigrate(ctx context.Context, c *call) (any, error) {
	ref, sr := c.str(0), c.str(1)
	err := p.during(ctx, c, "VDI", ref, "mirror", func() error {
		if err := p.db.update(func(tx tx) error { return tx.hasData(ref) }); err != nil {
			return err
		}
		vdi, err := p.db.record("VDI", ref)
		if err != nil {
			return err
		}
		if vdi.bool("cbt_enabled") {
			return fail("VDI_CBT_ENABLED", ref)
		}
		target, err := p.db.record("SR", sr)
		if err != nil {
			return err
		}
		if target.str("content_type") == "iso" {
			return fail("SR_OPERATION_NOT_SUPPORTED", sr)
		}
		need := p.disks.allocated(vdi.str("uuid"))
		if p.isThick(sr) {
			need = vdi.int("virtual_size")
		}
		if free := p.freeSpace(sr); free >= 0 && need > free && sr != vdi.str("SR") {
			return fail("SR_FULL", fmt.Sprint(need), fmt.Sprint(free))
		}
		err = p.db.set("VDI", ref, record{"SR": sr, "sm_config": drop(vdi.dict("sm_config"), keyParent)})
		p.coalesce(vdi.str("SR"))
		p.accountSR(vdi.str("SR"))
		p.accountDisk(ref, vdi.str("uuid"))
		return err
	})
	return ref, err
}

// vdiRevert gives the disk from which a snapshot was made the content of the
// snapshot.
func (p *Pool) vdiRevert(ctx context.Context, c *call) (any, error) {
	snapshot, err := p.db.record("VDI", c.str(0))
	if err != nil {
		return nil, err
	}
	if !snapshot.bool("is_a_snapshot") {
		return nil, fail("OPERATION_NOT_ALLOWED", "VDI is not a snapshot: "+c.str(0))
	}
	ref := snapshot.str("snapshot_of")
	return nil, p.during(ctx, c, "VDI", ref, "revert", func() error {
		if err := p.db.update(func(tx tx) error {
			return errors.Join(tx.hasData(c.str(0)), tx.attachable(ref, readWrite, "revert"))
		}); err != nil {
			return err
		}
		vdi, err := p.db.record("VDI", ref)
		if err != nil {
			return err
		}
		size := snapshot.int("virtual_size")
		if err := p.disks.resize(vdi.str("uuid"), size); err != nil {
			return err
		}
		if err := p.disks.overwrite(vdi.str("uuid"), snapshot.str("uuid")); err != nil {
			return err
		}
		p.accountDisk(ref, vdi.str("uuid"))
		return p.db.set("VDI", ref, record{"virtual_size": size})
	})
}

// vdiForget removes the record of a disk. Its content stays on the storage: for
// this pool, out of reach.
func (p *Pool) vdiForget(ctx context.Context, c *call) (any, error) {
	ref := c.str(0)
	return nil, p.during(ctx, c, "VDI", ref, "forget", func() error {
		return p.db.update(func(tx tx) error {
			vdi, err := tx.record("VDI", ref)
			if err != nil {
				return err
			}
			if err := tx.attachable(ref, readWrite, "forget"); err != nil {
				return err
			}
			for _, vbd := range slices.Clone(vdi.set("VBDs")) {
				_ = tx.destroy("VBD", vbd) // it exists
			}
			return tx.destroy("VDI", ref)
		})
	})
}
