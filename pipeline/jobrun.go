package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/time/rate"

	"github.com/xenbackup/xenbackup/pipeline/task"
)

var (
	// ErrJobTimeout ends a run that took longer than the job's timeout.
	ErrJobTimeout = errors.New("pipeline: the run took longer than the job's timeout")

	// ErrVMTimeout ends the backup of a VM that took longer than the job's vmTimeout.
	ErrVMTimeout = errors.New("pipeline: the VM took longer than the job's vmTimeout")

	// ErrCancelled ends what was cancelled by [Runner.Cancel]. It is also a
	// [context.Canceled].
	ErrCancelled = fmt.Errorf("pipeline: cancelled on request: %w", context.Canceled)
)

// jobRun is one run of a job.
type jobRun struct {
	*Runner

	job      *Job
	opts     *RunOptions
	settings Settings
	story    *task.Run
	remotes  []namedCatalog
	rate     *rate.Limiter // of all reading; nil: unlimited

	mu      sync.Mutex
	cancel  context.CancelCauseFunc            // of the run
	cancels map[string]context.CancelCauseFunc // of its VMs, by uuid
}

// Cancel cancels the backup of a VM, by its uuid, in a run, by its id, or the whole
// run for "". What is under way is undone and ends as interrupted; a VM that waits
// for its turn never begins. It returns at once, and tells whether there was such a
// VM in such a run.
func (r *Runner) Cancel(run, vm string) bool {
	r.own.mu.Lock()
	j := r.own.runs[run]
	r.own.mu.Unlock()
	if j == nil {
		return false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	cancel := j.cancel
	if vm != "" {
		cancel = j.cancels[vm]
	}
	if cancel == nil {
		return false
	}
	cancel(ErrCancelled)
	return true
}

// run runs the job, under its deadline.
func (j *jobRun) run(ctx context.Context) error {
	ctx, j.cancel = context.WithCancelCause(ctx)
	defer j.cancel(nil)
	if j.settings.Timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, j.settings.Timeout, ErrJobTimeout)
		defer stop()
	}
	j.register(true)
	defer j.register(false)
	j.recoverFor(ctx)

	vms, err := j.selectVMs(ctx, j.job, j.opts, j.story)
	if err != nil {
		return err
	}
	ids := make([]string, len(vms))
	for i, vm := range vms {
		ids[i] = vm.id
	}
	j.story.Info("vms", map[string]any{"vms": ids})
	for _, key := range j.settings.NotHonoured {
		j.story.Warning("setting not supported, and passed over", map[string]any{"setting": key, "reason": passedOver[key]})
	}
	if j.remotes, err = j.openRemotes(ctx, j.job, j.story); err != nil {
		return err
	}
	if n := j.settings.MaxExportRate; n > 0 {
		j.rate = newRate(n)
	}
	j.backUpAll(ctx, vms)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

func (j *jobRun) register(runs bool) {
	j.own.mu.Lock()
	defer j.own.mu.Unlock()
	if runs {
		j.own.runs[j.story.ID()] = j
	} else {
		delete(j.own.runs, j.story.ID())
	}
}

// backUpAll backs up the VMs, and those again that failed, as often as the job says.
func (j *jobRun) backUpAll(ctx context.Context, vms []chosenVM) {
	contexts := make(map[string]context.Context, len(vms))
	for _, vm := range vms {
		j.addContext(ctx, contexts, vm.id)
	}
	for attempt := 1; len(vms) > 0 && ctx.Err() == nil; attempt++ {
		vms = j.pass(ctx, vms, contexts, attempt)
	}
}

// addContext makes the context of a VM, which Cancel ends, or else the run's end.
func (j *jobRun) addContext(ctx context.Context, contexts map[string]context.Context, vm string) {
	own, cancel := context.WithCancelCause(ctx)
	j.mu.Lock()
	defer j.mu.Unlock()
	contexts[vm], j.cancels[vm] = own, cancel
}

// pass backs up VMs, as many at a time as the job's concurrency says, and returns
// those that are to be tried again, in their order.
func (j *jobRun) pass(ctx context.Context, vms []chosenVM, contexts map[string]context.Context, attempt int) []chosenVM {
	concurrency := NewLimiter(Limits{VM: j.settings.Concurrency})
	again := make([]bool, len(vms))
	var wg sync.WaitGroup
	for i, vm := range vms {
		// The slot is taken here, one after the other: VMs start in the job's order.
		_, release, err := concurrency.Acquire(ctx, Key{Op: OpVM})
		if err != nil {
			break // cancelled: the others never start
		}
		wg.Go(func() {
			defer release()
			again[i] = j.backUpVM(contexts[vm.id], vm, attempt)
		})
	}
	wg.Wait()
	var left []chosenVM
	for i, vm := range vms {
		if again[i] {
			left = append(left, vm)
		}
	}
	return left
}

// backUpVM waits until no other job has the VM, and backs it up. It tells whether
// that failed and is to be tried again.
func (j *jobRun) backUpVM(ctx context.Context, vm chosenVM, attempt int) (again bool) {
	tk := j.story.Start("backup VM", map[string]any{"type": "VM", "id": vm.id, "name_label": vm.name})
	ended := tk.Wait(string(OpVM)) // another job may have it
	slot, release, err := j.own.vms.Acquire(ctx, Key{Pool: vm.id, Op: OpVM})
	ended()
	if err != nil {
		tk.Fail(err)
		return false
	}
	defer release()
	v := j.vmRun(j.job, j.opts, vm, tk)
	v.rate, v.runID = j.rate, j.story.ID()
	if err = v.configure(vm.id, j.remotes); err == nil {
		err = v.runInTime(slot)
		failure := v.failure(err)
		if again = failure != nil && attempt <= v.settings.Retries && slot.Err() == nil; again {
			tk.WillRetry(attempt, failure)
		}
	}
	tk.Fail(coded(err)) // nil is success, as far as the targets succeeded
	return again
}

// runInTime is run under the deadline of the VM.
func (v *vmRun) runInTime(ctx context.Context) error {
	if v.settings.VMTimeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, v.settings.VMTimeout, ErrVMTimeout)
		defer stop()
	}
	return v.run(ctx)
}

// failure returns what makes the backup of the VM worth another attempt: a failure
// of its own or of a target, but neither a reason to skip it nor a cancellation.
func (v *vmRun) failure(err error) error {
	if _, skip := errors.AsType[*task.SkipError](err); skip || errors.Is(err, context.Canceled) {
		return nil
	}
	for _, t := range v.targets {
		err = errors.Join(err, t.dropped())
	}
	return err
}
