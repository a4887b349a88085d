package pipeline_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/selector"
)

// plan plans the job, and looks that nothing has been touched by it.
func (w *world) plan(opts ...func(*pipeline.RunOptions)) *pipeline.Plan {
	w.t.Helper()
	runner, err := pipeline.NewRunner(&w.opts)
	require.NoError(w.t, err)
	options := &pipeline.RunOptions{ScheduleID: schedule}
	for _, f := range opts {
		f(options)
	}
	files, calls := w.files(), len(w.pool.Calls())
	plan, err := runner.Plan(w.t.Context(), w.job, options)
	require.NoError(w.t, err)
	require.Equal(w.t, files, w.files())
	for _, call := range w.pool.Calls()[calls:] {
		_, verb, _ := strings.Cut(strings.TrimPrefix(call.Method, "Async."), ".")
		require.True(w.t, strings.HasPrefix(verb, "get_") || verb == "list_changed_blocks", "%s changes something", call.Method)
	}
	return plan
}

// files returns all files of the repositories with their time of change.
func (w *world) files() map[string]string {
	w.t.Helper()
	files := map[string]string{}
	for _, dir := range w.dirs {
		require.NoError(w.t, filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			files[name] = info.ModTime().String()
			return err
		}))
	}
	return files
}

func TestPlanTellsWhatTheRunThenDoes(t *testing.T) {
	w := newWorld(t, "r")
	w.set(`{"exportRetention":2}`)
	first := w.plan().VMs[0]
	require.NoError(t, first.Err)
	require.True(t, first.Full)
	require.Equal(t, "no snapshot that was exported before", first.Reason)
	require.Equal(t, "web", first.Name)
	require.True(t, first.Snapshot)
	require.Len(t, first.Disks, 2)
	require.Equal(t, int64(16*mib), first.Disks[0].Size)
	require.Empty(t, first.Targets[0].Expire)
	require.Positive(t, first.Targets[0].Free)
	require.Zero(t, first.Targets[0].Last)

	w.mustRun()
	w.mustRun()
	next := w.plan().VMs[0]
	require.False(t, next.Full)
	require.Empty(t, next.Reason)
	points := w.points("r")
	require.Len(t, next.Targets[0].Expire, 1)
	require.Equal(t, points[0].ID, next.Targets[0].Expire[0].ID)
	require.Equal(t, points[1].Metadata.Size, next.Targets[0].Last)
	require.Equal(t, "a full backup was asked for", w.plan(func(o *pipeline.RunOptions) { o.ForceFull = true }).VMs[0].Reason)
	run := w.mustRun()
	require.Equal(t, false, find(run, "export")[0].Data("isFull"))
	require.Equal(t, points[1].ID, w.points("r")[0].ID)

	w.job.Mode = pipeline.ModeFull
	full := w.plan().VMs[0]
	require.Equal(t, "the job makes full backups", full.Reason)
	require.Empty(t, full.Targets[0].Expire, "deltas are counted for themselves")
}

func TestPlanSaysWhyOneDiskIsFullAndWhatIsWrong(t *testing.T) {
	w := newWorld(t, "r")
	w.mustRun()
	lost := w.vm().Disks[1].UUID
	require.NoError(t, os.RemoveAll(filepath.Join(w.dirs["r"], "xo-vm-backups", w.vm().UUID, "vdis", w.job.ID, lost)))
	w.job.VMs = pipeline.IDs("00000000-0000-4000-8000-00000000dead", w.vm().UUID)
	w.job.Remotes = pipeline.IDs("r", "gone")
	plan := w.plan()
	require.Len(t, plan.Problems, 2)
	require.ErrorIs(t, plan.Problems[0], selector.ErrVMMissing)
	require.ErrorContains(t, plan.Problems[1], "repository gone: pipeline: unknown repository")
	vm := plan.VMs[0]
	require.True(t, vm.Full)
	for _, d := range vm.Disks {
		require.Equal(t, d.ID == lost, d.Full)
		if d.Full {
			require.Equal(t, "repository r cannot continue the last backup of the disk", d.Reason)
		}
	}
}

// What should be a delta is not read in full unawares, if it is large.
func TestUnexpectedFullBackupIsSkippedOrAlerted(t *testing.T) {
	w := newWorld(t, "r")
	w.opts.UnexpectedFull.Above = 12 * mib
	w.mustRun() // the first one is expected
	for _, s := range w.pool.Snapshots() {
		require.NoError(t, w.client.CallAsync(t.Context(), "VM.destroy", nil, s.Ref))
		for _, d := range s.Disks {
			require.NoError(t, w.client.CallAsync(t.Context(), "VDI.destroy", nil, d.Ref))
		}
	}
	const reason = "above the limit of 12582912: no snapshot that was exported before"
	require.Contains(t, w.plan().VMs[0].Skip, reason)
	run, err := w.run()
	require.ErrorIs(t, err, pipeline.ErrUnexpectedFull)
	require.ErrorContains(t, err, reason)
	require.Equal(t, task.Skipped, run.Status())
	w.checkPoints("r", 1)
	require.Empty(t, w.pool.Snapshots())

	w.opts.UnexpectedFull.Alert = true
	run = w.mustRun()
	require.Equal(t, "unexpected full backup", find(run, "backup VM")[0].Warnings()[0].Message)
	w.opts.UnexpectedFull.Alert = false
	w.mustRun()
	w.mustRun(func(o *pipeline.RunOptions) { o.ForceFull = true })
	require.Equal(t, "FDF", w.kinds())
}

// crowded is a storage that has little left.
type crowded struct {
	*local.FS

	free int64
}

func (c *crowded) Space(context.Context) (remote.Space, error) {
	return remote.Space{Total: 1 << 40, Free: c.free}, nil
}

// A target without room is dropped before anything is written to it.
func TestRoomOnTheTargetIsCheckedBeforeTheTransfer(t *testing.T) {
	w := newWorld(t, "small", "large")
	fsys, err := local.Open(w.dirs["small"], nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, fsys.Close()) })
	small := &crowded{fsys, 4*mib - 1}
	w.mount("small", small)
	run, err := w.run()
	require.ErrorIs(t, err, remote.ErrNoSpace)
	require.ErrorContains(t, err, "bytes are to be written, and 4194303 are free")
	require.Equal(t, task.Failure, run.Status())
	w.checkClean()
	w.checkPoints("small", 0)
	w.checkPoints("large", 1)
	small.free = 8 * mib
	_, err = w.run()
	require.NoError(t, err)
	w.checkPoints("small", 1)
}
