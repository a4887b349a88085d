package xapitest

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

func (p *Pool) suspendMethods() map[string]*method {
	resume := func(operation string, paused int) runFunc {
		return func(ctx context.Context, c *call) (any, error) {
			state := "Running"
			if c.bool(paused) {
				state = "Paused"
			}
			return nil, p.changePower(ctx, c, operation, state, "Suspended")
		}
	}
	return map[string]*method{
		"VM.set_suspend_VDI": both("self:ref value:ref", func(_ context.Context, c *call) (any, error) {
			return nil, p.db.update(func(tx tx) error {
				if _, err := tx.record("VDI", c.str(1)); err != nil {
					return err
				}
				if err := tx.power(c.str(0), "Suspended"); err != nil {
					return err
				}
				return tx.set("VM", c.str(0), record{"suspend_VDI": c.str(1)})
			})
		}),
		"VM.suspend":    both("vm:ref", p.vmSuspend),
		"VM.resume":     both("vm:ref start_paused:bool force:bool", resume("resume", 1)),
		"VM.resume_on":  both("vm:ref host:ref start_paused:bool force:bool", resume("resume_on", 2)),
		"VM.checkpoint": both("vm:ref new_name:string", p.vmCheckpoint),
	}
}

// vmSuspend writes the memory of a running VM to a disk and stops it.
func (p *Pool) vmSuspend(ctx context.Context, c *call) (any, error) {
	ref := c.str(0)
	return nil, p.during(ctx, c, "VM", ref, "suspend", func() error {
		if err := p.db.update(func(tx tx) error { return tx.allowed(ref, "suspend", "Running") }); err != nil {
			return err
		}
		image, err := p.writeMemory(ref)
		if err != nil {
			return err
		}
		err = p.db.update(func(tx tx) error {
			if err := tx.enter(ref, "Suspended", null); err != nil {
				return err
			}
			return tx.set("VM", ref, record{"suspend_VDI": image})
		})
		if err != nil {
			return errors.Join(err, p.discard([]string{image}))
		}
		return nil
	})
}

// writeMemory makes the disk with the memory of a VM: its size is that of the
// memory, its content little.
func (p *Pool) writeMemory(ref string) (string, error) {
	vm, err := p.db.record("VM", ref)
	if err != nil {
		return "", err
	}
	pool, err := p.db.record("pool", p.poolRef)
	if err != nil {
		return "", err
	}
	sr := null
	for _, candidate := range []string{vm.str("suspend_SR"), pool.str("suspend_image_SR"), pool.str("default_SR")} {
		if _, err := p.db.record("SR", candidate); err == nil && sr == null {
			sr = candidate
		}
	}
	if sr == null {
		return "", fail("VM_NO_SUSPEND_SR", ref)
	}
	image, err := p.createDisk(sr, max(vm.int("memory_static_max"), blockSize), record{"name_label": "Suspend image", "type": "suspend"})
	if err != nil {
		return "", err
	}
	vdi, err := p.db.record("VDI", image)
	if err != nil {
		return "", err
	}
	f, err := p.disks.writer(vdi.str("uuid"))
	if err != nil {
		return "", err
	}
	line := fmt.Sprintf("memory of %s at %s\n", vm.str("uuid"), p.now())
	_, err = f.WriteAt([]byte(strings.Repeat(line, 1024)), 0)
	return image, errors.Join(err, f.Close())
}

// vmCheckpoint makes a snapshot with the memory: one that can be resumed.
func (p *Pool) vmCheckpoint(ctx context.Context, c *call) (ref any, err error) {
	err = p.during(ctx, c, "VM", c.str(0), "checkpoint", func() error {
		ref, err = p.checkpoint(ctx, c.str(0), c.str(1))
		return err
	})
	return ref, err
}

func (p *Pool) checkpoint(ctx context.Context, ref, name string) (string, error) {
	var vm record
	err := p.db.update(func(tx tx) (err error) {
		if err = tx.allowed(ref, "checkpoint", "Running", "Paused", "Suspended"); err == nil {
			vm, err = tx.record("VM", ref)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	var image string
	if suspended := vm.str("suspend_VDI"); suspended != null {
		image, err = p.duplicateDisk(suspended, true)
	} else {
		image, err = p.writeMemory(ref)
	}
	if err != nil {
		return "", err
	}
	made, err := p.duplicateVM(ctx, ref, name, nil, true)
	if err != nil {
		return "", errors.Join(err, p.discard([]string{image}))
	}
	return made, p.db.set("VM", made, record{"power_state": "Suspended", "suspend_VDI": image})
}
