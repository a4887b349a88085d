package pipeline_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

func namesOf(run *task.Run) []any {
	var names []any
	for _, tk := range find(run, "backup VM") {
		names = append(names, tk.Data("name_label"))
	}
	return names
}

// A VM that failed is tried again after the others, and if that succeeds the run has.
func TestFailedVMIsTriedAgainAfterTheOthers(t *testing.T) {
	t.Parallel()
	pool := fleetOf(t, 3)
	runner := fleetRunner(t, map[string]pipeline.Pool{"lab": pool.Client(t)}, nil)
	job := fleetJob("one", `{"exportRetention":1,"concurrency":1,"nRetriesVmBackupFailures":2}`, pool.VMs())
	refused := &xapi.Error{Code: "SR_BACKEND_FAILURE_82"}
	pool.Fail("VM.snapshot", xapitest.OnCall(1), refused)
	run, err := runner.Run(t.Context(), job, nil)
	require.NoError(t, err)
	require.Equal(t, task.Success, run.Status())
	names := namesOf(run)
	require.Len(t, names, 4)
	require.Equal(t, names[0], names[3])
	warning := find(run, "backup VM")[0].Warnings()[0]
	require.Equal(t, "Retry the VM backup due to an error", warning.Message)
	require.Contains(t, warning.Data["error"], "SR_BACKEND_FAILURE_82")

	for _, n := range []int{1, 4, 5} { // the first VM, and it again twice
		pool.Fail("VM.snapshot", xapitest.OnCall(n), refused)
	}
	run, err = runner.Run(t.Context(), job, nil)
	require.ErrorIs(t, err, refused)
	require.Equal(t, task.Failure, run.Status())
	require.Len(t, namesOf(run), 5, "twice again, and no more")
	require.Empty(t, pool.Leaks())
}

func TestOneVMIsCancelledAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	pool := fleetOf(t, 3)
	vms := pool.VMs()
	var runner *pipeline.Runner
	runner = fleetRunner(t, map[string]pipeline.Pool{"lab": pool.Client(t)}, func(o *pipeline.RunnerOptions) {
		o.Observer = task.ObserverFunc(func(e task.Event) {
			if e.Name == "snapshot" && e.Kind == task.EventStart { // of the first, with one at a time
				require.False(t, runner.Cancel("another", vms[0].UUID))
				require.False(t, runner.Cancel(e.Run, "another"))
				require.True(t, runner.Cancel(e.Run, vms[0].UUID))
				require.True(t, runner.Cancel(e.Run, vms[2].UUID), "it has yet to begin")
			}
		})
	})
	run, err := runner.Run(t.Context(), fleetJob("one", `{"exportRetention":1,"concurrency":1,"nRetriesVmBackupFailures":3}`, vms), nil)
	require.ErrorIs(t, err, pipeline.ErrCancelled)
	require.Equal(t, task.Interrupted, run.Status())
	var statuses []task.Status
	for _, tk := range find(run, "backup VM") {
		statuses = append(statuses, tk.Status())
	}
	require.Equal(t, []task.Status{task.Interrupted, task.Success, task.Interrupted}, statuses)
	require.Empty(t, pool.Leaks())
	require.Len(t, pool.Snapshots(), 1)
	require.False(t, runner.Cancel(run.ID(), ""), "it is over")
}

func TestDeadlineOfAVMIsItsOwn(t *testing.T) {
	t.Parallel()
	pool := fleetOf(t, 2)
	pool.Hang("VM.snapshot", xapitest.OnCall(1))
	runner := fleetRunner(t, map[string]pipeline.Pool{"lab": pool.Client(t)}, nil)
	job := fleetJob("one", `{"exportRetention":1,"concurrency":1}`, pool.VMs())
	job.Settings[pool.VMs()[0].UUID] = json.RawMessage(`{"vmTimeout":1000}`)
	run, err := runner.Run(t.Context(), job, nil)
	require.ErrorIs(t, err, pipeline.ErrVMTimeout)
	require.Equal(t, task.Failure, run.Status())
	require.Len(t, selected(run)[task.Success], 1)
	require.Empty(t, pool.Leaks())
}

func TestDeadlineOfTheJobEndsTheRun(t *testing.T) {
	t.Parallel()
	pool := fleetOf(t, 3)
	pool.Hang("VM.snapshot", xapitest.EachCall())
	runner := fleetRunner(t, map[string]pipeline.Pool{"lab": pool.Client(t)}, nil)
	run, err := runner.Run(t.Context(), fleetJob("one", `{"exportRetention":1,"timeout":1000}`, pool.VMs()), nil)
	require.ErrorIs(t, err, pipeline.ErrJobTimeout)
	require.Equal(t, task.Failure, run.Status())
	require.Empty(t, pool.Leaks())
	require.Empty(t, pool.Snapshots())
}
