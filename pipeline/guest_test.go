package pipeline_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// order returns, in the order they were made, the calls that show when the guest was
// down: each method once.
func (w *world) order() string {
	var order []string
	for _, c := range w.pool.Calls() {
		method := strings.TrimPrefix(c.Method, "Async.")
		name := map[string]string{
			"VM.clean_shutdown": "down", "VM.start": "up", "VM.snapshot": "snapshot", "VM.checkpoint": "checkpoint",
			"GET /export": "export", "GET /export_raw_vdi": "export",
		}[method]
		if name != "" && !slices.Contains(order, name) {
			order = append(order, name)
		}
	}
	return strings.Join(order, " ")
}

// checkGuest looks that the guest runs, and that nothing tells that it ever did not.
func (w *world) checkGuest() {
	w.t.Helper()
	vm, err := xapi.Get(w.t.Context(), w.client, xapi.Ref[xapi.VM](w.vm().Ref))
	require.NoError(w.t, err)
	require.Equal(w.t, "Running", vm.PowerState)
	require.NotContains(w.t, vm.OtherConfig, "xenbackup:start")
	for _, s := range w.pool.Snapshots() {
		require.NotContains(w.t, w.tags(s), "xenbackup:start")
	}
}

func (w *world) tagVM(tag string) {
	w.t.Helper()
	require.NoError(w.t, w.client.Call(w.t.Context(), "VM.add_tags", nil, w.vm().Ref, tag))
}

func TestGuestIsDownForWhatTheSettingsSay(t *testing.T) {
	for name, c := range map[string]struct{ mode, set, tag, want string }{
		"full, offline backup":       {"full", `"offlineBackup":true`, "", "down export up"},
		"full, offline snapshot":     {"full", `"offlineSnapshot":true`, "", "down snapshot up export"},
		"full, from a snapshot":      {"full", `"offlineBackup":true,"unconditionalSnapshot":true`, "", "down snapshot export up"},
		"delta, offline backup":      {"delta", `"offlineBackup":true`, "", "down snapshot export up"},
		"delta, offline snapshot":    {"delta", `"offlineSnapshot":true`, "", "down snapshot up export"},
		"snapshot by tag":            {"delta", `"concurrency":1`, "xo-offline-backup", "down snapshot up export"},
		"a setting beats the tag":    {"delta", `"offlineBackup":true`, "xo-offline-backup", "down snapshot export up"},
		"offline rather than memory": {"delta", `"offlineSnapshot":true,"checkpointSnapshot":true`, "", "down snapshot up export"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "r")
			w.job.Mode, w.job.Compression = c.mode, new(pipeline.CompressionNone)
			if c.tag != "" {
				w.tagVM(c.tag)
			}
			w.set(`{"exportRetention":2,` + c.set + `}`)
			w.mustRun()
			require.Equal(t, c.want, w.order())
			w.checkGuest()
			w.write(0, 0, mib, 77)
			w.mustRun()
			w.checkGuest()
			if c.mode == "full" {
				w.checkFull("r", 2)
				return
			}
			w.checkPoints("r", 2)
			require.Equal(t, "FD", w.kinds())
		})
	}
}

func TestGuestThatIsNotRunningIsLeftAsItIs(t *testing.T) {
	for _, state := range []string{"Halted", "Paused", "Suspended"} {
		t.Run(state, func(t *testing.T) {
			w := newWorld(t, "r")
			w.enter(state)
			w.set(`{"exportRetention":2,"offlineBackup":true}`)
			w.mustRun()
			require.Equal(t, "snapshot export", w.order())
			vm, err := xapi.Get(t.Context(), w.client, xapi.Ref[xapi.VM](w.vm().Ref))
			require.NoError(t, err)
			require.Equal(t, state, vm.PowerState)
		})
	}
}

// Whatever fails, the guest runs again, and the next run is right.
func TestGuestRunsAgainAfterAnyFailure(t *testing.T) {
	refused := &xapi.Error{Code: "INTERNAL_ERROR", Params: []string{"no"}}
	memory := &xapi.Error{Code: "HOST_NOT_ENOUGH_FREE_MEMORY", Params: []string{"1", "0"}}
	once := xapitest.OnCall(1)
	for name, c := range map[string]struct {
		mode, set string
		script    func(*xapitest.Pool)
		points    int
	}{
		"shutdown refused":   {"delta", "offlineBackup", func(p *xapitest.Pool) { p.Fail("VM.clean_shutdown", once, refused) }, 0},
		"snapshot refused":   {"delta", "offlineBackup", func(p *xapitest.Pool) { p.Fail("VM.snapshot", once, refused) }, 0},
		"export cut":         {"delta", "offlineBackup", func(p *xapitest.Pool) { p.CutExport(3 * mib) }, 0},
		"archive cut":        {"full", "offlineBackup", func(p *xapitest.Pool) { p.Break("GET /export", once, 3*mib, xapitest.Cut) }, 0},
		"tags refused":       {"delta", "offlineBackup", func(p *xapitest.Pool) { p.Fail("VM.set_name_label", once, refused) }, 0},
		"start refused once": {"full", "offlineBackup", func(p *xapitest.Pool) { p.Fail("VM.start", once, memory) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "r")
			w.job.Mode, w.job.Compression = c.mode, new(pipeline.CompressionNone)
			w.set(`{"exportRetention":5,"` + c.set + `":true}`)
			c.script(w.pool)
			_, err := w.run()
			require.Equal(t, c.points == 0, err != nil)
			w.checkClean()
			w.checkGuest()
			require.Len(t, w.points("r"), c.points)
			w.mustRun()
			w.checkGuest()
			require.Len(t, w.points("r"), c.points+1)
		})
	}
}

