package task_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline/task"
)

func TestPruneLeavesWhatIsNewOrUnderWay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := openLog(t, dir)
	running := story(log, "long", false)
	var ids []string
	for range 4 {
		ids = append(ids, story(log, "j", true).ID())
	}
	slices.Sort(ids) // within a millisecond they come in any order
	require.NoError(t, os.WriteFile(filepath.Join(dir, "note.txt"), []byte("not a run"), 0o600))
	old := time.Now().Add(-48 * time.Hour)
	for _, id := range []string{running.ID(), ids[0], ids[1]} {
		require.NoError(t, os.Chtimes(filepath.Join(dir, id+".jsonl"), old, old))
	}
	n, err := log.Prune(task.Keep{})
	require.NoError(t, err)
	require.Zero(t, n, "no bound")
	n, err = log.Prune(task.Keep{Since: time.Now().Add(-24 * time.Hour)})
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.ElementsMatch(t, []string{running.ID(), ids[2], ids[3]}, runsOf(t, log, nil))

	info, err := os.Stat(filepath.Join(dir, ids[3]+".jsonl"))
	require.NoError(t, err)
	n, err = log.Prune(task.Keep{Bytes: info.Size()})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.ElementsMatch(t, []string{running.ID(), ids[3]}, runsOf(t, log, nil), "the newest, and what is under way")
	require.FileExists(t, filepath.Join(dir, "note.txt"))
	running.Succeed(nil)
	n, err = log.Prune(task.Keep{Bytes: 1})
	require.NoError(t, err)
	require.Equal(t, 2, n)

	require.NoError(t, os.RemoveAll(dir))
	_, err = log.Prune(task.Keep{})
	require.ErrorIs(t, err, os.ErrNotExist)
}
