package task_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline/task"
)

// Wherever its process was killed, a run gets its end, once, and what was done about it.
func TestInterruptedRunGetsItsEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log, err := task.OpenLog(dir)
	require.NoError(t, err)
	run := task.NewRun(task.Job{ID: "job", Name: "nightly"}, nil, log)
	run.Start("backup VM", map[string]any{"type": "VM", "id": "vm"})
	require.ErrorContains(t, log.Interrupt(run.ID()), "under way")
	require.NoError(t, log.Close())
	name := filepath.Join(dir, run.ID()+".jsonl")
	text, err := os.ReadFile(name)
	require.NoError(t, err)

	for cut := range len(text) + 1 {
		require.NoError(t, os.WriteFile(name, text[:cut], 0o600))
		log, err := task.OpenLog(dir)
		require.NoError(t, err)
		before, err := log.Run(run.ID())
		require.NoError(t, err)
		require.NoError(t, log.Interrupt(run.ID(), task.Message{Message: "undone"}), cut)
		require.NoError(t, log.Interrupt(run.ID(), task.Message{Message: "undone again"}), "it has ended")
		after, err := log.Run(run.ID())
		require.NoError(t, err)
		if before == nil {
			require.Nil(t, after)
			continue
		}
		require.Equal(t, task.Interrupted, after.Status)
		require.GreaterOrEqual(t, after.End, after.Start)
		require.Len(t, after.Infos, 1)
		require.Equal(t, "undone", after.Infos[0].Message)
	}
	require.NoError(t, os.Remove(name))
	require.NoError(t, log.Interrupt(run.ID()), "pruned")
}
