package pipeline_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/selector"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// newFleet returns a world of two pools with a few VMs without content, and a job
// that keeps a snapshot of each.
func newFleet(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	disks := []xapitest.Disk{{Size: 2 * mib}}
	w := &world{t: t}
	w.pool = xapitest.NewPool(t, xapitest.Inventory{Name: "lab", VMs: []xapitest.VM{
		{Name: "web", PowerState: "Running", Tags: []string{"prod", "front"}, Disks: disks},
		{Name: "db", PowerState: "Running", Tags: []string{"prod"}, Disks: disks},
		{Name: "old", Tags: []string{"prod"}, Disks: disks},
		{Name: "scratch", PowerState: "Running", Tags: []string{"prod", "xo:no-bak=rebuilt daily"}, Disks: disks},
		{Name: "model", Tags: []string{"prod"}, Template: true, Disks: disks},
	}})
	w.pool.Expect("exported base snapshots")
	w.client = dial(t, w.pool, 0)
	other := xapitest.NewPool(t, xapitest.Inventory{Name: "second", VMs: []xapitest.VM{
		{Name: "app", PowerState: "Running", Tags: []string{"prod"}, Disks: disks},
	}})
	other.Expect("exported base snapshots")
	w.job = &pipeline.Job{
		ID: "22222222-0000-4000-8000-000000000001", Name: "nightly", Type: pipeline.TypeBackup, Mode: pipeline.ModeDelta,
		Settings: map[string]json.RawMessage{"": json.RawMessage(`{"snapshotRetention":1}`)},
	}
	w.opts = pipeline.RunnerOptions{Pools: map[string]pipeline.Pool{"lab": w.client, "second": dial(t, other, 0)}}
	return w
}

// selected returns the names of the VMs that a run had tasks for, by status.
func selected(run *task.Run) map[task.Status][]string {
	names := map[task.Status][]string{}
	for _, tk := range find(run, "backup VM") {
		name, _ := tk.Data("name_label").(string)
		names[tk.Status()] = append(names[tk.Status()], name)
	}
	for _, list := range names {
		slices.Sort(list)
	}
	return names
}

func (w *world) smart(s selector.Smart) {
	w.t.Helper()
	pattern, err := s.Pattern()
	require.NoError(w.t, err)
	w.job.VMs = json.RawMessage(pattern.String())
}

// What a pattern means is decided when the job runs, and what it leaves out though
// it fits is told.
func TestSmartModeSelectsFromAllPoolsWhenTheJobRuns(t *testing.T) {
	w := newFleet(t)
	w.smart(selector.Smart{PowerState: "Running", AnyTags: []string{"prod"}})
	run, err := w.run()
	require.NoError(t, err)
	require.Equal(t, map[task.Status][]string{task.Success: {"app", "db", "web"}}, selected(run))
	left := run.Infos()[0]
	require.Equal(t, "VM left out", left.Message)
	require.Equal(t, "scratch", left.Data["name_label"])
	require.Equal(t, "it is tagged xo:no-bak: rebuilt daily", left.Data["reason"])

	require.NoError(t, w.client.CallAsync(t.Context(), "VM.start", nil, xapi.Ref[xapi.VM](w.pool.VM("old").Ref), false, false))
	run, err = w.run(func(o *pipeline.RunOptions) { o.VMs = []string{w.pool.VM("old").UUID, w.pool.VM("db").UUID} })
	require.NoError(t, err)
	require.Equal(t, map[task.Status][]string{task.Success: {"db", "old"}}, selected(run))
}

func TestSmartModeAsksForPoolHostAndAllTags(t *testing.T) {
	w := newFleet(t)
	pools, err := xapi.All[xapi.Pool](t.Context(), w.client)
	require.NoError(t, err)
	hosts, err := xapi.All[xapi.Host](t.Context(), w.client)
	require.NoError(t, err)
	var pool, host []string
	for _, p := range pools {
		pool = append(pool, p.UUID)
	}
	for _, h := range hosts {
		host = append(host, h.UUID)
	}
	for name, c := range map[string]struct {
		smart selector.Smart
		want  []string
	}{
		"in the pool":     {selector.Smart{Pools: pool}, []string{"db", "old", "web"}},
		"not in the pool": {selector.Smart{NotPools: pool}, []string{"app"}},
		"on the host":     {selector.Smart{Hosts: host}, []string{"db", "web"}},
		"all of the tags": {selector.Smart{AllTags: []string{"prod", "front"}}, []string{"web"}},
		"none of them":    {selector.Smart{NoTags: []string{"front"}}, []string{"app", "db", "old"}},
	} {
		w.smart(c.smart)
		run, err := w.run()
		require.NoError(t, err, name)
		require.Equal(t, map[task.Status][]string{task.Success: c.want}, selected(run), name)
	}
}

func TestNoMatchSkipsTheRunAndSaysSo(t *testing.T) {
	w := newFleet(t)
	w.smart(selector.Smart{AnyTags: []string{"prdo"}})
	run, err := w.run()
	require.ErrorIs(t, err, selector.ErrNoMatch)
	require.EqualError(t, err, task.ReasonNoVMs)
	require.Equal(t, task.Skipped, run.Status())
	require.Equal(t, "selector: no VM matches: 5 were looked at", run.Infos()[0].Message)
}

// A VM of a pool that cannot be asked is not backed up: that is a failure.
func TestPoolThatCannotBeAskedFailsTheRunButNotTheOthers(t *testing.T) {
	w := newFleet(t)
	w.smart(selector.Smart{PowerState: "Running", AnyTags: []string{"prod"}})
	refused := &xapi.Error{Code: "SOME_REFUSAL"}
	w.pool.Fail("VM.get_all_records", xapitest.EachCall(), refused)
	run, err := w.run()
	require.ErrorIs(t, err, selector.ErrPoolNotConnected)
	require.ErrorIs(t, err, refused)
	require.Equal(t, task.Failure, run.Status())
	require.Equal(t, map[task.Status][]string{task.Success: {"app"}}, selected(run))
	require.Equal(t, "lab", find(run, "get pool")[0].Data("name_label"))
}

// Who lists a VM that must not be backed up is told.
func TestListedVMThatIsLeftOutIsSkipped(t *testing.T) {
	w := newFleet(t)
	w.job.VMs = pipeline.IDs(w.pool.VM("scratch").UUID, w.pool.VM("db").UUID)
	run, err := w.run()
	require.EqualError(t, err, "it is tagged xo:no-bak: rebuilt daily")
	require.Equal(t, task.Skipped, run.Status())
	require.Equal(t, map[task.Status][]string{task.Skipped: {"scratch"}, task.Success: {"db"}}, selected(run))

	w.opts.ListedNoBackup = true
	_, err = w.run()
	require.NoError(t, err)
}
