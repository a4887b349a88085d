package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/xapi"
)

// errBackedUpNow: another run of this process has the VM.
var errBackedUpNow = errors.New("pipeline: the VM is being backed up")

// patience is for how long it is tried to undo what may be left alone.
const patience = 30 * 24 * time.Hour

// recoveries is how many VMs of a pool are put in order at a time.
const recoveries = 4

// Recover undoes what runs have left behind that ended with their process, or that could
// not undo it themselves: tasks of the pool are cancelled, guests that were halted for
// their backup are started, migration is allowed again where a run has blocked it,
// snapshots are destroyed unless they are the base of the next delta, and in the
// repositories locks are released and what nobody completes is removed. The log says that
// the runs were interrupted, and what was undone.
//
// It touches nothing but what the runner's [State] names, so nothing of another process
// that lives, and leaves alone a VM that somebody else has locked in a repository. What
// cannot be undone, since a pool or a repository does not answer, stays in the state; the
// error says so. It may be interrupted, and called at any time. After 30 days it gives up
// what is in a pool that the runner does not know any more, and snapshots and files whose
// repositories never answered, so that the state does not grow for ever; the log says what.
//
// Every [Runner.Run] begins with it, as far as its own job is concerned or it was not
// tried before. Programs that do not run a job at once call it when they start, since a
// guest may be down.
func (r *Runner) Recover(ctx context.Context) error {
	return r.recover(ctx, nil, func(intent, bool) bool { return true })
}

// recoverFor is Recover at the beginning of a run.
func (j *jobRun) recoverFor(ctx context.Context) {
	err := j.recover(ctx, j.story.Task, func(in intent, tried bool) bool { return !tried || in.Job == j.job.ID })
	if err != nil {
		j.story.Warning("not all is undone that interrupted runs have left", map[string]any{"error": err.Error()})
	}
}

// recover undoes what wanted says. told, which may be nil, gets infos about it.
func (r *Runner) recover(ctx context.Context, told *task.Task, wanted func(in intent, tried bool) bool) error {
	journal := r.opts.State.journal
	claimed := journal.claim(wanted)
	defer journal.giveBack(claimed)
	if len(claimed) == 0 {
		return nil
	}
	defer func() { r.giveUp(ctx, told, claimed) }()
	rec := &recovery{Runner: r, journal: journal, told: told, undone: map[string][]task.Message{}}
	byPool := map[string][]intent{}
	for _, in := range claimed {
		if in.Kind != intentRun {
			byPool[in.Pool] = append(byPool[in.Pool], in)
		}
	}
	var wg sync.WaitGroup
	for name, intents := range byPool {
		wg.Go(func() { rec.pool(ctx, name, intents) })
	}
	wg.Wait()
	for _, in := range claimed {
		if in.Kind == intentRun {
			rec.run(in)
		}
	}
	return errors.Join(rec.errs...)
}

// giveUp forgets what could not be undone for too long.
func (r *Runner) giveUp(ctx context.Context, told *task.Task, claimed []intent) {
	if ctx.Err() != nil {
		return // it was not tried
	}
	for _, in := range claimed {
		lasting := in.Kind == intentMigration || in.Kind == intentHalted // of use once the pool answers
		if time.Since(in.Time) < patience || r.opts.Pools[in.Pool] != nil && lasting || !r.opts.State.journal.remove(in.ID) {
			continue
		}
		data := map[string]any{"id": in.VM, "run": in.Run, "pool": in.Pool, "what": string(in.Kind), "ref": in.Ref}
		r.opts.Logger.WarnContext(ctx, "given up what an interrupted run left", "vm", in.VM, "run", in.Run, "pool", in.Pool, "what", string(in.Kind), "ref", in.Ref)
		if told != nil {
			told.Warning("given up what an interrupted run left", data)
		}
	}
}

// recovery is one call of recover.
type recovery struct {
	*Runner

	journal *journal
	told    *task.Task // may be nil

	mu     sync.Mutex
	errs   []error
	undone map[string][]task.Message // by the ids of runs
}

// fail notes what could not be undone.
func (rec *recovery) fail(err error) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.errs = append(rec.errs, err)
}

// done forgets an intent. what says what was undone, "" that there was nothing.
func (rec *recovery) done(ctx context.Context, in *intent, what string) {
	rec.journal.remove(in.ID)
	if what == "" {
		return
	}
	data := map[string]any{"id": in.VM, "run": in.Run}
	rec.opts.Logger.InfoContext(ctx, "undone what an interrupted run left", "vm", in.VM, "run", in.Run, "what", what)
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.told != nil {
		rec.told.Info("undone what an interrupted run left: "+what, data)
	}
	rec.undone[in.Run] = append(rec.undone[in.Run], task.Message{Message: "undone after the interruption: " + what, Data: data})
}

// run ends the story of a run that never ended.
func (rec *recovery) run(in intent) {
	if log := rec.opts.State.runs; log != nil {
		if err := log.Interrupt(in.Run, rec.undone[in.Run]...); err != nil {
			rec.fail(err)
			return
		}
	}
	rec.journal.remove(in.ID)
}

// pool undoes what was left in one pool, and in the repositories of its VMs.
func (rec *recovery) pool(ctx context.Context, name string, intents []intent) {
	pool := rec.opts.Pools[name]
	if pool == nil {
		rec.fail(fmt.Errorf("pipeline: what interrupted runs have left in pool %s stays, and is forgotten %d days later: the runner does not know the pool", name, patience/(24*time.Hour)))
		return
	}
	byVM := map[string]*undoing{}
	var order []string
	for _, in := range intents {
		if byVM[in.VM] == nil {
			byVM[in.VM] = &undoing{recovery: rec, poolID: name, pool: pool, uuid: in.VM}
			order = append(order, in.VM)
		}
		byVM[in.VM].intents = append(byVM[in.VM].intents, in)
	}
	for i, uuid := range order { // one after the other: if the pool is down, the first one tells
		if err := byVM[uuid].find(ctx); err != nil {
			rec.fail(fmt.Errorf("pool %s: %d VMs: %w", name, len(order)-i, err))
			order = order[:i]
			break
		}
	}
	if len(order) == 0 {
		return
	}
	tasks := cancelTasks(ctx, pool, intents)
	var group errgroup.Group
	group.SetLimit(recoveries)
	for _, uuid := range order {
		byVM[uuid].tasks = tasks
		group.Go(func() error {
			if err := byVM[uuid].undo(ctx); err != nil {
				rec.fail(fmt.Errorf("vm %s: %w", uuid, err))
			}
			return nil
		})
	}
	_ = group.Wait() // its functions have told
}

// find looks for the VM. One that is gone has no ref.
func (u *undoing) find(ctx context.Context) error {
	err := u.pool.Call(ctx, "VM.get_by_uuid", &u.ref, u.uuid)
	if errors.Is(err, xapi.ErrUUIDInvalid) {
		u.ref, err = "", nil
	}
	return err
}

// of returns the intents of a kind, the newest first.
func (u *undoing) of(kind intentKind) []intent {
	return slices.DeleteFunc(slices.Clone(u.intents), func(in intent) bool { return in.Kind != kind })
}
