package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/xenbackup/xenbackup/xapi"
)

// tempSnapshotName is the name of a snapshot until it has its tags. One that is
// found with it was left by a run that was killed in between, ours or XO's.
const tempSnapshotName = "xo-backup-temp-snapshot-name"

// noBackup in the name of a disk keeps it out of snapshots and backups.
const noBackup = "[NOBAK]"

// snapshot is the snapshot of one run.
type snapshot struct {
	ref   xapi.Ref[xapi.VM]
	vm    *xapi.VM
	disks []*snapshotDisk
	at    time.Time
}

// snapshotDisk is a disk of the snapshot, to be exported.
type snapshotDisk struct {
	ref    xapi.Ref[xapi.VDI]
	vdi    *xapi.VDI
	source *xapi.VDI // the live disk; nil for a memory image, which is nobody's snapshot
	base   *diskBase // nil: exported in full
}

// sourceUUID names the directory of the disk in a repository.
func (d *snapshotDisk) sourceUUID() string {
	if d.source == nil {
		return d.vdi.UUID
	}
	return d.source.UUID
}

func exportedEntries(chainLength int) []entry {
	return []entry{{keyChainLength, strconv.Itoa(chainLength)}, {keyExported, "true"}}
}

// takeSnapshot takes a snapshot of the VM under the temporary name, of a guest that is
// shut down before it if the settings want that: not before it is this one's turn. When
// it fails a snapshot may have been made all the same: sweepTemp finds it.
func (v *vmRun) takeSnapshot(ctx context.Context) (xapi.Ref[xapi.VM], error) {
	slot, release, err := v.acquire(ctx, OpSnapshot)
	if err != nil {
		return "", err
	}
	defer release()
	if v.snapshotTimeout > 0 {
		var cancel context.CancelFunc
		slot, cancel = context.WithTimeoutCause(slot, v.snapshotTimeout, ErrSnapshotTimeout)
		defer cancel()
	}
	if err := v.halt(slot); err != nil {
		return "", slotError(slot, err)
	}
	ref, err := v.snapshotUnder(slot)
	err = slotError(slot, err)
	release()
	if !v.settings.OfflineBackup {
		v.startEarly(ctx)
	}
	return ref, err
}

// snapshotUnder takes the snapshot, with or without memory, as the settings say.
func (v *vmRun) snapshotUnder(slot context.Context) (ref xapi.Ref[xapi.VM], err error) {
	switch {
	case !v.wantsMemory():
	case len(v.excluded) > 0: // memory knows all disks
		v.task.Warning("snapshot without memory, since disks are left out", nil)
	default:
		err = v.pool.CallAsync(slot, "VM.checkpoint", &ref, v.ref, tempSnapshotName)
		if !errors.Is(err, xapi.ErrVMBadPowerState) { // else it was stopped meanwhile
			return ref, err
		}
	}
	if len(v.excluded) > 0 {
		err = v.pool.CallAsync(slot, "VM.snapshot", &ref, v.ref, tempSnapshotName, v.excluded)
		if !errors.Is(err, xapi.ErrMessageParameterCountMismatch) {
			return ref, err
		}
		// a pool that cannot leave disks out takes them along; see destroyExcluded
	}
	err = v.pool.CallAsync(slot, "VM.snapshot", &ref, v.ref, tempSnapshotName)
	return ref, err
}

// slotError explains an error by the loss of the slot, if that was the cause.
func slotError(slot context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(slot), ErrLeaseLost) {
		return fmt.Errorf("%w: %w", ErrLeaseLost, err)
	}
	return err
}