// The backup is good although the guest does not start: the run says so, and the next
// one starts it.
func TestGuestThatDoesNotStartFailsTheRunAndIsStartedByTheNext(t *testing.T) {
	w := newFullWorld(t, "r")
	memory := &xapi.Error{Code: "HOST_NOT_ENOUGH_FREE_MEMORY", Params: []string{"1", "0"}}
	w.set(`{"exportRetention":5,"offlineBackup":true}`)
	w.pool.Fail("VM.start", xapitest.OnCall(1), memory)
	w.pool.Fail("VM.start", xapitest.OnCall(2), memory)
	run, err := w.run()
	require.ErrorContains(t, err, "start the guest again")
	require.ErrorIs(t, err, memory)
	require.Equal(t, "the guest is still down", find(run, "backup VM")[0].Warnings()[0].Message)
	w.checkFull("r", 1)
	w.set(`{"exportRetention":5}`)
	w.mustRun()
	w.checkGuest()
	w.checkFull("r", 2)
}

func TestCancelledBackupStartsTheGuest(t *testing.T) {
	for _, c := range [][2]string{{"delta", "offlineBackup"}, {"full", "offlineBackup"}, {"delta", "offlineSnapshot"}} {
		t.Run(c[0]+" "+c[1], func(t *testing.T) {
			w := newWorld(t, "r")
			w.job.Mode = c[0]
			w.set(`{"exportRetention":5,"` + c[1] + `":true}`)
			w.runCancelled("r")
			w.checkGuest()
			w.mustRun()
			w.checkGuest()
		})
	}
}

// A guest that takes its time to go down is given up with the run, and runs.
func TestCancelledShutdownLeavesTheGuestRunning(t *testing.T) {
	w := newWorld(t, "r")
	w.set(`{"exportRetention":5,"offlineBackup":true}`)
	w.pool.Hang("VM.clean_shutdown", xapitest.OnCall(1))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var watch sync.WaitGroup
	defer watch.Wait()
	watch.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for w.called("VM.clean_shutdown") == 0 && ctx.Err() == nil {
			<-tick.C
		}
		cancel()
	})
	_, err := w.runCtx(ctx)
	require.ErrorIs(t, err, context.Canceled)
	w.checkClean()
	w.checkGuest()
}

// watched is a pool that says what is about to be called, and may die.
type watched struct {
	*xapi.Client

	before map[string]func()
	dead   bool
}

var errKilled = errors.New("the process was killed")

func (p *watched) Call(ctx context.Context, method string, result any, args ...any) error {
	if p.dead {
		return errKilled
	}
	return p.Client.Call(ctx, method, result, args...)
}

func (p *watched) CallAsync(ctx context.Context, method string, result any, args ...any) error {
	if p.dead {
		return errKilled
	}
	if f := p.before[method]; f != nil {
		f()
		if p.dead {
			return errKilled
		}
	}
	return p.Client.CallAsync(ctx, method, result, args...)
}

// The toolstack restarts while the guest is down.
func TestGuestIsStartedOnceThePoolIsBack(t *testing.T) {
	w := newWorld(t, "r")
	w.set(`{"exportRetention":5,"offlineBackup":true}`)
	w.pool.Restart("VM.start", xapitest.OnCall(1))
	w.mustRun()
	w.checkGuest()
}

// A run that was killed leaves the guest down and the pool's record of it. The next
// run finds it, whoever runs it, though the job selects only what runs.
func TestGuestOfAKilledRunIsStartedByTheNext(t *testing.T) {
	for name, set := range map[string]string{"that is offline too": `"offlineBackup":true`, "that is not": `"concurrency":1`} {
		for _, mode := range []string{pipeline.ModeDelta, pipeline.ModeFull} {
			t.Run(mode+" "+name, func(t *testing.T) {
				w := newWorld(t, "r")
				w.job.Mode = mode
				w.job.VMs = []byte(`{"type":"VM","power_state":"Running"}`)
				w.set(`{"exportRetention":5,"offlineBackup":true}`)
				pool := &watched{Client: w.client}
				pool.before = map[string]func(){"VM.start": func() { pool.dead = true }}
				w.opts.Pools = map[string]pipeline.Pool{"lab": pool}
				_, err := w.runCtx(t.Context())
				require.ErrorIs(t, err, errKilled)
				w.opts.Pools = map[string]pipeline.Pool{"lab": w.client}
				w.set(`{"exportRetention":5,` + set + `}`)
				run := w.mustRun()
				w.checkGuest()
				require.Equal(t, 1, w.called("VM.clean_shutdown"), "it was down already")
				require.Contains(t, messages(find(run, "backup VM")[0].Infos()), "guest of an interrupted run found shut down")
			})
		}
	}
}

