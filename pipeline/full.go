package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/xapi"
)

// backUpArchive is backUp for a full backup: the whole VM as one archive.
func (v *vmRun) backUpArchive(ctx context.Context) error {
	gens, err := v.tidy(ctx)
	if err != nil {
		return err
	}
	gens = v.removeUnused(ctx, gens)
	if err := v.requireTarget(); err != nil {
		return v.causeOr(ctx, err)
	}
	if !v.needsSnapshot() {
		return v.backUpItself(ctx, gens)
	}
	if err := v.checkChains(ctx); err != nil {
		return v.causeOr(ctx, err)
	}
	source, err := v.snapshot(ctx, gens, &baseChoice{})
	if err != nil {
		return v.causeOr(ctx, err)
	}
	if len(v.targets) > 0 {
		if err := v.archiveToTargets(ctx, source); err != nil {
			return errors.Join(v.causeOr(ctx, err), v.discard(ctx, source.ref))
		}
	}
	return v.settleArchive(ctx, gens, source)
}

// backUpItself exports the VM rather than a snapshot. A guest that is shut down for it
// is down from when its turn to be exported has come until all of it was read.
func (v *vmRun) backUpItself(ctx context.Context, gens []*generation) error {
	slot, release, err := v.acquire(ctx, OpVMExport)
	if err != nil {
		return err
	}
	defer release()
	if err := v.halt(slot); err != nil {
		return slotError(slot, v.causeOr(ctx, err))
	}
	source := &snapshot{ref: v.ref, vm: v.vmAsItWas()}
	if source.at, err = v.pointTime(slot, gens); err != nil {
		return slotError(slot, v.causeOr(ctx, err))
	}
	if err := v.archiveToTargets(slot, source); err != nil {
		return slotError(slot, v.causeOr(ctx, err))
	}
	release()
	return v.settleArchive(ctx, gens, source)
}

// needsSnapshot says whether the VM itself cannot, or must not, be exported. XO's
// rules, but for VMs that are paused: pools export only what does not run.
func (v *vmRun) needsSnapshot() bool {
	if v.settings.UnconditionalSnapshot || v.settings.SnapshotRetention > 0 || len(v.excluded) > 0 {
		return true
	}
	if v.settings.OfflineBackup && v.needsHalt() {
		return false
	}
	return !slices.Contains([]string{"Halted", "Suspended"}, v.vm.PowerState)
}

// isVM says that the source of an export is the VM itself, which is nobody's to
// destroy.
func (v *vmRun) isVM(source *snapshot) bool { return source.ref == v.ref }

// archiveToTargets moves the archive to the targets and commits. After an error no
// target has the point.
func (v *vmRun) archiveToTargets(ctx context.Context, source *snapshot) error {
	spec := catalog.PointSpec{JobID: v.job.ID, ScheduleID: v.schedule, Mode: catalog.ModeFull, Time: source.at}
	v.eachTarget(func(t *target) { t.begin(ctx, v.task, spec, true) })
	if err := v.requireTarget(); err != nil {
		return err
	}
	var m catalog.Metadata
	var err error
	if m.VM, err = json.Marshal(v.vmAsItWas()); err != nil {
		return err
	}
	if m.VMSnapshot, err = json.Marshal(source.vm); err != nil {
		return err
	}
	err = v.exportArchive(ctx, source)
	v.startEarly(ctx)
	if err != nil {
		return err
	}
	v.eachTarget(func(t *target) { t.commit(ctx, m) })
	return v.requireTarget()
}

// settleArchive does what waits until the new point is safe.
func (v *vmRun) settleArchive(ctx context.Context, gens []*generation, source *snapshot) error {
	if !v.isVM(source) {
		gen := source.generation(v.schedule)
		gens = append(slices.Clip(gens), gen)
		if v.snapshotRetention(v.schedule) > 0 { // it stays
			marking, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
			defer cancel()
			if err := v.patient().mark(marking, gen, []entry{{keyExported, "true"}}); err != nil {
				return err
			}
			v.taken.done()
		}
	}
	// The snapshot of a run that ends here would stay until the next one.
	removing, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	kept := v.patient().removeUnused(removing, gens)
	if !v.isVM(source) && !slices.Contains(kept, gens[len(gens)-1]) {
		v.taken.done()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	v.eachTarget(func(t *target) { t.finish(ctx, v.schedule, v.task) })
	return nil
}

// compression returns how the pool shall compress, by the job or by what it can.
func (v *vmRun) compression(ctx context.Context) (xapi.Compression, error) {
	if v.job.Compression == nil {
		features, err := v.pool.Features(ctx)
		if err != nil {
			return "", err
		}
		if features.Zstd {
			return xapi.CompressZstd, nil
		}
		return xapi.CompressGzip, nil
	}
	switch *v.job.Compression {
	case CompressionNative:
		return xapi.CompressGzip, nil
	case CompressionZstd:
		return xapi.CompressZstd, nil
	default:
		return xapi.CompressNone, nil
	}
}
