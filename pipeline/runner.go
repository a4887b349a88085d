package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// RunnerOptions says what a [Runner] works with.
type RunnerOptions struct {
	// Pools are the pools in which VMs are looked for. The key names a pool in
	// limits and in what the run says; it must stay the same between runners that
	// share a Limiter.
	Pools map[string]Pool

	// Remotes returns the catalog of a repository that a job names. It is called
	// once per run and repository, and for what is recovered there; the catalog stays
	// the caller's to close, and may be the same each time. Jobs without repositories
	// need none.
	Remotes func(ctx context.Context, id string) (*catalog.Catalog, error)

	// Limiter bounds the work on pools, over all jobs that share it. nil is a
	// LocalLimiter of the runner's own, with DefaultLimits.
	Limiter Limiter

	// SnapshotTimeout is how long a snapshot may take before it is abandoned, so that
	// one that is stuck does not keep its slot from all other VMs: its task is
	// cancelled, and what it leaves the next run of the job removes. 0 is an hour,
	// and a negative one for ever.
	SnapshotTimeout time.Duration

	// UnexpectedFull says what happens to a VM that should be backed up as a delta and
	// cannot be. The zero value backs it up in full.
	UnexpectedFull UnexpectedFull

	// State keeps what has to be known after the process was killed, and the log of all
	// runs. nil is in memory: what a killed run left is found again by its names and tags
	// in the pool, when the same job backs up the same VM.
	State *State

	// Budget bounds the memory of all transfers. nil is one of the runner's own,
	// of the default size.
	Budget *disk.Budget

	// ListedNoBackup backs up VMs tagged xo:no-bak when a job lists them by their
	// ids. By default the tag always counts, as XO's manual says.
	ListedNoBackup bool

	// Logger hears of the start and the end of runs. nil discards.
	Logger *slog.Logger

	// Observer hears of all that happens in all runs. It may be nil.
	Observer task.Observer
}

// Runner runs jobs. It may run several at the same time; a VM is in one of them
// at a time, the others wait for it.
type Runner struct {
	opts RunnerOptions
	own  *ownership

	mu    sync.Mutex
	uuids map[string]string // of pools that have answered, by their names
}

// ownership is what runs have of which there is one in the process: runners that were
// renewed share it.
type ownership struct {
	vms *LocalLimiter // one slot per VM, of the state

	mu   sync.Mutex
	runs map[string]*jobRun // under way, by their ids
}

// NewRunner returns a runner. The options are copied; at least one pool is needed.
func NewRunner(opts *RunnerOptions) (*Runner, error) {
	if opts == nil || len(opts.Pools) == 0 {
		return nil, errors.New("pipeline: runner without a pool")
	}
	r := &Runner{opts: *opts, own: &ownership{runs: map[string]*jobRun{}}, uuids: map[string]string{}}
	r.opts.Pools = maps.Clone(opts.Pools)
	if r.opts.Limiter == nil {
		r.opts.Limiter = NewLimiter(DefaultLimits())
	}
	if r.opts.SnapshotTimeout == 0 {
		r.opts.SnapshotTimeout = time.Hour
	}
	if r.opts.State == nil {
		r.opts.State = memoryState()
	}
	if r.opts.State.journal == nil {
		return nil, errors.New("pipeline: a State is made by DirState")
	}
	r.own.vms = r.opts.State.vms
	if log := r.opts.State.runs; log != nil {
		r.opts.Observer = task.Tee(log, r.opts.Observer)
	}
	if r.opts.Budget == nil {
		r.opts.Budget = disk.NewBudget(0)
	}
	if r.opts.Logger == nil {
		r.opts.Logger = slog.New(slog.DiscardHandler)
	}
	return r, nil
}

// Renew returns a runner with other options for runs that begin from now on, such as
// those of a configuration that was changed; runs that r is amid go on under the old ones.
// A VM is in one run of both at a time, and [Runner.Cancel] of either finds all runs.
// They share a limiter and a budget if the options name the same. The state stays, unless
// the options name another.
func (r *Runner) Renew(opts *RunnerOptions) (*Runner, error) {
	if opts != nil && opts.State == nil {
		own := *opts
		own.State = r.opts.State
		opts = &own
	}
	renewed, err := NewRunner(opts)
	if err != nil {
		return nil, err
	}
	renewed.own = r.own
	return renewed, nil
}

// RunOptions says how a job is run this time. nil is fine.
type RunOptions struct {
	ScheduleID string   // whose settings and retention count; "": that of the job's own id
	VMs        []string // uuids: only these of the job's VMs; empty for all
	ForceFull  bool     // a full backup, whatever there is to continue
}

