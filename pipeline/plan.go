package pipeline

import (
	"context"
	"errors"
	"io/fs"

	"golang.org/x/sync/errgroup"

	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/selector"
)

// Plan is what a run of a job would do at the moment it was made.
type Plan struct {
	VMs      []*PlannedVM       // in the order they would begin
	Excluded []selector.Verdict // match, and are left out all the same
	Problems []error            // VMs, pools and repositories that could not be found or asked
	Warnings []Warning          // about the job; see [Job.Warnings]
}

// PlannedVM is a VM in a [Plan].
type PlannedVM struct {
	ID, Name string
	Pool     string // as in [RunnerOptions].Pools
	Skip     string // why it would be skipped; "" it would not
	Err      error  // why it would fail, or cannot be planned; nil it would not

	Snapshot bool   // one is taken
	ShutDown bool   // the guest is shut down, and started again
	Memory   bool   // is in the snapshot
	Full     bool   // at least one disk, or the whole archive
	Reason   string // why all of it is full; "" it is not
	Disks    []PlannedDisk
	Targets  []PlannedTarget
	Notes    []task.Message // that the run would give: warnings, infos
}

// PlannedDisk is a disk in a [Plan].
type PlannedDisk struct {
	ID, Name string
	Size     int64 // virtual, in bytes: no more is transferred
	Bytes    int64 // at most so many are: what the pool has allocated or, of a delta, tracked as changed; [Unknown] if it does not say
	Full     bool
	Reason   string // why it is full
}

// PlannedTarget is a repository in a [Plan].
type PlannedTarget struct {
	ID     string
	Free   int64            // bytes; 0 is unknown
	Last   int64            // bytes of the last point of this schedule, a guide to those of the next; 0 is none
	Expire []*catalog.Point // would be deleted, once there is the new one
	Err    error            // why it would be dropped, or why it is not known what expires
}

// Plan says what a run with the same options would do, and why. It only reads, takes
// no lock and no slot, and waits for no other job; what changes until the run may
// change what that does. A disk that the pool then refuses to export as a delta is
// exported in full.
//
// The error is that of a job that would be refused as a whole, or not match.
func (r *Runner) Plan(ctx context.Context, job *Job, opts *RunOptions) (*Plan, error) {
	opts = opts.of(job)
	if err := job.Validate(); err != nil {
		return nil, err
	}
	choice, err := r.choose(ctx, job, opts)
	if err != nil {
		return nil, err
	}
	plan := &Plan{Excluded: choice.excluded, Warnings: job.Warnings(nil)}
	for _, p := range choice.problems {
		plan.Problems = append(plan.Problems, choice.explain(p))
	}
	if len(choice.vms) == 0 {
		return plan, noMatch()
	}
	story := task.NewRun(task.Job{ID: job.ID, Name: job.Name}, nil, nil) // nobody hears of it
	remotes, err := r.openRemotes(ctx, job, story)
	if err != nil {
		return plan, err
	}
	for _, failed := range story.Children() {
		plan.Problems = append(plan.Problems, failed.Err())
	}
	const atOnce = 4
	plan.VMs = make([]*PlannedVM, len(choice.vms))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, vm := range choice.vms {
		group.Go(func() error {
			plan.VMs[i] = r.planVM(ctx, job, opts, vm, remotes, story)
			return ctx.Err()
		})
	}
	if group.Wait() != nil {
		return plan, context.Cause(ctx)
	}
	return plan, nil
}

