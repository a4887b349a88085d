package pipeline_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/local"
)

// trackWhileHalted stops the VM and tracks its disks, so that the pool tells what has
// changed.
func (w *world) trackWhileHalted() {
	w.t.Helper()
	require.NoError(w.t, w.client.CallAsync(w.t.Context(), "VM.hard_shutdown", nil, w.vm().Ref))
	for _, d := range w.vm().Disks {
		require.NoError(w.t, w.client.CallAsync(w.t.Context(), "VDI.enable_cbt", nil, d.Ref))
	}
}

// store writes to a disk as a guest does whose pool notes it.
func (w *world) store(diskIndex int, n int, off int64) {
	w.t.Helper()
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i + 1)
	}
	require.NoError(w.t, w.pool.WriteVDI(w.vm().Disks[diskIndex].UUID, data, off))
}

func TestPlanTellsHowMuchIsToBeRead(t *testing.T) {
	w := newWorld(t, "r")
	w.trackWhileHalted()
	w.store(0, mib, 5*mib)
	w.mustRun()
	asked := w.plan(func(o *pipeline.RunOptions) { o.ForceFull = true }).VMs[0]
	for i, want := range []int64{4 * mib, 3 * mib} {
		require.True(t, asked.Disks[i].Full)
		require.InDelta(t, want, asked.Disks[i].Bytes, 256<<10)
	}
	w.store(0, 1, 2*mib+5)
	w.store(0, 2*mib, 9*mib) // of two blocks
	next := w.plan().VMs[0]
	require.False(t, next.Full)
	require.Equal(t, int64(6*mib), next.Disks[0].Bytes)
	require.Zero(t, next.Disks[1].Bytes)
	before := w.points("r")
	w.mustRun()
	points := w.points("r")
	require.Len(t, points, len(before)+1)
	require.InDelta(t, 6*mib, points[len(before)].Metadata.Size, 256<<10)

	require.NoError(t, w.client.CallAsync(t.Context(), "VM.start", nil, w.vm().Ref, false, false))
	for _, d := range w.plan().VMs[0].Disks {
		require.False(t, d.Full)
		require.EqualValues(t, pipeline.Unknown, d.Bytes, "an attached disk cannot be asked")
	}
}

// An archive that is not compressed is not begun where there is no room for it.
func TestRoomForAnArchiveIsCheckedBeforeTheTransfer(t *testing.T) {
	w := newWorld(t, "small", "large")
	w.job.Mode = pipeline.ModeFull
	w.set(`{"exportRetention":3,"snapshotRetention":1}`)
	fsys, err := local.Open(w.dirs["small"], nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, fsys.Close()) })
	small := &crowded{fsys, 2 * mib}
	w.mount("small", small)

	compression := pipeline.CompressionNone
	w.job.Compression = &compression
	run, err := w.run()
	require.ErrorIs(t, err, remote.ErrNoSpace)
	require.ErrorContains(t, err, "an archive of about")
	require.Equal(t, task.Failure, run.Status())
	w.checkClean()
	w.checkPoints("small", 0)
	require.Len(t, w.points("large"), 1)
	planned := w.plan().VMs[0]
	require.NoError(t, planned.Err)
	require.ErrorIs(t, planned.Targets[0].Err, remote.ErrNoSpace)
	require.NoError(t, planned.Targets[1].Err)

	compression = pipeline.CompressionZstd
	run, err = w.run()
	require.NoError(t, err)
	require.Equal(t, "the archive may not fit", find(run, "backup VM")[0].Warnings()[0].Message)
	require.Len(t, w.points("small"), 1)
}
