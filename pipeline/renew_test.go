package pipeline_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// What runs under the old options is found by the new runner, and keeps its VMs.
func TestRenewedRunnerKnowsWhatRuns(t *testing.T) {
	t.Parallel()
	pool := fleetOf(t, 1)
	var renewed *pipeline.Runner
	var mu sync.Mutex
	var order []string
	waits := make(chan *task.Run, 1)
	var opts pipeline.RunnerOptions
	runner := fleetRunner(t, map[string]pipeline.Pool{"lab": pool.Client(t)}, func(o *pipeline.RunnerOptions) {
		o.Observer = task.ObserverFunc(func(e task.Event) {
			first := e.Name == "snapshot" && e.Kind == task.EventStart
			if !first && (e.Name != "backup VM" || e.Kind != task.EventEnd) {
				return
			}
			mu.Lock()
			order = append(order, string(e.Kind)+" "+e.Name)
			first = first && len(order) == 1
			mu.Unlock()
			if !first {
				return
			}
			go func() {
				run, _ := renewed.Run(t.Context(), fleetJob("two", `{"exportRetention":1}`, pool.VMs()), nil)
				waits <- run
			}()
			require.True(t, renewed.Cancel(e.Run, ""))
		})
		opts = *o
	})
	var err error
	renewed, err = runner.Renew(&opts)
	require.NoError(t, err)
	_, err = runner.Run(t.Context(), fleetJob("one", `{"exportRetention":1}`, pool.VMs()), nil)
	require.ErrorIs(t, err, pipeline.ErrCancelled)
	second := <-waits
	require.NoError(t, second.Err())
	require.Equal(t, []string{"start snapshot", "end backup VM", "start snapshot", "end backup VM"}, order, "one at a time")
	_, err = runner.Renew(&pipeline.RunnerOptions{})
	require.Error(t, err)
}

func TestCoverageListsWhatNoJobBacksUp(t *testing.T) {
	t.Parallel()
	pool := xapitest.NewPool(t, xapitest.Inventory{VMs: []xapitest.VM{
		{Name: "web", Tags: []string{"prod"}}, {Name: "db"}, {Name: "scratch", Tags: []string{"xo:no-bak"}},
	}})
	runner := fleetRunner(t, map[string]pipeline.Pool{"lab": pool.Client(t)}, nil)
	open, err := runner.Coverage(t.Context(), []*pipeline.Job{fleetJob("one", `{}`, []xapitest.VMInfo{pool.VM("web")})})
	require.NoError(t, err)
	require.Len(t, open, 2)
	require.Equal(t, []string{"db", "scratch"}, []string{open[0].VM.Name(), open[1].VM.Name()})
	require.Equal(t, []bool{false, true}, []bool{open[0].Intended, open[1].Intended})
	require.Contains(t, open[0].Reasons[0], "nightly: ")

	pool.Fail("VM.get_all_records", xapitest.EachCall(), &xapi.Error{Code: "INTERNAL_ERROR"})
	open, err = runner.Coverage(t.Context(), nil)
	require.Error(t, err)
	require.Empty(t, open)
}
