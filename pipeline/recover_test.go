package pipeline_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/xapi"
)

var errNoAnswer = errors.New("the pool does not answer")

// lostPool is a pool that does not answer any more once it is lost.
type lostPool struct {
	pipeline.Pool

	lost atomic.Bool
}

func (p *lostPool) Call(ctx context.Context, method string, result any, args ...any) error {
	if p.lost.Load() {
		return errNoAnswer
	}
	return p.Pool.Call(ctx, method, result, args...)
}

func (p *lostPool) CallAsync(ctx context.Context, method string, result any, args ...any) error {
	if p.lost.Load() {
		return errNoAnswer
	}
	return p.Pool.CallAsync(ctx, method, result, args...)
}

// runLost runs the job with a pool that is lost amid the transfer, so that the run can undo
// nothing there.
func (w *world) runLost() (*lostPool, *pipeline.Runner) {
	w.t.Helper()
	w.write(0, mib, 2*mib, 9)
	pool := &lostPool{Pool: w.client}
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	opts := w.opts
	opts.Pools = map[string]pipeline.Pool{"lab": pool}
	opts.Observer = task.ObserverFunc(func(e task.Event) {
		if e.Kind == task.EventProgress && e.Done > 0 && ctx.Err() == nil {
			pool.lost.Store(true)
			cancel()
		}
	})
	runner, err := pipeline.NewRunner(&opts)
	require.NoError(w.t, err)
	_, err = runner.Run(ctx, w.job, &pipeline.RunOptions{ScheduleID: schedule})
	require.ErrorIs(w.t, err, errNoAnswer)
	require.Len(w.t, w.pool.Leaks(), 2, "the blocks of migration")
	return pool, runner
}

func (w *world) openState(dir string) *pipeline.State {
	w.t.Helper()
	state, err := pipeline.DirState(dir)
	require.NoError(w.t, err)
	w.opts.State = state
	return state
}

func (w *world) isRecovered() {
	w.t.Helper()
	w.checkClean()
	require.Len(w.t, w.pool.Snapshots(), 1, "the base")
	require.True(w.t, isDelta(w.points("a")[len(w.points("a"))-1]))
	w.checkPoints("a", len(w.points("a")))
}

func TestRecoverWaitsForPoolAndForOthers(t *testing.T) {
	w := newWorld(t, "a")
	dir := t.TempDir()
	state := w.openState(dir)
	w.mustRun()
	w.mustRun()
	pool, runner := w.runLost()

	require.ErrorIs(t, runner.Recover(t.Context()), errNoAnswer)
	require.Len(t, w.pool.Snapshots(), 2)

	pool.lost.Store(false)
	other, err := openFolder(t, w.dirs["a"]).LockVM(t.Context(), w.vm().UUID)
	require.NoError(t, err)
	require.ErrorIs(t, runner.Recover(t.Context()), remote.ErrLocked)
	require.Len(t, w.pool.Leaks(), 2, "the other one counts on the block")
	require.NoError(t, other.Close(t.Context()))

	require.NoError(t, state.Close())
	state = w.openState(dir)
	defer func() { require.NoError(t, state.Close()) }()
	runner, err = pipeline.NewRunner(&w.opts)
	require.NoError(t, err)
	require.NoError(t, runner.Recover(t.Context()))
	w.isRecovered()
	calls := len(w.pool.Calls())
	require.NoError(t, runner.Recover(t.Context()))
	require.Len(t, w.pool.Calls(), calls, "nothing is left to do")
	w.mustRun()
	w.isRecovered()
}

// Without a state a runner knows what it could not undo as long as it lives.
func TestNextRunUndoesWhatTheOneBeforeCouldNot(t *testing.T) {
	w := newWorld(t, "a")
	w.mustRun()
	pool, runner := w.runLost()
	pool.lost.Store(false)
	run, err := runner.Run(t.Context(), w.job, &pipeline.RunOptions{ScheduleID: schedule})
	require.NoError(t, err)
	var told []string
	for _, info := range run.Record().Infos {
		told = append(told, info.Message)
	}
	require.Subset(t, told, []string{"undone what an interrupted run left: snapshot", "undone what an interrupted run left: block of migration"})
	w.checkClean()
	require.Len(t, w.pool.Snapshots(), 1)
}

// What an administrator has blocked comes back, and what he has changed since stays.
func TestRecoverUnblocksOnlyWhatTheRunHasBlocked(t *testing.T) {
	w := newWorld(t, "a")
	blocks := func(ops map[string]string) {
		require.NoError(t, w.client.Call(t.Context(), "VM.set_blocked_operations", nil, w.vm().Ref, ops))
	}
	blocks(map[string]string{"pool_migrate": "by the admin", "start": "for ever"})
	pool := &lostPool{Pool: w.client}
	w.opts.Pools["lab"] = pool
	w.opts.Observer = task.ObserverFunc(func(e task.Event) {
		if e.Kind == task.EventProgress && e.Done > 0 {
			pool.lost.Store(true)
		}
	})
	runner, err := pipeline.NewRunner(&w.opts)
	require.NoError(t, err)
	_, err = runner.Run(t.Context(), w.job, &pipeline.RunOptions{ScheduleID: schedule})
	require.ErrorIs(t, err, errNoAnswer)
	vm, err := xapi.Get(t.Context(), w.client, xapi.Ref[xapi.VM](w.vm().Ref))
	require.NoError(t, err)
	changed := vm.BlockedOperations
	require.NotEqual(t, "by the admin", changed["pool_migrate"])
	changed["migrate_send"] = "not now"
	blocks(changed)
	pool.lost.Store(false)
	require.NoError(t, runner.Recover(t.Context()))
	vm, err = xapi.Get(t.Context(), w.client, xapi.Ref[xapi.VM](w.vm().Ref))
	require.NoError(t, err)
	require.Equal(t, map[string]string{"pool_migrate": "by the admin", "migrate_send": "not now", "start": "for ever"}, vm.BlockedOperations)
	blocks(map[string]string{})
}

// A run that is under way is not recovered from.
func TestRecoverLeavesLiveRunsAlone(t *testing.T) {
	w := newWorld(t, "a")
	state := w.openState(t.TempDir())
	defer func() { require.NoError(t, state.Close()) }()
	var runner *pipeline.Runner
	tried := false
	w.opts.Observer = task.ObserverFunc(func(e task.Event) {
		if e.Kind == task.EventProgress && e.Done > 0 && !tried {
			tried = true
			require.NoError(t, runner.Recover(t.Context()))
			require.NotEmpty(t, w.pool.Leaks(), "it is amid")
		}
	})
	runner, err := pipeline.NewRunner(&w.opts)
	require.NoError(t, err)
	_, err = runner.Run(t.Context(), w.job, &pipeline.RunOptions{ScheduleID: schedule})
	require.NoError(t, err)
	require.True(t, tried)
	w.checkClean()
}

func TestStateIsOneProcesss(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	state, err := pipeline.DirState(dir)
	require.NoError(t, err)
	_, err = pipeline.DirState(dir)
	require.ErrorIs(t, err, pipeline.ErrStateInUse)
	require.NoError(t, state.Close())
	state, err = pipeline.DirState(dir)
	require.NoError(t, err)
	records, err := state.Schedules().Load(t.Context())
	require.NoError(t, err)
	require.Empty(t, records)
	require.NoError(t, state.Close())
}
