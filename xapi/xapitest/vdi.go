package xapitest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

func (p *Pool) vdiMethods() map[string]*method {
	all := map[string]*method{
		"VDI.create":        both("args:record", p.vdiCreate),
		"VDI.destroy":       both("self:ref", p.vdiDestroy),
		"VDI.snapshot":      both("vdi:ref driver_params:map?", p.vdiSnapshot),
		"VDI.clone":         both("vdi:ref driver_params:map?", p.vdiClone),
		"VDI.resize":        both("vdi:ref size:int", p.vdiResize),
		"VDI.set_on_boot":   both("self:ref value:string", p.vdiSetOnBoot),
		"VDI.resize_online": both("vdi:ref size:int", p.vdiResize),
		"VDI.copy":          both("vdi:ref sr:ref? base_vdi:ref? into_vdi:ref?", p.vdiCopy),
		"SR.scan": both("sr:ref", func(_ context.Context, c *call) (any, error) {
			if _, err := p.db.record("SR", c.str(0)); err != nil {
				return nil, err
			}
			p.coalesce(c.str(0))
			p.scanSR(c.str(0))
			return nil, nil //nolint:nilnil // void
		}),
	}
	maps.Copy(all, p.cbtMethods())
	maps.Copy(all, p.nbdMethods())
	return all
}

// vdiCreate rounds the size up to 2 MiB, as the storage drivers for VHD do:
// callers have to read it again.
func (p *Pool) vdiCreate(_ context.Context, c *call) (any, error) {
	values, err := constructorFields("VDI", c.fields(), "SR virtual_size type sharable read_only other_config")
	if err != nil {
		return nil, err
	}
	return p.createDisk(values.str("SR"), values.int("virtual_size"), values)
}

func (p *Pool) createDisk(sr string, size int64, values record) (string, error) {
	if size <= 0 || size > maxVHD {
		return "", fail("SR_BACKEND_FAILURE_79", "", fmt.Sprintf("VDI Invalid size [opterr=VDI size must be between 1 MB and 2088960 MB, was %d]", size), "")
	}
	values["SR"] = sr
	values["virtual_size"] = int64(blockCount(size)) * blockSize
	if values.str("type") == "" {
		values["type"] = "user"
	}
	return p.storeDisk(values, source{})
}

// source is where the content of a new disk comes from: a file, another disk, or
// nowhere.
type source struct {
	file   string
	disk   string // uuid
	frozen bool   // the new disk is a snapshot of it
}

// storeDisk makes the content of a new disk, empty or as a copy as it is now, and
// then its record.
func (p *Pool) storeDisk(values record, from source) (string, error) {
	uuid, size, sr := newUUID(), values.int("virtual_size"), values.str("SR")
	rec, err := p.db.record("SR", sr)
	if err != nil {
		return "", err
	}
	if rec.str("content_type") == "iso" {
		return "", fail("SR_OPERATION_NOT_SUPPORTED", sr)
	}
	if free := p.freeSpace(sr); free >= 0 && size > free && from == (source{}) {
		return "", fail("SR_FULL", fmt.Sprint(size), fmt.Sprint(free))
	}
	switch {
	case from.disk != "":
		err = p.disks.copy(uuid, from.disk, size, from.frozen)
	case from.file != "":
		err = p.disks.load(uuid, from.file, size)
	default:
		p.disks.create(uuid, size)
	}
	if err != nil {
		return "", err
	}
	values["uuid"], values["location"], values["managed"] = uuid, uuid, true
	values["physical_utilisation"] = p.disks.allocated(uuid)
	values["sm_config"] = drop(put(values.dict("sm_config"), "image-format", "vhd"), keyParent)
	var ref string
	err = p.db.update(func(tx tx) error {
		if _, err := tx.record("SR", sr); err != nil {
			return err
		}
		ref = tx.create("VDI", values)
		return nil
	})
	if err != nil {
		return "", errors.Join(err, p.disks.remove(uuid))
	}
	p.accountSR(sr)
	return ref, nil
}

func (p *Pool) vdiDestroy(ctx context.Context, c *call) (any, error) {
	ref := c.str(0)
	return nil, p.during(ctx, c, "VDI", ref, "destroy", func() error {
		var vdi record
		err := p.db.update(func(tx tx) (err error) {
			if vdi, err = tx.record("VDI", ref); err != nil {
				return err
			}
			if err := tx.attachable(ref, readWrite, "destroy"); err != nil {
				return err
			}
			for _, vbd := range vdi.set("VBDs") {
				_ = tx.destroy("VBD", vbd) // it exists
			}
			for vm, rec := range tx.all("VM") {
				if rec.str("suspend_VDI") == ref {
					_ = tx.set("VM", vm, record{"suspend_VDI": null}) // it exists
				}
			}
			return tx.destroy("VDI", ref)
		})
		if err != nil {
			return err
		}
		err = p.disks.forget(vdi.str("uuid"))
		p.coalesce(vdi.str("SR"))
		p.accountSR(vdi.str("SR"))
		return err
	})
}

// vdiSnapshot freezes one disk.
func (p *Pool) vdiSnapshot(ctx context.Context, c *call) (ref any, err error) {
	err = p.during(ctx, c, "VDI", c.str(0), "snapshot", func() error {
		ref, err = p.duplicateDisk(c.str(0), true)
		return err
	})
	return ref, err
}

