package pipeline_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/remotetest"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// A run that fails says why, leaves what was there and nothing more, and the next
// one is a delta again.
func TestFailedRunIsUndoneAndTheNextIsADelta(t *testing.T) {
	refused := &xapi.Error{Code: "SR_BACKEND_FAILURE_82", Params: []string{"", "snapshot failed", ""}}
	w := newWorld(t, "r")
	w.mustRun()
	for i, c := range []struct {
		name   string
		script func()
		want   error
	}{
		{"snapshot refused", func() { w.pool.Fail("VM.snapshot", xapitest.OnCall(1), refused) }, refused},
		{"tag refused", func() { w.pool.Fail("VDI.add_to_other_config", xapitest.OnCall(3), refused) }, refused},
		{"export cut in the first block", func() { w.pool.CutExport(1 << 20) }, nil},
		{"export cut in the last bytes", func() { w.pool.CutExport(2<<20 + 3000) }, nil},
		{"export reset", func() { w.pool.Break("GET /export_raw_vdi", xapitest.OnCall(1), 1<<20, xapitest.Reset) }, nil},
		{"export stalls", func() { w.pool.StallExport(1 << 20) }, xapi.ErrStalled},
		{"record not readable", func() { w.pool.Fail("SR.get_record", xapitest.OnCall(1), refused) }, refused},
	} {
		w.write(0, 0, mib, byte(20+i))
		w.write(1, 0, mib, byte(40+i))
		before := len(w.points("r"))
		c.script()
		if errors.Is(c.want, xapi.ErrStalled) {
			w.opts.Pools = map[string]pipeline.Pool{"lab": dial(t, w.pool, 3*time.Second)}
		}
		run, err := w.run()
		w.opts.Pools = map[string]pipeline.Pool{"lab": w.client}
		require.Error(t, err, c.name)
		require.Equal(t, task.Failure, run.Status(), c.name)
		if c.want != nil {
			require.ErrorIs(t, run.Err(), c.want, c.name)
		}
		w.checkClean()
		require.Len(t, w.pool.Snapshots(), 1, "%s: the base stays, the new snapshot goes", c.name)
		w.checkPoints("r", before)

		next := w.mustRun()
		require.Equal(t, false, find(next, "export")[0].Data("isFull"), c.name)
		points := w.points("r")
		require.True(t, isDelta(points[len(points)-1]), c.name)
	}
	w.checkPoints("r", 3)
}

func TestRefusedDeltaIsExportedInFull(t *testing.T) {
	w := newWorld(t, "r")
	w.mustRun()
	w.write(0, 0, mib, 9)
	w.pool.Fail("GET /export_raw_vdi", xapitest.OnCall(1), xapi.ErrInternal)
	run := w.mustRun()
	warnings := find(run, "backup VM")[0].Warnings()
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0].Data["error"], "INTERNAL_ERROR")
	full := 0
	points := w.checkPoints("r", 2)
	for _, differencing := range points[1].Metadata.IsVHDDifferencing {
		if !differencing {
			full++
		}
	}
	require.Equal(t, 1, full, "the other disk is still a delta")
}

func TestCancelledRunLeavesNothing(t *testing.T) {
	w := newWorld(t, "r")
	w.runCancelled("r")
	w.mustRun()
	w.checkPoints("r", 1)
}

func TestFullTargetFailsAloneAndKeepsItsPoints(t *testing.T) {
	w := newWorld(t, "r")
	faulty := remotetest.NewFaulty(w.fsys("r"))
	w.mount("r", faulty)
	w.mustRun()
	for n := range 3 {
		w.write(0, 0, mib, byte(100+n))
		faulty.FailFrom(1+n, remote.ErrNoSpace, remotetest.Write)
		run, err := w.run()
		require.ErrorIs(t, err, remote.ErrNoSpace)
		require.ErrorIs(t, run.Err(), pipeline.ErrNoTarget)
		require.ErrorIs(t, find(run, "transfer")[0].Err(), remote.ErrNoSpace, "the target's own task says why")
		require.Positive(t, faulty.Fired())
		faulty.Heal()
		w.checkClean()
		w.checkPoints("r", 1)
	}
	w.mustRun()
	require.True(t, isDelta(w.checkPoints("r", 2)[1]))
}

func TestFailingTargetDoesNotHoldUpTheOther(t *testing.T) {
	w := newWorld(t, "good", "bad")
	faulty := remotetest.NewFaulty(w.fsys("bad"))
	w.mount("bad", faulty)
	w.mustRun()
	w.write(0, 0, mib, 5)
	faulty.FailFrom(3, remote.ErrNoSpace, remotetest.Write)
	run, err := w.run()
	require.ErrorIs(t, err, remote.ErrNoSpace)
	require.Equal(t, task.Failure, run.Status(), "a failed target is a failure, even if the other has the point")
	for _, export := range find(run, "export") {
		want := task.Success
		if export.Data("id") == "bad" {
			want = task.Failure
		}
		require.Equal(t, want, export.Status())
	}
	faulty.Heal()
	w.checkClean()
	require.True(t, isDelta(w.checkPoints("good", 2)[1]))
	w.checkPoints("bad", 1)

	// The base is what all targets have: none in common, so the next is full, then deltas again.
	w.mustRun()
	require.False(t, isDelta(w.checkPoints("good", 3)[2]))
	require.False(t, isDelta(w.checkPoints("bad", 2)[1]))
	w.mustRun()
	require.True(t, isDelta(w.checkPoints("bad", 3)[2]))
}