// describeSnapshot reads the snapshot and pairs its disks with the VM's.
func (v *vmRun) describeSnapshot(ctx context.Context, ref xapi.Ref[xapi.VM]) (*snapshot, error) {
	vm, err := xapi.Get(ctx, v.pool, ref)
	if err != nil {
		return nil, err
	}
	s := &snapshot{ref: ref, vm: vm}
	disks, err := newPoolView(v.pool).disksOf(ctx, vm)
	if err != nil {
		return nil, err
	}
	for _, d := range disks {
		i := slices.IndexFunc(v.live, func(l liveDisk) bool { return l.ref == d.vdi.SnapshotOf })
		if i < 0 {
			continue // shared with the VM, or one that was to be left out
		}
		s.disks = append(s.disks, &snapshotDisk{ref: d.ref, vdi: d.vdi, source: v.live[i].vdi})
	}
	if !vm.SuspendVDI.IsNull() {
		vdi, err := xapi.Get(ctx, v.pool, vm.SuspendVDI)
		if err != nil {
			return nil, err
		}
		s.disks = append(s.disks, &snapshotDisk{ref: vm.SuspendVDI, vdi: vdi})
	}
	return s, nil
}

// destroyExcluded destroys the snapshots of disks that were to be left out.
func (v *vmRun) destroyExcluded(ctx context.Context, s *snapshot) error {
	if len(v.excluded) == 0 {
		return nil
	}
	disks, err := newPoolView(v.pool).disksOf(ctx, s.vm)
	if err != nil {
		return err
	}
	for _, d := range disks {
		if slices.Contains(v.excluded, d.vdi.SnapshotOf) {
			if err := destroyVDI(ctx, v.pool, d.ref); err != nil {
				return err
			}
		}
	}
	return nil
}

// tagSnapshot makes the snapshot the job's own: tags first, then the final name.
func (v *vmRun) tagSnapshot(ctx context.Context, s *snapshot) error {
	entries := []entry{
		{keyJob, v.job.ID},
		{keySchedule, v.schedule},
		{keyVM, v.vm.UUID},
		{keyDatetime, s.at.Format(datetimeLayout)},
		{keyQcow2Fix, "true"},
	}
	if err := v.pool.Call(ctx, "VM.set_is_a_template", nil, s.ref, false); err != nil {
		return err
	}
	if _, marked := s.vm.OtherConfig[keyStart]; marked { // the VM's, not the snapshot's
		if err := removeEntry(ctx, v.pool, "VM", s.ref, "other_config", keyStart); err != nil {
			return err
		}
		delete(s.vm.OtherConfig, keyStart)
	}
	if err := tag(ctx, v.pool, "VM", s.ref, entries); err != nil {
		return err
	}
	for _, d := range s.disks {
		own := append(slices.Clip(entries), entry{keyContentKey, d.vdi.UUID})
		if err := tag(ctx, v.pool, "VDI", d.ref, own); err != nil {
			return err
		}
		if d.vdi.OtherConfig == nil {
			d.vdi.OtherConfig = map[string]string{}
		}
		for _, e := range own {
			d.vdi.OtherConfig[e.key] = e.value
		}
	}
	name := fmt.Sprintf("[XO Backup %s] %s", v.job.Name, v.vm.NameLabel)
	if err := v.pool.Call(ctx, "VM.set_name_label", nil, s.ref, name); err != nil {
		return err
	}
	s.vm.NameLabel, s.vm.IsATemplate = name, false
	if s.vm.OtherConfig == nil {
		s.vm.OtherConfig = map[string]string{}
	}
	for _, e := range entries {
		s.vm.OtherConfig[e.key] = e.value
	}
	return nil
}

// generation returns the snapshot as the next run will find it.
func (s *snapshot) generation(schedule string) *generation {
	g := &generation{
		datetime: s.at.Format(datetimeLayout), schedule: schedule, usable: true,
		vms:   map[xapi.Ref[xapi.VM]]*xapi.VM{s.ref: s.vm},
		disks: map[xapi.Ref[xapi.VDI]]*xapi.VDI{},
	}
	for _, d := range s.disks {
		g.disks[d.ref] = d.vdi
	}
	return g
}

