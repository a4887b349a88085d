package pipeline_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/xapi"
)

// What an earlier run has left on a VM is not undone by one runner while another backs
// the VM up, to a repository that the first does not lock: it would allow migration
// under the export.
func TestRunnersThatShareAStateDoNotDisturbEachOther(t *testing.T) {
	w := newWorld(t, "a", "b")
	state := w.openState(t.TempDir())
	defer func() { require.NoError(t, state.Close()) }()
	w.job.Remotes = pipeline.IDs("a")
	pool, other := w.runLost()
	require.ErrorIs(t, other.Recover(t.Context()), errNoAnswer)
	pool.lost.Store(false)

	w.job.ID, w.job.Remotes = "22222222-0000-4000-8000-000000000002", pipeline.IDs("b")
	amid := false
	w.opts.Observer = task.ObserverFunc(func(e task.Event) {
		if e.Kind == task.EventProgress && e.Done > 0 && !amid {
			amid = true
			require.ErrorContains(t, other.Recover(t.Context()), "the VM is being backed up")
			require.Len(t, w.pool.Leaks(), 2, "the blocks of migration")
		}
	})
	_, err := w.run()
	require.NoError(t, err)
	require.True(t, amid)
	require.NoError(t, other.Recover(t.Context()))
	w.checkClean()
}

func TestRunnerRefusesAStateThatNobodyMade(t *testing.T) {
	t.Parallel()
	_, err := pipeline.NewRunner(&pipeline.RunnerOptions{Pools: map[string]pipeline.Pool{"lab": nil}, State: &pipeline.State{}})
	require.ErrorContains(t, err, "DirState")
}

// Whatever a journal says, no snapshot of another VM is destroyed.
func TestRecoverLeavesSnapshotsOfOtherVMsAlone(t *testing.T) {
	w := newWorld(t, "a")
	w.enter("Halted")
	var other, snapshot string
	require.NoError(t, w.client.CallAsync(t.Context(), "VM.clone", &other, w.vm().Ref, "other"))
	defer func() { require.NoError(t, w.client.CallAsync(t.Context(), "VM.destroy", nil, other)) }()
	require.NoError(t, w.client.CallAsync(t.Context(), "VM.snapshot", &snapshot, other, "before the update"))
	dir := t.TempDir()
	line := fmt.Sprintf(`{"intent":{"id":1,"kind":"snapshot","run":"killed","pool":"lab","vm":%q,"ref":%q}}`, w.vm().UUID, snapshot)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "intents.jsonl"), []byte(line+"\n"), 0o600))
	state := w.openState(dir)
	defer func() { require.NoError(t, state.Close()) }()
	runner, err := pipeline.NewRunner(&w.opts)
	require.NoError(t, err)
	require.ErrorContains(t, runner.Recover(t.Context()), "is not a snapshot of the VM")
	_, err = xapi.Get(t.Context(), w.client, xapi.Ref[xapi.VM](snapshot))
	require.NoError(t, err)
}