// vdiClone makes a disk of its own from one that nobody writes.
func (p *Pool) vdiClone(ctx context.Context, c *call) (ref any, err error) {
	err = p.during(ctx, c, "VDI", c.str(0), "clone", func() error {
		if err := p.db.update(func(tx tx) error { return tx.attachable(c.str(0), readOnly, "clone") }); err != nil {
			return err
		}
		ref, err = p.duplicateDisk(c.str(0), false)
		return err
	})
	return ref, err
}

// duplicateDisk copies content and record of a disk as they are now. The copy
// shares its past with the original, and a snapshot its history of changes.
func (p *Pool) duplicateDisk(ref string, snapshot bool) (string, error) {
	if err := p.db.update(func(tx tx) error {
		if err := tx.hasData(ref); err != nil {
			return err
		}
		return tx.forkable(ref)
	}); err != nil {
		return "", err
	}
	vdi, err := p.db.record("VDI", ref)
	if err != nil {
		return "", err
	}
	own := p.ownSpace(ref)
	if free := p.freeSpace(vdi.str("SR")); free >= 0 && own > free && p.isThick(vdi.str("SR")) {
		return "", fail("SR_FULL", fmt.Sprint(own), fmt.Sprint(free))
	}
	made, err := p.copyDisk(vdi, ref, vdi.str("SR"), snapshot)
	if err != nil {
		return "", err
	}
	_ = p.db.update(func(tx tx) error { tx.fork(ref, made, own); return nil })
	return made, nil
}

// copyDisk makes a disk with the content of another, on any repository.
func (p *Pool) copyDisk(vdi record, ref, sr string, snapshot bool) (string, error) {
	values := record{"snapshot_time": epoch}
	for _, name := range []string{
		"name_label", "name_description", "virtual_size", "type", "sharable", "read_only",
		"other_config", "xenstore_data", "sm_config", "tags", "on_boot",
	} {
		values[name] = vdi[name]
	}
	values["SR"] = sr
	if snapshot {
		values["is_a_snapshot"], values["snapshot_of"], values["snapshot_time"] = true, ref, now()
	}
	made, err := p.storeDisk(values, source{disk: vdi.str("uuid"), frozen: snapshot})
	if err != nil {
		return "", err
	}
	copied, err := p.db.record("VDI", made)
	if err == nil && snapshot && p.disks.branch(vdi.str("uuid"), copied.str("uuid")) {
		err = p.db.set("VDI", made, record{"cbt_enabled": true})
	}
	return made, err
}

// vdiSetOnBoot says whether a disk forgets at each start what was written to it,
// which does not go together with tracking changes.
func (p *Pool) vdiSetOnBoot(_ context.Context, c *call) (any, error) {
	return nil, p.db.update(func(tx tx) error {
		if err := tx.hasData(c.str(0)); err != nil {
			return err
		}
		vdi, err := tx.record("VDI", c.str(0))
		if err != nil {
			return err
		}
		if vdi.bool("cbt_enabled") {
			return fail("VDI_CBT_ENABLED", c.str(0))
		}
		return tx.set("VDI", c.str(0), record{"on_boot": c.str(1)})
	})
}

// vdiResize grows a disk; storage drivers cannot shrink one. One that a VM has
// attached can be grown by VDI.resize_online alone.
func (p *Pool) vdiResize(ctx context.Context, c *call) (any, error) {
	ref, size := c.str(0), int64(blockCount(c.int(1)))*blockSize
	return nil, p.during(ctx, c, "VDI", ref, "resize", func() error {
		if err := p.db.update(func(tx tx) error {
			if c.name == "VDI.resize_online" {
				return tx.hasData(ref)
			}
			return errors.Join(tx.hasData(ref), tx.attachable(ref, readWrite, "resize"))
		}); err != nil {
			return err
		}
		vdi, err := p.db.record("VDI", ref)
		if err != nil {
			return err
		}
		grow := size - vdi.int("virtual_size")
		if grow < 0 {
			return fail("SR_BACKEND_FAILURE_79", "", "VDI Invalid size [opterr=shrinking not allowed]", "")
		}
		if free := p.freeSpace(vdi.str("SR")); free >= 0 && grow > free {
			return fail("SR_FULL", fmt.Sprint(size), fmt.Sprint(free))
		}
		if err := p.disks.resize(vdi.str("uuid"), size); err != nil {
			return err
		}
		defer p.accountSR(vdi.str("SR"))
		return p.db.set("VDI", ref, record{"virtual_size": size})
	})
}

// thick says whether a repository reserves the whole size of a disk.
func thick(srType string) bool {
	return slices.Contains([]string{"lvm", "lvmoiscsi", "lvmohba"}, srType)
}

func (p *Pool) isThick(sr string) bool {
	rec, err := p.db.record("SR", sr)
	return err == nil && thick(rec.str("type"))
}

// contentType is what a repository of a type holds: discs, or disks.
func contentType(srType string) string {
	if srType == "iso" {
		return "iso"
	}
	return "user"
}

// prezeroed says whether what was never written to a disk reads as zeros, on
// which an import of a VHD relies.
func prezeroed(srType string) bool {
	return !slices.Contains([]string{"rawhba", "rawiscsi", "equal", "dell_sc", "netapp"}, srType)
}