// sweepTemp destroys snapshots of the VM that never got their tags.
func (v *vmRun) sweepTemp(ctx context.Context) error {
	return eachTemp(ctx, v.pool, v.ref, func(ref xapi.Ref[xapi.VM], vm *xapi.VM) error {
		disks, err := snapshotDisks(ctx, v.pool, vm)
		if err != nil {
			return err
		}
		noted, err := v.intend(intent{Kind: intentSnapshot, Ref: string(ref), Disks: disks})
		if err != nil {
			return err
		}
		if err := destroySnapshot(ctx, v.pool, ref, nil); err != nil {
			return err
		}
		noted.done()
		return nil
	})
}

// removeGeneration destroys what a run left on the pool.
func removeGeneration(ctx context.Context, pool Pool, g *generation) error {
	var errs []error
	for ref := range g.vms {
		errs = append(errs, destroySnapshot(ctx, pool, ref, func(vdi *xapi.VDI) bool {
			return vdi.OtherConfig[keyDatetime] == g.datetime
		}))
	}
	if len(g.vms) > 0 && errors.Join(errs...) != nil {
		return errors.Join(errs...) // its disks are still attached
	}
	view := newPoolView(pool)
	for ref := range g.disks { // gone already, unless their snapshot is
		vdi, err := read[xapi.VDI](ctx, pool, ref, nil)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if vdi == nil {
			continue
		}
		users, err := view.users(ctx, vdi)
		if err == nil && len(users) == 0 {
			err = destroyVDI(ctx, pool, ref)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// destroySnapshot destroys a snapshot VM with those of its disks that are
// snapshots, that no other VM uses and that own accepts; nil accepts all.
func destroySnapshot(ctx context.Context, pool Pool, ref xapi.Ref[xapi.VM], own func(*xapi.VDI) bool) error {
	vm, err := xapi.Get(ctx, pool, ref)
	if isGone(err, ref) {
		return nil
	}
	if err != nil {
		return err
	}
	if !vm.IsASnapshot {
		return fmt.Errorf("pipeline: %s is not a snapshot", vm.UUID)
	}
	view := newPoolView(pool)
	disks, err := view.disksOf(ctx, vm)
	if err != nil {
		return err
	}
	if !vm.SuspendVDI.IsNull() {
		disks = append(disks, liveDisk{ref: vm.SuspendVDI})
	}
	var doomed []xapi.Ref[xapi.VDI]
	for _, d := range disks {
		if d.vdi != nil {
			users, err := view.users(ctx, d.vdi)
			if err != nil {
				return err
			}
			if !d.vdi.IsASnapshot || len(users) > 1 || own != nil && !own(d.vdi) {
				continue
			}
		}
		doomed = append(doomed, d.ref)
	}
	if err := pool.CallAsync(ctx, "VM.destroy", nil, ref); err != nil && !isGone(err, ref) {
		return err
	}
	var errs []error
	for _, ref := range doomed {
		errs = append(errs, destroyVDI(ctx, pool, ref))
	}
	return errors.Join(errs...)
}

// destroyVDI destroys a disk; one that is gone is fine. An export that was just
// cancelled keeps its disk attached for a moment, so it tries again for a while.
func destroyVDI(ctx context.Context, pool Pool, ref xapi.Ref[xapi.VDI]) error {
	const attempts = 10
	pause := 100 * time.Millisecond
	for attempt := 1; ; attempt++ {
		err := pool.CallAsync(ctx, "VDI.destroy", nil, ref)
		if err == nil || isGone(err, ref) {
			return nil
		}
		if !errors.Is(err, xapi.ErrVDIInUse) || attempt == attempts {
			return err
		}
		if sleep(ctx, pause) != nil {
			return err
		}
		pause = min(2*pause, 5*time.Second)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// isExcluded says that the name of a disk keeps it out of backups.
func isExcluded(vdi *xapi.VDI) bool { return strings.Contains(vdi.NameLabel, noBackup) }