// planVM plans one VM.
func (r *Runner) planVM(ctx context.Context, job *Job, opts *RunOptions, vm chosenVM, remotes []namedCatalog, story *task.Run) *PlannedVM {
	v := r.vmRun(job, opts, vm, story.Start("backup VM", nil))
	v.dry = true
	p := &PlannedVM{ID: vm.id, Name: vm.name, Pool: vm.pool}
	err := v.configure(vm.id, remotes)
	if err == nil {
		err = v.guard(ctx)
	}
	if err == nil {
		err = v.plan(ctx, p)
	}
	if err == nil {
		err = v.requireTarget()
	}
	for _, t := range v.targets {
		p.Targets = append(p.Targets, v.planTarget(ctx, vm.id, t))
	}
	p.Notes = append(v.task.Warnings(), v.task.Infos()...)
	if skip, ok := errors.AsType[*task.SkipError](err); ok {
		p.Skip = skip.Reason
		return p
	}
	p.Err = err
	return p
}

// plan finds out what would be exported.
func (v *vmRun) plan(ctx context.Context, p *PlannedVM) error {
	var choice *baseChoice
	if v.isFull() {
		choice = &baseChoice{reason: "the job makes full backups"}
		p.Snapshot = v.needsSnapshot()
	} else {
		p.Snapshot = true
		gens, err := newPoolView(v.pool).generations(ctx, v.job.ID, v.vm, v.live)
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
		if choice, err = chooseBase(ctx, v, gens, v.settings.FullInterval, force); err != nil {
			return err
		}
	}
	p.ShutDown, p.Memory = v.needsHalt(), p.Snapshot && v.wantsMemory() && len(v.excluded) == 0
	p.Full, p.Reason = v.isFull() || choice.isFull(v.live), choice.reason
	if err := v.planDisks(ctx, p, choice); err != nil {
		return err
	}
	if err := v.checkUnexpected(choice); err != nil {
		return err
	}
	if p.Snapshot {
		if err := v.checkChains(ctx); err != nil {
			return err
		}
	}
	if !v.isFull() {
		return nil
	}
	return v.checkArchiveRoom(ctx)
}

// planDisks finds out what would be read.
func (v *vmRun) planDisks(ctx context.Context, p *PlannedVM, choice *baseChoice) error {
	allocated := newAllocation(v.pool)
	for _, d := range v.live {
		disk := PlannedDisk{ID: d.vdi.UUID, Name: d.vdi.NameLabel, Size: d.vdi.VirtualSize}
		if base := choice.disks[d.ref]; base != nil {
			disk.Bytes = v.changed(ctx, d, base)
		} else {
			disk.Full, disk.Reason = true, choice.why(d.ref)
			var err error
			if disk.Bytes, err = allocated.of(ctx, d.ref); err != nil {
				return err
			}
		}
		disk.Bytes = min(disk.Bytes, disk.Size)
		p.Disks = append(p.Disks, disk)
	}
	return nil
}

// planTarget finds out what would happen in a repository.
func (v *vmRun) planTarget(ctx context.Context, vm string, t *target) PlannedTarget {
	p := PlannedTarget{ID: t.id, Err: t.dropped()}
	space, err := t.catalog.Space(ctx)
	if err != nil {
		p.Err = errors.Join(p.Err, err)
	}
	p.Free = space.Free
	mode := catalog.ModeDelta
	if v.isFull() {
		mode = catalog.ModeFull
	}
	points, err := pointsOf(ctx, t.catalog, vm)
	if err != nil {
		p.Err = errors.Join(p.Err, err)
		return p
	}
	retention := t.settings.retention(v.schedule, mode)
	retention.Before = true // the new one counts
	for _, fate := range catalog.Plan(points, retention) {
		if !fate.Keep && (v.isFull() || t.settings.MaxMergedDeltasPerRun > 0) {
			p.Expire = append(p.Expire, fate.Point)
		}
		if m := fate.Point.Metadata; m.ScheduleID == v.schedule && m.Mode == mode {
			p.Last = m.Size
		}
	}
	return p
}

// pointsOf returns the points of a VM, none if there never was one.
func pointsOf(ctx context.Context, c *catalog.Catalog, vm string) ([]*catalog.Point, error) {
	var points []*catalog.Point
	for p, err := range c.Points(ctx, vm) {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		points = append(points, p)
	}
	return points, nil
}
