package pipeline_test

import (
	"encoding/json"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/crypt"
	"github.com/xenbackup/xenbackup/selector"
	"github.com/xenbackup/xenbackup/xapi"
)

func (w *world) set(settings string) {
	w.job.Settings = map[string]json.RawMessage{schedule: json.RawMessage(settings)}
}

// kinds returns F for each full point of the repository and D for each delta.
func (w *world) kinds() string {
	var kinds strings.Builder
	for _, p := range w.points("r") {
		if isDelta(p) {
			kinds.WriteByte('D')
		} else {
			kinds.WriteByte('F')
		}
	}
	return kinds.String()
}

func TestFullIntervalOfThreeGivesFullDeltaDeltaFull(t *testing.T) {
	w := newWorld(t, "r")
	w.set(`{"exportRetention":10,"fullInterval":3}`)
	for i := range 5 {
		w.write(0, 0, mib, byte(30+i))
		w.mustRun()
	}
	require.Equal(t, "FDDFD", w.kinds())
	w.mustRun(func(o *pipeline.RunOptions) { o.ForceFull = true })
	require.Equal(t, "FDDFDF", w.kinds())
	w.checkPoints("r", 6)
}

func TestSnapshotRetentionKeepsSnapshotsOnThePool(t *testing.T) {
	w := newWorld(t, "r")
	w.pool.Expect("exported base snapshots")
	w.set(`{"exportRetention":1,"deleteFirst":true,"snapshotRetention":2}`)
	for i := range 4 {
		w.mustRun()
		require.Len(t, w.pool.Snapshots(), min(i+1, 2))
		w.checkPoints("r", 1)
	}
}

// A point that cannot be begun costs none of those that are there.
func TestDeleteFirstDeletesNothingForAPointThatCannotBeBegun(t *testing.T) {
	const key = "0123456789abcdef0123456789abcdef"
	w := newWorld(t, "r")
	w.set(`{"exportRetention":2,"deleteFirst":true}`)
	w.mustRun()
	w.mustRun()
	clear := w.fsys("r")
	points := w.points("r")
	w.dirs["r"] = t.TempDir()
	sealed, err := crypt.Init(t.Context(), w.fsys("r"), key, nil)
	require.NoError(t, err)
	for _, p := range points {
		data, err := remote.ReadFile(t.Context(), clear, p.ID, mib)
		require.NoError(t, err)
		require.NoError(t, remote.MkdirAll(t.Context(), sealed, path.Dir(p.ID)))
		require.NoError(t, remote.WriteFile(t.Context(), sealed, p.ID, data))
	}
	w.remotes["r"], err = catalog.Open(t.Context(), w.fsys("r"), &catalog.Options{Key: key, Format: catalog.FormatFile})
	require.NoError(t, err)
	_, err = w.run()
	require.Error(t, err)
	require.Len(t, w.points("r"), len(points))
}

func TestJobWithoutRepositoriesKeepsSnapshots(t *testing.T) {
	w := newWorld(t)
	w.pool.Expect("exported base snapshots")
	w.job.Remotes = nil
	w.set(`{"snapshotRetention":2}`)
	for range 3 {
		w.mustRun()
	}
	require.Len(t, w.pool.Snapshots(), 2)
	w.set(`{}`)
	_, err := w.run()
	require.ErrorContains(t, err, "nothing would be kept")
}

func TestExpiryIsBoundedPerRun(t *testing.T) {
	w := newWorld(t, "r")
	w.set(`{"exportRetention":5}`)
	for range 4 {
		w.mustRun()
	}
	w.set(`{"exportRetention":2,"maxMergedDeltasPerRun":1}`)
	w.mustRun()
	w.checkPoints("r", 4) // 5 less 1
	w.mustRun()
	w.checkPoints("r", 4)
}