func TestDiskWithoutBaseOnTheTargetIsExportedInFull(t *testing.T) {
	w := newWorld(t, "r")
	w.mustRun()
	lost := w.vm().Disks[1].UUID
	dir := filepath.Join(w.dirs["r"], "xo-vm-backups", w.vm().UUID, "vdis", w.job.ID, lost)
	require.NoError(t, os.RemoveAll(dir))
	w.write(0, 0, mib, 3)
	run, err := w.run()
	require.NoError(t, err)
	require.Equal(t, true, find(run, "export")[0].Data("isFull"))
	points := w.points("r")
	p := points[len(points)-1]
	for _, info := range w.remotes["r"].Disks(p) {
		require.Equal(t, info.SourceVDI != lost, p.Metadata.IsVHDDifferencing[info.Ref], info.Name)
	}
}

// A process that is killed leaves a snapshot, a blocked VM, and a lock that is
// not touched any more.
func TestLeavingsOfAKilledRunAreUndone(t *testing.T) {
	w := newWorld(t, "r")
	w.mustRun()
	vm := xapi.Ref[xapi.VM](w.vm().Ref)
	call := func(method string, result any, args ...any) {
		t.Helper()
		require.NoError(t, w.client.Call(t.Context(), method, result, args...))
	}
	var temp, tagged xapi.Ref[xapi.VM]
	call("VM.snapshot", &temp, vm, "xo-backup-temp-snapshot-name")
	call("VM.snapshot", &tagged, vm, "[XO Backup nightly] web")
	var disks []xapi.Ref[xapi.VDI]
	for _, s := range w.pool.Snapshots() {
		if s.Ref == string(tagged) {
			for _, d := range s.Disks {
				disks = append(disks, xapi.Ref[xapi.VDI](d.Ref))
			}
		}
	}
	for key, value := range map[string]string{
		"xo:backup:job": w.job.ID, "xo:backup:schedule": schedule, "xo:backup:vm": w.vm().UUID,
		"xo:backup:datetime": "20990101T00:00:00Z",
	} {
		call("VM.add_to_other_config", nil, tagged, key, value)
		for _, d := range disks {
			call("VDI.add_to_other_config", nil, d, key, value)
		}
	}
	call("VM.set_blocked_operations", nil, vm, map[string]string{
		"migrate_send": "VM migration is blocked during backup", "pool_migrate": "by the admin", "destroy": "precious",
	})
	w.pool.Expect("pool_migrate is blocked")
	w.write(0, 0, mib, 3)
	run, err := w.run()
	require.NoError(t, err)
	require.Equal(t, false, find(run, "export")[0].Data("isFull"), "the base is still there")
	require.Len(t, w.pool.Snapshots(), 1)
	var blocked map[string]string
	call("VM.get_blocked_operations", &blocked, vm)
	require.Equal(t, map[string]string{"pool_migrate": "by the admin", "destroy": "precious"}, blocked)
	points := w.points("r")
	var kept struct {
		Blocked map[string]string `json:"blocked_operations"`
	}
	require.NoError(t, json.Unmarshal(points[1].Metadata.VM, &kept))
	require.Equal(t, blocked, kept.Blocked, "the backup's own block is not part of the VM")
}

// A run that is killed after the commit, before it could mark its snapshot,
// must not make the next one fork the chain.
func TestCommittedButUnmarkedSnapshotIsAdopted(t *testing.T) {
	w := newWorld(t, "r")
	w.mustRun()
	w.write(0, 0, mib, 3)
	w.pool.Fail("VM.add_to_other_config", xapitest.OnCall(6), xapi.ErrInternal) // the chain length, after 5 tags
	_, err := w.run()
	require.ErrorIs(t, err, xapi.ErrInternal)
	require.Len(t, w.points("r"), 2)
	require.Len(t, w.pool.Snapshots(), 2, "the old base and the one that is not marked")

	w.write(0, 0, mib, 4)
	run := w.mustRun()
	require.Equal(t, false, find(run, "export")[0].Data("isFull"))
	require.Len(t, w.pool.Snapshots(), 1)
	require.Equal(t, "2", w.tags(w.pool.Snapshots()[0])["xo:backup:deltaChainLength"])
	points := w.checkPoints("r", 3)
	for _, info := range w.remotes["r"].Disks(points[2]) {
		d, err := w.remotes["r"].OpenDisk(t.Context(), points[2], info.Ref)
		require.NoError(t, err)
		require.Equal(t, 3, d.Links(), "one row, no fork")
		require.NoError(t, d.Close())
	}
}

func TestRepositoryThatCannotBeOpenedIsReported(t *testing.T) {
	w := newWorld(t, "r")
	w.job.Remotes = pipeline.IDs("r", "gone")
	delete(w.remotes, "gone")
	run, err := w.run()
	require.Error(t, err)
	require.Equal(t, task.Failure, find(run, "get remote adapter")[0].Status())
	require.Equal(t, task.Success, find(run, "backup VM")[0].Status())
	w.checkPoints("r", 1)
}

func TestMissingVMIsAFailureOfItsOwn(t *testing.T) {
	w := newWorld(t, "r")
	w.job.VMs = pipeline.IDs("00000000-0000-4000-8000-00000000dead", w.vm().UUID)
	run, err := w.run()
	require.ErrorIs(t, err, xapi.ErrUUIDInvalid)
	require.Equal(t, task.Failure, run.Status())
	vms := find(run, "backup VM")
	require.Len(t, vms, 2)
	w.checkPoints("r", 1)
}
