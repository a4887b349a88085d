package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xapi"
)

var (
	// ErrMigrating is returned for a VM that is on its way to another host.
	ErrMigrating = errors.New("pipeline: the VM is being migrated")

	// ErrOwnReplica is returned for a VM that is a replica made by the same job:
	// to back it up would be to copy copies.
	ErrOwnReplica = errors.New("pipeline: the VM is a replica made by this job")

	// ErrSnapshotTimeout is returned for a VM whose snapshot took too long; see
	// [RunnerOptions].SnapshotTimeout.
	ErrSnapshotTimeout = errors.New("pipeline: the snapshot took too long, and was abandoned")
)

// cleanupTimeout bounds what is done after the run's context has ended.
const cleanupTimeout = 2 * time.Minute

// vmRun is the backup of one VM in one run of a job.
type vmRun struct {
	job      *Job
	schedule string
	force    bool // full, whatever the bases
	settings Settings
	runID    string
	state    *State
	poolID   string
	pool     Pool
	ref      xapi.Ref[xapi.VM]
	limiter  Limiter
	budget   *disk.Budget
	task     *task.Task

	snapshotTimeout time.Duration // 0: none
	unexpectedFull  UnexpectedFull
	rate            *rate.Limiter // of reading; nil: unlimited
	dry             bool          // a plan: nothing is changed anywhere

	targets []*target

	vm       *xapi.VM   // before the run touched it
	label    string     // ends the names of the run's tasks on the pool
	taken    *intention // of the snapshot of the run
	live     []liveDisk
	excluded []xapi.Ref[xapi.VDI] // disks that are not to be backed up
	halted   bool                 // the guest is down, or about to be, and to be started again
	down     *intention           // that it is
}

// targetIDs returns the ids of all targets.
func (v *vmRun) targetIDs() []string {
	ids := make([]string, len(v.targets))
	for i, t := range v.targets {
		ids[i] = t.id
	}
	return ids
}

// alive returns the targets that have not failed.
func (v *vmRun) alive() []*target {
	return slices.DeleteFunc(slices.Clone(v.targets), func(t *target) bool { return t.dropped() != nil })
}

// eachTarget runs f for every target that is left, at the same time.
func (v *vmRun) eachTarget(f func(t *target)) {
	var wg sync.WaitGroup
	for _, t := range v.alive() {
		wg.Go(func() { f(t) })
	}
	wg.Wait()
}

// acquire waits for a slot of the pool, and tells observers how long.
func (v *vmRun) acquire(ctx context.Context, op Op) (slot context.Context, release func(), err error) {
	defer v.task.Wait(string(op))()
	return v.limiter.Acquire(ctx, Key{Pool: v.poolID, Op: op})
}

// requireTarget returns ErrNoTarget when the job has targets and none is left.
func (v *vmRun) requireTarget() error {
	if len(v.targets) > 0 && len(v.alive()) == 0 {
		return ErrNoTarget
	}
	return nil
}

// run backs the VM up. Whatever it began is undone when it fails, also after ctx
// has ended: the locks are released, points that were not committed are gone,
// the VM can migrate again, a guest that was shut down runs, and the new snapshot is
// destroyed, while the one that is the base of the next delta stays.
func (v *vmRun) run(ctx context.Context) (err error) {
	if err := v.guard(ctx); err != nil {
		return err
	}
	noted, err := v.intend(intent{Kind: intentVM, Remotes: v.targetIDs(), Label: v.label})
	if err != nil {
		return err
	}
	defer func() {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		closing := v.closeTargets(cleanup, err)
		if closing == nil {
			noted.done()
		}
		err = errors.Join(err, closing)
	}()
	v.eachTarget(func(t *target) { t.open(ctx, v.vm.UUID, v.task, v.isFull()) })
	if err := v.requireTarget(); err != nil {
		return v.causeOr(ctx, err)
	}
	unblock, err := v.blockMigration(ctx)
	defer func() {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		err = errors.Join(err, unblock(cleanup))
	}()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.start(ctx)) }()
	if v.isFull() {
		return v.backUpArchive(ctx)
	}
	return v.backUp(ctx)
}

// isFull says that the VM is backed up as one archive.
func (v *vmRun) isFull() bool { return v.job.Mode == ModeFull }

// causeOr prefers the reason why ctx ended: a target that failed for that alone
// has not failed by itself.
func (v *vmRun) causeOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// guard reads the VM and refuses one that must not be backed up now.
func (v *vmRun) guard(ctx context.Context) error {
	vm, err := xapi.Get(ctx, v.pool, v.ref)
	if err != nil {
		return err
	}
	v.vm = vm
	v.heedTags()
	if _, blocked := vm.BlockedOperations["start"]; blocked && vm.OtherConfig[keyJob] == v.job.ID {
		return ErrOwnReplica
	}
	for _, op := range vm.CurrentOperations {
		if slices.Contains(migrationOps(), op) {
			return ErrMigrating
		}
	}
	disks, err := newPoolView(v.pool).disksOf(ctx, vm)
	if err != nil {
		return err
	}
	for _, d := range disks {
		if isExcluded(d.vdi) {
			v.excluded = append(v.excluded, d.ref)
		} else {
			v.live = append(v.live, d)
		}
	}
	if len(v.live) == 0 && !v.isFull() { // an archive is a backup also of a VM without disks
		return &task.SkipError{Reason: task.ReasonNoDisks}
	}
	return nil
}

