package catalog_test

import (
	"context"
	"encoding/json"
	"flag"
	"io/fs"
	"math/rand/v2"
	"path"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/remotetest"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// repositories are the states of a repository with 0, 1, 2, ... points.
var repositories = sync.OnceValues(func() ([]*remotetest.Crash, []*machine) {
	m, fsys := newMachine(), remotetest.NewCrash()
	states, machines := []*remotetest.Crash{durable(fsys)}, []*machine{m.clone()}
	for range 4 {
		if _, err := m.backup(context.Background(), fsys, 100); err != nil {
			panic(err)
		}
		states, machines = append(states, durable(fsys)), append(machines, m.clone())
	}
	return states, machines
})

// newRepository has n points of a machine, on storage that keeps nothing that
// was not synced.
func newRepository(t *testing.T, n int) (*machine, *remotetest.Crash) {
	t.Helper()
	states, machines := repositories()
	return machines[n].clone(), durable(states[n])
}

// durable returns a copy that the power was cut on: what was not synced is gone.
func durable(fsys *remotetest.Crash) *remotetest.Crash {
	return unlocked(fsys.PowerCut(rand.New(rand.NewPCG(0, 0))))
}

// unlocked removes the lock that a crash, or its undone removal, left behind:
// waiting until it counts as abandoned takes 10 s.
func unlocked(fsys *remotetest.Crash) *remotetest.Crash {
	_ = fsys.Remove(context.Background(), testVMDir+".lock")
	return fsys
}

func dates(numbers ...int) []string {
	var s []string
	for _, n := range numbers {
		s = append(s, catalog.FormatDate(dateOf(n)))
	}
	return s
}

func TestPointsReadToWhatWasWritten(t *testing.T) {
	m, fsys := newRepository(t, 3)
	got, err := m.check(t.Context(), fsys)
	require.NoError(t, err)
	require.Equal(t, dates(1, 2, 3), got)

	c := openCatalog(t, fsys)
	points := listPoints(t, c, testVM)
	last := points[2].Metadata
	require.Equal(t, catalog.ModeDelta, last.Mode)
	require.Equal(t, testJob, last.JobID)
	require.Equal(t, testSchedule, last.ScheduleID)
	require.Equal(t, "2.0.0", last.Version)
	require.Equal(t, dateOf(3).UnixMilli(), last.Timestamp)
	require.True(t, last.IncludeNonNbdQcow2Fix)
	require.Equal(t, map[string]bool{diskRef(0, 3): true, diskRef(1, 3): true}, last.IsVHDDifferencing)
	require.Equal(t, "vdis/"+testJob+"/"+sourceVDI(1)+"/20260301T030000Z.vhd", last.VHDs[diskRef(1, 3)])
	require.Equal(t, sizeOfDisks(t, fsys, &last), last.Size)
	require.Equal(t, map[string]bool{diskRef(0, 1): false, diskRef(1, 1): false}, points[0].Metadata.IsVHDDifferencing)

	left, err := leavings(t.Context(), fsys)
	require.NoError(t, err)
	require.Empty(t, left)
}

func sizeOfDisks(t *testing.T, fsys remote.Filesystem, m *catalog.Metadata) int64 {
	t.Helper()
	var sum int64
	for _, name := range m.VHDs {
		info, err := fsys.Stat(t.Context(), path.Join(testVMDir, name))
		require.NoError(t, err)
		sum += info.Size()
	}
	return sum
}

func TestPointWithTakenDateIsRefused(t *testing.T) {
	_, fsys := newRepository(t, 2)
	s := lockVM(t, openCatalog(t, fsys), testVM)
	_, err := s.NewPoint(t.Context(), catalog.PointSpec{JobID: testJob, Time: dateOf(2)})
	require.ErrorIs(t, err, fs.ErrExist)

	between := dateOf(1).Add(1e9)
	w, err := s.NewPoint(t.Context(), catalog.PointSpec{JobID: testJob, Time: between})
	require.NoError(t, err)
	_, err = w.CreateDisk(t.Context(), catalog.DiskSpec{
		Ref: "r", SourceVDI: sourceVDI(0), SnapshotVDI: snapshotVDI(0, 9), Size: machineDiskSize,
	})
	require.ErrorIs(t, err, catalog.ErrNotNewer)
	require.NoError(t, w.Abort(t.Context()))

	latest, err := s.Latest(t.Context())
	require.NoError(t, err)
	require.Equal(t, dateOf(2), latest)
}

func TestIncompletePointIsNotCommitted(t *testing.T) {
	m, fsys := newRepository(t, 1)
	before := listFiles(t, fsys, testVMDir)
	s := lockVM(t, openCatalog(t, fsys), testVM)
	m.snapshot()
	w, err := s.NewPoint(t.Context(), catalog.PointSpec{JobID: testJob, Time: dateOf(m.now)})
	require.NoError(t, err)
	d, err := w.CreateDisk(t.Context(), catalog.DiskSpec{
		Ref: diskRef(0, m.now), SourceVDI: sourceVDI(0), SnapshotVDI: snapshotVDI(0, m.now), Size: machineDiskSize, Blocks: []uint32{0},
	})
	require.NoError(t, err)

	_, err = s.Merge(t.Context(), nil)
	require.ErrorIs(t, err, catalog.ErrBusy, "a merge would take the new disks for garbage")
	_, err = w.Commit(t.Context(), m.metadata())
	require.ErrorIs(t, err, catalog.ErrIncomplete, "the disk is not closed")
	require.Error(t, d.Close(), "a block is missing")
	_, err = w.Commit(t.Context(), m.metadata())
	require.ErrorIs(t, err, catalog.ErrIncomplete)
	require.NoError(t, w.Abort(t.Context()))
	require.NoError(t, w.Abort(t.Context()), "a second time does nothing")
	require.Equal(t, before, listFiles(t, fsys, testVMDir))
}

func TestMetadataThatXenOrchestraCannotListIsRefused(t *testing.T) {
	m, fsys := newRepository(t, 1)
	s := lockVM(t, openCatalog(t, fsys), testVM)
	for name, spoil := range map[string]func(*catalog.Metadata){
		"no vm":                 func(m *catalog.Metadata) { m.VM = nil },
		"another vm":            func(m *catalog.Metadata) { m.VM = json.RawMessage(`{"uuid":"other"}`) },
		"no snapshot":           func(m *catalog.Metadata) { m.VMSnapshot = json.RawMessage(`null`) },
		"a record without disk": func(m *catalog.Metadata) { m.VDIs = map[string]json.RawMessage{"r": json.RawMessage(`{}`)} },
	} {
		w, err := s.NewPoint(t.Context(), catalog.PointSpec{JobID: testJob, Time: dateOf(m.now + 1)})
		require.NoError(t, err)
		meta := m.metadata()
		meta.VDIs = nil
		spoil(&meta)
		_, err = w.Commit(t.Context(), meta)
		require.ErrorIs(t, err, catalog.ErrIncomplete, name)
		require.NoError(t, w.Abort(t.Context()))
	}
	require.Len(t, listPoints(t, openCatalog(t, fsys), testVM), 1)
}

func TestSnapshotRecordGetsASuspendVDI(t *testing.T) {
	m, fsys := newRepository(t, 0)
	s := lockVM(t, openCatalog(t, fsys), testVM)
	w, err := s.NewPoint(t.Context(), catalog.PointSpec{JobID: testJob, Time: dateOf(1)})
	require.NoError(t, err)
	meta := m.metadata()
	meta.VDIs, meta.VMSnapshot = nil, json.RawMessage(`{"uuid":"s"}`)
	p, err := w.Commit(t.Context(), meta)
	require.NoError(t, err)
	require.JSONEq(t, `{"uuid":"s","suspend_VDI":"OpaqueRef:NULL"}`, string(p.Metadata.VMSnapshot))
}

func TestChangesStopWhenTheLockIsLost(t *testing.T) {
	m, fsys := newRepository(t, 2)
	c := openCatalog(t, fsys)
	s := lockVM(t, c, testVM)
	m.snapshot()
	w, err := s.NewPoint(t.Context(), catalog.PointSpec{JobID: testJob, Time: dateOf(m.now)})
	require.NoError(t, err)
	require.NoError(t, fsys.Remove(t.Context(), testVMDir+".lock"))

	meta := m.metadata()
	meta.VDIs = nil
	_, err = w.Commit(t.Context(), meta)
	require.ErrorIs(t, err, remote.ErrLockLost)
	<-s.Lost()
	require.ErrorIs(t, s.Err(), remote.ErrLockLost)
	_, err = s.Expire(t.Context(), catalog.Retention{ScheduleID: testSchedule, Keep: 1})
	require.ErrorIs(t, err, remote.ErrLockLost)
	_, err = s.Merge(t.Context(), nil)
	require.ErrorIs(t, err, catalog.ErrBusy)
	require.NoError(t, w.Abort(t.Context()))
	_, err = s.Merge(t.Context(), nil)
	require.ErrorIs(t, err, remote.ErrLockLost)
	require.ErrorIs(t, s.Delete(t.Context(), listPoints(t, c, testVM)[0].ID), remote.ErrLockLost)
	require.Len(t, listPoints(t, c, testVM), 2)
}

func TestLockedVMIsRefused(t *testing.T) {
	_, fsys := newRepository(t, 1)
	c, err := catalog.Open(t.Context(), fsys, &catalog.Options{LockWait: -1})
	require.NoError(t, err)
	lockVM(t, c, testVM)
	_, err = c.LockVM(t.Context(), testVM)
	require.ErrorIs(t, err, remote.ErrLocked)
}

func TestCancelledPointLeavesNothing(t *testing.T) {
	m, fsys := newRepository(t, 1)
	before := listFiles(t, fsys, testVMDir)
	s := lockVM(t, openCatalog(t, fsys), testVM)
	ctx, cancel := context.WithCancel(t.Context())
	m.snapshot()
	w, err := s.NewPoint(ctx, catalog.PointSpec{JobID: testJob, Time: dateOf(m.now)})
	require.NoError(t, err)
	require.NoError(t, m.writeDisk(ctx, s, w, 0))
	d, err := w.CreateDisk(ctx, catalog.DiskSpec{
		Ref: "r", SourceVDI: sourceVDI(1), SnapshotVDI: snapshotVDI(1, m.now), Size: machineDiskSize, Blocks: []uint32{0},
	})
	require.NoError(t, err)
	cancel()
	require.ErrorIs(t, d.WriteBlock(0, make([]byte, disk.BlockSize)), context.Canceled)
	require.NoError(t, w.Abort(ctx))
	require.Equal(t, before, listFiles(t, fsys, testVMDir))
}