// of returns the options for a job, none missing.
func (o *RunOptions) of(job *Job) *RunOptions {
	own := RunOptions{}
	if o != nil {
		own = *o
	}
	if own.ScheduleID == "" { // XO counts points by schedule, and all must have one
		own.ScheduleID = job.ID
	}
	return &own
}

// Run runs a job to its end and returns the story of it, which is there even if
// the job was refused. The error is nil if, and only if, the run's status is
// success: else it is what stood in the way, that of every VM and target that
// failed included.
//
// The VMs are backed up as many at a time as the job's concurrency says. One
// that fails does not stop the others, and is tried again after them if the job
// says so. When ctx ends, or the job's timeout is over, what is under way is
// cancelled and undone, and Run returns after that; [Runner.Cancel] does so for a
// run or one VM of it.
func (r *Runner) Run(ctx context.Context, job *Job, opts *RunOptions) (*task.Run, error) {
	opts = opts.of(job)
	data := map[string]any{"mode": job.Mode}
	settings, err := job.Resolve("", opts.ScheduleID)
	if err == nil {
		data["reportWhen"] = settings.ReportWhen
	}
	run := task.NewRun(task.Job{ID: job.ID, Name: job.Name, ScheduleID: opts.ScheduleID}, data, r.opts.Observer)
	log := r.opts.Logger.With("job", job.ID, "run", run.ID())
	log.InfoContext(ctx, "run started", "schedule", opts.ScheduleID)
	defer r.opts.State.begin(run.ID(), job.ID)()
	err = errors.Join(job.Validate(), err)
	if err == nil {
		j := &jobRun{Runner: r, job: job, opts: opts, settings: settings, story: run, cancels: map[string]context.CancelCauseFunc{}}
		err = j.run(ctx)
	}
	run.Fail(err) // nil is success, as far as the VMs succeeded
	log.InfoContext(ctx, "run ended", "status", string(run.Status()))
	return run, run.Err()
}

// namedCatalog is a repository of the job.
type namedCatalog struct {
	id      string
	catalog *catalog.Catalog
}

// openRemotes opens the repositories of the job. One that cannot be opened has a
// task that says so, and the others go on.
func (r *Runner) openRemotes(ctx context.Context, job *Job, run *task.Run) ([]namedCatalog, error) {
	ids, err := job.RemoteIDs()
	if err != nil {
		return nil, err
	}
	if len(ids) > 0 && r.opts.Remotes == nil {
		return nil, errors.New("pipeline: the job has repositories, the runner knows none")
	}
	var open []namedCatalog
	for _, id := range ids {
		c, err := r.opts.Remotes(ctx, id)
		if err == nil && c == nil {
			err = errors.New("pipeline: unknown repository")
		}
		if err != nil {
			run.Start("get remote adapter", map[string]any{"type": "remote", "id": id}).Fail(fmt.Errorf("repository %s: %w", id, err))
			continue
		}
		open = append(open, namedCatalog{id, c})
	}
	if len(ids) > 0 && len(open) == 0 {
		return nil, ErrNoTarget
	}
	return open, nil
}

func (r *Runner) vmRun(job *Job, opts *RunOptions, vm chosenVM, tk *task.Task) *vmRun {
	return &vmRun{
		job: job, schedule: opts.ScheduleID, force: opts.ForceFull,
		state: r.opts.State, poolID: vm.pool, pool: r.opts.Pools[vm.pool], ref: vm.ref,
		limiter: r.opts.Limiter, budget: r.opts.Budget, task: tk,
		snapshotTimeout: r.opts.SnapshotTimeout, unexpectedFull: r.opts.UnexpectedFull, label: newLabel(),
	}
}

// configure resolves the settings of the VM and picks the targets that keep
// anything of it.
func (v *vmRun) configure(uuid string, remotes []namedCatalog) (err error) {
	if v.settings, err = v.job.Resolve("", v.schedule, uuid); err != nil {
		return err
	}
	for _, remote := range remotes {
		own, err := v.job.Resolve("", v.schedule, uuid, remote.id)
		if err != nil {
			return err
		}
		if own.keeps() {
			v.targets = append(v.targets, &target{id: remote.id, catalog: remote.catalog, settings: own})
		}
	}
	if len(v.targets) == 0 && v.settings.SnapshotRetention == 0 {
		return &SettingError{
			Key: "exportRetention", Value: "0",
			Reason: "nothing would be kept: neither in a repository nor, by snapshotRetention, on the pool",
		}
	}
	return nil
}
