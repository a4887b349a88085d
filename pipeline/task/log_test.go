package task_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline/task"
)

// story runs a job of two VMs, of which one fails unless the run stops before.
func story(log task.Observer, job string, end bool) *task.Run {
	run := task.NewRun(task.Job{ID: job, Name: "nightly", ScheduleID: "s"}, map[string]any{"mode": "delta"}, log)
	run.Info("vms", map[string]any{"vms": []any{"a", "b"}})
	for _, id := range []string{"a", "b"} {
		vm := run.Start("backup VM", map[string]any{"type": "VM", "id": id})
		transfer := vm.Start("transfer", nil)
		transfer.Progress(1, 2)
		transfer.Warning("slow", map[string]any{"disk": "x"})
		transfer.Succeed(map[string]any{"size": 7.0})
		if !end {
			return run
		}
		var err error
		if id == "b" {
			err = errors.New("no space left on Device")
		}
		vm.Fail(err)
	}
	run.Succeed(nil)
	return run
}

func openLog(t *testing.T, dir string) *task.Log {
	t.Helper()
	log, err := task.OpenLog(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	return log
}

func runsOf(t *testing.T, log *task.Log, f *task.Filter) []string {
	t.Helper()
	var ids []string
	for r, err := range log.Runs(f) {
		require.NoError(t, err)
		ids = append(ids, r.ID)
	}
	return ids
}

func asJSON(t *testing.T, v any) any {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	var value any
	require.NoError(t, json.Unmarshal(text, &value))
	return value
}

func TestLogHoldsTheRecordOfARun(t *testing.T) {
	dir := t.TempDir()
	run := story(openLog(t, dir), "j", true)
	got, err := openLog(t, dir).Run(run.ID())
	require.NoError(t, err)
	if diff := cmp.Diff(asJSON(t, run), asJSON(t, got)); diff != "" {
		t.Fatal(diff)
	}
}

func TestLogFindsRunsByJobVMStatusAndText(t *testing.T) {
	log := openLog(t, t.TempDir())
	failed, pending := story(log, "j", true).ID(), story(log, "k", false).ID()
	require.ElementsMatch(t, []string{failed, pending}, runsOf(t, log, nil))
	for want, filters := range map[string][]task.Filter{
		failed:  {{Job: "j"}, {VM: "b"}, {Status: task.Failure}, {Text: "LEFT on device"}},
		pending: {{Job: "k"}, {Job: "k", VM: "a"}, {Status: task.Pending}},
	} {
		for _, f := range filters {
			require.Equal(t, []string{want}, runsOf(t, log, &f), "%+v", f)
		}
	}
	require.Empty(t, runsOf(t, log, &task.Filter{VM: "c"}))
}

// A process that is killed while it appends loses that line, and no other.
func TestLogThatIsTornAnywhereKeepsAllThatIsBefore(t *testing.T) {
	dir := t.TempDir()
	run := story(openLog(t, dir), "j", true)
	name := filepath.Join(dir, run.ID()+".jsonl")
	whole, err := os.ReadFile(name)
	require.NoError(t, err)
	log := openLog(t, dir)
	last := 0
	for n := range len(whole) {
		require.NoError(t, os.WriteFile(name, whole[:n], 0o600))
		r, err := log.Run(run.ID())
		require.NoError(t, err, n)
		if r == nil {
			require.Zero(t, last)
			continue
		}
		now := len(r.Infos) + len(r.Tasks)
		require.GreaterOrEqual(t, now, last, n)
		last = now
		if n < len(whole)-1 {
			require.Equal(t, task.Interrupted, r.Status, n)
		}
	}
	require.Equal(t, 3, last)
	require.NoError(t, os.WriteFile(name, append([]byte("{torn\n"), whole...), 0o600))
	_, err = log.Run(run.ID())
	require.ErrorContains(t, err, "line 1")
}

func TestLogThatCannotBeWrittenDoesNotStopTheRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	log, err := task.OpenLog(dir)
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(dir))
	var heard int
	run := story(task.Tee(nil, log, task.ObserverFunc(func(task.Event) { heard++ })), "j", true)
	require.Equal(t, task.Failure, run.Status())
	require.ErrorIs(t, log.Err(), os.ErrNotExist)
	require.ErrorIs(t, log.Close(), os.ErrNotExist)
	require.Positive(t, heard)
}

func TestLogReadsNothingOutsideItsFolder(t *testing.T) {
	parent := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(parent, "secret.jsonl"), []byte("{}\n"), 0o600))
	log, err := task.OpenLog(filepath.Join(parent, "log"))
	require.NoError(t, err)
	for _, id := range []string{"../secret", `..\secret`, "/secret"} {
		_, err = log.Run(id)
		require.ErrorIs(t, err, os.ErrNotExist, id)
	}
	require.NoError(t, log.Close())
}