func messages(all []task.Message) (texts []string) {
	for _, m := range all {
		texts = append(texts, m.Message)
	}
	return texts
}

// What somebody has done with the VM since is not undone.
func TestGuestThatSomebodyStartedAndStoppedStaysDown(t *testing.T) {
	w := newWorld(t, "r")
	w.set(`{"exportRetention":5,"offlineBackup":true}`)
	pool := &watched{Client: w.client}
	pool.before = map[string]func(){"VM.start": func() { pool.dead = true }}
	w.opts.Pools = map[string]pipeline.Pool{"lab": pool}
	_, err := w.runCtx(t.Context())
	require.ErrorIs(t, err, errKilled)
	w.opts.Pools = map[string]pipeline.Pool{"lab": w.client}
	vm := w.vm().Ref
	require.NoError(t, w.client.CallAsync(t.Context(), "VM.start", nil, vm, false, false))
	rec, err := xapi.Get(t.Context(), w.client, xapi.Ref[xapi.VM](vm))
	require.NoError(t, err)
	key := rec.OtherConfig["xenbackup:start"]
	require.NoError(t, w.client.Call(t.Context(), "VM.remove_from_other_config", nil, vm, "xenbackup:start"))
	require.NoError(t, w.client.Call(t.Context(), "VM.add_to_other_config", nil, vm, "xenbackup:start", key[:37]+"2020-01-01T00:00:00Z"))
	require.NoError(t, w.client.CallAsync(t.Context(), "VM.clean_shutdown", nil, vm))
	w.mustRun()
	rec, err = xapi.Get(t.Context(), w.client, xapi.Ref[xapi.VM](vm))
	require.NoError(t, err)
	require.Equal(t, "Halted", rec.PowerState)
	require.NotContains(t, rec.OtherConfig, "xenbackup:start")
}

func TestGuestWhoseStartIsBlockedIsNotShutDown(t *testing.T) {
	w := newWorld(t, "r")
	w.set(`{"exportRetention":5,"offlineBackup":true}`)
	require.NoError(t, w.client.Call(t.Context(), "VM.add_to_blocked_operations", nil, w.vm().Ref, "start", "never"))
	_, err := w.run()
	require.ErrorIs(t, err, pipeline.ErrStartBlocked)
	require.Zero(t, w.called("VM.clean_shutdown"))
	w.checkGuest()
	w.checkClean()
}

func TestOfflineBackupKeepsNoSnapshots(t *testing.T) {
	w := newWorld(t, "r")
	w.set(`{"exportRetention":5,"offlineBackup":true,"snapshotRetention":1}`)
	_, err := w.run()
	var wrong *pipeline.SettingError
	require.ErrorAs(t, err, &wrong)
	require.Equal(t, "offlineBackup", wrong.Key)
	require.Zero(t, w.called("VM.clean_shutdown"))
}

func TestPlanTellsWhatHappensToTheGuest(t *testing.T) {
	w := newWorld(t, "r")
	planned := func(settings string) *pipeline.PlannedVM {
		w.set(settings)
		runner, err := pipeline.NewRunner(&w.opts)
		require.NoError(t, err)
		plan, err := runner.Plan(t.Context(), w.job, &pipeline.RunOptions{ScheduleID: schedule})
		require.NoError(t, err)
		require.Len(t, plan.VMs, 1)
		return plan.VMs[0]
	}
	vm := planned(`{"exportRetention":1,"offlineBackup":true,"checkpointSnapshot":true}`)
	require.True(t, vm.ShutDown)
	require.False(t, vm.Memory)
	w.tagVM("xo-memory-backup")
	vm = planned(`{"exportRetention":1}`)
	require.False(t, vm.ShutDown)
	require.True(t, vm.Memory)
	require.Equal(t, []string{"snapshot mode by tag"}, messages(vm.Notes))
	require.Empty(t, w.order())
}

// A guest that does not go down keeps neither its slot nor the run for ever.
func TestGuestThatDoesNotGoDownIsGivenUp(t *testing.T) {
	w := newWorld(t, "r")
	w.set(`{"exportRetention":5,"offlineSnapshot":true}`)
	w.opts.SnapshotTimeout = time.Second
	w.pool.Hang("VM.clean_shutdown", xapitest.OnCall(1))
	_, err := w.run()
	require.ErrorIs(t, err, pipeline.ErrSnapshotTimeout)
	require.ErrorContains(t, err, "shut the guest down")
	w.checkClean()
	w.checkGuest()
	w.opts.SnapshotTimeout = 0
	w.mustRun()
	w.checkGuest()
}