// backUp is what happens while the targets are locked and migration is blocked.
func (v *vmRun) backUp(ctx context.Context) error {
	gens, err := v.tidy(ctx)
	if err != nil {
		return err
	}
	force, err := v.adopt(ctx, gens)
	if err != nil {
		return err
	}
	if v.force {
		force = reasonAsked
	}
	choice, err := chooseBase(ctx, v, gens, v.settings.FullInterval, force)
	if err != nil {
		return err
	}
	if err := v.requireTarget(); err != nil {
		return v.causeOr(ctx, err)
	}
	if choice.reason != "" && len(v.targets) > 0 {
		v.task.Info("full backup", map[string]any{"reason": choice.reason})
	}
	if err := v.checkUnexpected(choice); err != nil {
		return err
	}
	gens = v.removeUnused(ctx, gens)
	if err := v.checkChains(ctx); err != nil {
		return v.causeOr(ctx, err)
	}
	snap, err := v.snapshot(ctx, gens, choice)
	if err != nil {
		return v.causeOr(ctx, err)
	}
	if len(v.targets) > 0 {
		if err := v.toTargets(ctx, snap, choice); err != nil {
			return errors.Join(v.causeOr(ctx, err), v.discard(ctx, snap.ref))
		}
	}
	return v.settle(ctx, append(gens, snap.generation(v.schedule)), choice)
}

// tidy undoes what a run that was killed may have left on the VM, and returns
// what earlier runs left on purpose.
func (v *vmRun) tidy(ctx context.Context) ([]*generation, error) {
	if err := v.wake(ctx); err != nil {
		return nil, err
	}
	if err := v.sweepTemp(ctx); err != nil {
		return nil, fmt.Errorf("remove the snapshot of an interrupted run: %w", err)
	}
	gens, err := newPoolView(v.pool).generations(ctx, v.job.ID, v.vm, v.live)
	if err != nil {
		return nil, err
	}
	if err := untag(ctx, v.pool, "VM", v.ref, v.vm.OtherConfig); err != nil {
		return nil, fmt.Errorf("reset other_config: %w", err)
	}
	for _, d := range v.live {
		if err := untag(ctx, v.pool, "VDI", d.ref, d.vdi.OtherConfig); err != nil {
			return nil, fmt.Errorf("reset other_config of disk %s: %w", d.vdi.UUID, err)
		}
	}
	return gens, nil
}

// removeUnused destroys snapshots that neither retention nor the next delta
// needs, and returns the others. One that resists costs space, not the backup.
func (v *vmRun) removeUnused(ctx context.Context, gens []*generation) []*generation {
	kept := slices.Clone(gens)
	var base *generation
	if !v.isFull() {
		base = newestExported(gens)
	}
	for _, g := range expendable(gens, base, v.snapshotRetention) {
		if err := removeGeneration(ctx, v.pool, g); err != nil {
			if ctx.Err() == nil {
				v.task.Warning("snapshot not removed", map[string]any{"datetime": g.datetime, "error": err.Error()})
			}
			continue
		}
		kept = slices.DeleteFunc(kept, func(k *generation) bool { return k == g })
	}
	return kept
}

// snapshotRetention returns how many snapshots of a schedule of the job are kept.
func (v *vmRun) snapshotRetention(schedule string) int {
	settings, err := v.job.Resolve("", schedule, v.vm.UUID)
	if err != nil {
		return v.settings.SnapshotRetention // of the run's own schedule, which was valid
	}
	return settings.SnapshotRetention
}

// toTargets moves the snapshot to the targets and commits. After an error no
// target has the point.
func (v *vmRun) toTargets(ctx context.Context, snap *snapshot, choice *baseChoice) error {
	spec := catalog.PointSpec{JobID: v.job.ID, ScheduleID: v.schedule, Mode: catalog.ModeDelta, Time: snap.at}
	v.eachTarget(func(t *target) { t.begin(ctx, v.task, spec, choice.isFull(v.live)) })
	if err := v.requireTarget(); err != nil {
		return err
	}
	records, err := v.readRecords(ctx, snap)
	if err != nil {
		return err
	}
	err = v.exportDisks(ctx, snap)
	v.startEarly(ctx)
	if err != nil {
		return err
	}
	if err := v.taken.update(func(in *intent) { in.Committing = true }); err != nil {
		return err
	}
	v.eachTarget(func(t *target) {
		m, err := records.metadata(snap)
		if err != nil {
			t.drop(err)
			return
		}
		t.commit(ctx, m)
	})
	return v.requireTarget()
}

// settle does what waits until the new point is safe: the snapshot becomes the
// base of the next delta, retention removes points and snapshots, and what has
// expired is merged. It marks the snapshot also when the run was cancelled after
// the commit, else the next run would not know what the targets have; should
// that fail, the snapshot stays, and the next run adopts it.
func (v *vmRun) settle(ctx context.Context, gens []*generation, choice *baseChoice) error {
	marking, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	if err := v.patient().markExported(marking, gens[len(gens)-1], choice.nextChainLength(v.live)); err != nil {
		return fmt.Errorf("mark the snapshot as exported: %w", err)
	}
	v.taken.done()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	v.patient().removeUnused(ctx, gens)
	v.eachTarget(func(t *target) { t.finish(ctx, v.schedule, v.task) })
	return nil
}

// closeTargets ends what the targets have open.
func (v *vmRun) closeTargets(ctx context.Context, cause error) error {
	var errs []error
	for _, t := range v.targets {
		errs = append(errs, t.close(ctx, cause))
	}
	return errors.Join(errs...)
}
