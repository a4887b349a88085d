package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/xenbackup/xenbackup/xapi"
)

var (
	errSnapshotUnderWay = errors.New("pipeline: a snapshot is still being taken")
	errUndecided        = errors.New("pipeline: not all repositories say whether the snapshot is a base")
)

// removeSnapshot destroys the snapshot of a run, unless it is, or will be made, the base
// of the next delta.
func (u *undoing) removeSnapshot(ctx context.Context, in *intent) (what string, err error) {
	if in.Ref == "" {
		return u.removeTemp(ctx, in)
	}
	snapshot := xapi.Ref[xapi.VM](in.Ref)
	vm, err := read[xapi.VM](ctx, u.pool, snapshot, nil)
	if err != nil {
		return "", err
	}
	if vm != nil && !u.ref.IsNull() && vm.SnapshotOf != u.ref {
		return "", fmt.Errorf("pipeline: %s is not a snapshot of the VM, and stays", vm.UUID)
	}
	isKept := vm != nil && vm.OtherConfig[keyExported] == "true" // by its run
	if in.Committing {
		isKept, err = u.isBase(ctx, in)
	}
	if err != nil || isKept {
		return "", err
	}
	if vm != nil {
		what = "snapshot"
	}
	return what, errors.Join(destroySnapshot(ctx, u.pool, snapshot, nil), destroyLeft(ctx, u.pool, in.Disks))
}

// removeTemp destroys snapshots that have not got their tags.
func (u *undoing) removeTemp(ctx context.Context, in *intent) (what string, err error) {
	if err := u.awaitSnapshots(ctx); err != nil || u.ref.IsNull() {
		return "", err
	}
	err = eachTemp(ctx, u.pool, u.ref, func(ref xapi.Ref[xapi.VM], vm *xapi.VM) error {
		own := *in
		own.Ref, what = string(ref), "snapshot"
		var err error
		if own.Disks, err = snapshotDisks(ctx, u.pool, vm); err != nil {
			return err
		}
		if err := u.journal.put(&own); err != nil { // its disks must not be forgotten half way
			return err
		}
		return errors.Join(destroySnapshot(ctx, u.pool, ref, nil), destroyLeft(ctx, u.pool, own.Disks))
	})
	return what, err
}

// awaitSnapshots waits, but not for ever, for a snapshot of the VM that the pool is amid.
func (u *undoing) awaitSnapshots(ctx context.Context) error {
	const attempts = 10
	pause := 50 * time.Millisecond
	for range attempts {
		vm, err := u.read(ctx)
		if err != nil || vm == nil {
			return err
		}
		amid := false
		for _, op := range vm.CurrentOperations {
			amid = amid || op == "snapshot" || op == "checkpoint"
		}
		if !amid {
			return nil
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, 5*time.Second)
	}
	return errSnapshotUnderWay
}

// isBase says that a repository has a disk that was made of the snapshot: the process ended
// while the point was committed, or before the snapshot was marked. The next run does so.
func (u *undoing) isBase(ctx context.Context, in *intent) (bool, error) {
	for _, disk := range in.Disks {
		vdi, err := read[xapi.VDI](ctx, u.pool, xapi.Ref[xapi.VDI](disk), nil)
		if err != nil {
			return false, err
		}
		if vdi == nil || vdi.SnapshotOf.IsNull() {
			continue
		}
		source, err := read[xapi.VDI](ctx, u.pool, vdi.SnapshotOf, nil)
		if err != nil {
			return false, err
		}
		if source == nil {
			continue
		}
		for _, s := range u.sessions {
			base, err := s.FindBase(ctx, in.Job, source.UUID, vdi.UUID)
			if err != nil || base != nil {
				return base != nil, err
			}
		}
	}
	if len(u.sessions) < len(u.remotes) {
		return false, errUndecided
	}
	return false, nil
}

// snapshotDisks returns the disks that go with a snapshot, whatever happens to it.
func snapshotDisks(ctx context.Context, pool Pool, vm *xapi.VM) ([]string, error) {
	disks, err := newPoolView(pool).disksOf(ctx, vm)
	if err != nil {
		return nil, err
	}
	var refs []string
	for _, d := range disks {
		if d.vdi.IsASnapshot {
			refs = append(refs, string(d.ref))
		}
	}
	if !vm.SuspendVDI.IsNull() {
		refs = append(refs, string(vm.SuspendVDI))
	}
	return refs, nil
}

// destroyLeft destroys disks of a snapshot that is gone, and which they have outlived: its
// removal was interrupted.
func destroyLeft(ctx context.Context, pool Pool, disks []string) error {
	var errs []error
	for _, disk := range disks {
		ref := xapi.Ref[xapi.VDI](disk)
		vdi, err := read[xapi.VDI](ctx, pool, ref, nil)
		if err == nil && vdi != nil && (vdi.IsASnapshot || vdi.Type == "suspend") {
			var users map[xapi.Ref[xapi.VM]]*xapi.VM
			if users, err = newPoolView(pool).users(ctx, vdi); err == nil && len(users) == 0 {
				err = destroyVDI(ctx, pool, ref)
			}
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// eachTemp calls f for the snapshots of a VM that never got their tags.
func eachTemp(ctx context.Context, pool Pool, ref xapi.Ref[xapi.VM], f func(xapi.Ref[xapi.VM], *xapi.VM) error) error {
	var refs []xapi.Ref[xapi.VM]
	if err := pool.Call(ctx, "VM.get_snapshots", &refs, ref); err != nil {
		return err
	}
	var errs []error
	for _, ref := range refs {
		vm, err := read[xapi.VM](ctx, pool, ref, nil)
		if err == nil && vm != nil && vm.NameLabel == tempSnapshotName {
			err = f(ref, vm)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