func TestDiskMarkedNoBackupIsLeftOut(t *testing.T) {
	w := newWorld(t, "r")
	data := w.vm().Disks[1]
	require.NoError(t, w.client.Call(t.Context(), "VDI.set_name_label", nil, xapi.Ref[xapi.VDI](data.Ref), "data [NOBAK]"))
	w.mustRun()
	w.mustRun()
	require.Equal(t, "FD", w.kinds())
	for _, p := range w.checkPoints("r", 2) {
		disks := w.remotes["r"].Disks(p)
		require.Len(t, disks, 1)
		require.Equal(t, w.vm().Disks[0].UUID, disks[0].SourceVDI)
		require.Len(t, p.Metadata.VBDs, 1)
	}
	require.Len(t, w.pool.Snapshots()[0].Disks, 1)

	system := w.vm().Disks[0]
	require.NoError(t, w.client.Call(t.Context(), "VDI.set_name_label", nil, xapi.Ref[xapi.VDI](system.Ref), "[NOBAK]"))
	run, err := w.run()
	require.Error(t, err)
	require.Equal(t, task.Skipped, run.Status())
	require.Equal(t, task.ReasonNoDisks, err.Error())
}

// A disk that comes is full at first, one that goes stays in older points, and a
// VM without the snapshot's disks does not continue it.
func TestVMWhoseDiskGrewContinues(t *testing.T) {
	w := newWorld(t, "r")
	w.mustRun()
	system := w.vm().Disks[0]
	require.NoError(t, w.client.CallAsync(t.Context(), "VDI.resize_online", nil, xapi.Ref[xapi.VDI](system.Ref), 24*mib))
	require.NoError(t, os.Truncate(system.Path, 24*mib))
	w.write(0, 20*mib, mib, 9)
	w.mustRun()
	require.Equal(t, "FD", w.kinds())
	w.checkPoints("r", 2)
}

// Xen Orchestra cannot merge a disk that grew with what was before, as a directory.
func TestDiskThatGrewAsADirectoryIsExportedInFull(t *testing.T) {
	w := newWorld(t, "r")
	var err error
	w.remotes["r"], err = catalog.Open(t.Context(), w.fsys("r"), &catalog.Options{Format: catalog.FormatBrotli})
	require.NoError(t, err)
	w.mustRun()
	system := w.vm().Disks[0]
	require.NoError(t, w.client.CallAsync(t.Context(), "VDI.resize_online", nil, xapi.Ref[xapi.VDI](system.Ref), 24*mib))
	require.NoError(t, os.Truncate(system.Path, 24*mib))
	w.write(0, 20*mib, mib, 9)
	w.mustRun()
	points := w.points("r")
	p := points[len(points)-1]
	for _, info := range w.remotes["r"].Disks(p) {
		require.Equal(t, info.SourceVDI != system.UUID, p.Metadata.IsVHDDifferencing[info.Ref], info.Name)
	}
	w.checkPoints("r", 2)
}

func TestUnsupportedSettingIsAWarningNotSilence(t *testing.T) {
	w := newWorld(t, "r")
	w.set(`{"exportRetention":1,"preferNbd":true,"mergeBackupsSynchronously":true}`)
	run := w.mustRun()
	require.Len(t, run.Warnings(), 1)
	require.Equal(t, map[string]any{"setting": "preferNbd", "reason": "disks are read as streams"}, run.Warnings()[0].Data)
}

func TestRefusedJobHasARunThatSaysWhy(t *testing.T) {
	w := newWorld(t, "r")
	w.job.VMs = json.RawMessage(`{"tags":{"__some":["x"]}}`)
	run, err := w.run()
	require.ErrorContains(t, err, "vms: selector: pattern: tags.__some: not an operator")
	require.Equal(t, task.Failure, run.Status())
	w.job.VMs = pipeline.IDs("a")
	run, err = w.run(func(o *pipeline.RunOptions) { o.VMs = []string{"b"} })
	require.Error(t, err)
	require.ErrorIs(t, err, selector.ErrNoMatch)
	require.Equal(t, task.Skipped, run.Status())
	require.Empty(t, w.pool.Snapshots())
}
