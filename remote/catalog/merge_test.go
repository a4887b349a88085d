package catalog_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"path"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/remotetest"
	"github.com/xenbackup/xenbackup/vhd"
)

func TestMergeReportsWhatItDidAndUpdatesThePoint(t *testing.T) {
	m, fsys := newRepository(t, 4)
	ctx := t.Context()
	c := openCatalog(t, fsys)
	s := lockVM(t, c, testVM)
	require.NoError(t, remote.WriteFile(ctx, fsys, testVMDir+"/cache.json.gz", []byte("stale")))
	require.NoError(t, s.Delete(ctx, pointName(1)))
	require.NoError(t, s.Delete(ctx, pointName(2)))
	require.NoError(t, s.Delete(ctx, pointName(4)))
	var progress []string
	report, err := s.Merge(ctx, &catalog.MergeOptions{Progress: func(disk string, done, total int64) {
		require.LessOrEqual(t, done, total)
		progress = append(progress, disk)
	}})
	require.NoError(t, err)
	require.Empty(t, report.Unknown)
	require.Empty(t, report.Left)
	require.Equal(t, []string{relative(diskName(0, 4)), relative(diskName(1, 4))}, report.Removed)
	require.Len(t, report.Merged, 2)
	first := report.Merged[0]
	require.Equal(t, relative(diskName(0, 3)), first.Path)
	require.Equal(t, []string{path.Base(diskName(0, 1)), path.Base(diskName(0, 2)), path.Base(diskName(0, 3))}, first.Chain)
	require.False(t, first.Resumed)
	require.Contains(t, progress, first.Path)

	got, err := m.check(ctx, fsys)
	require.NoError(t, err)
	require.Equal(t, dates(3), got)
	p, err := c.Point(ctx, pointName(3))
	require.NoError(t, err)
	require.Equal(t, map[string]bool{diskRef(0, 3): false, diskRef(1, 3): false}, p.Metadata.IsVHDDifferencing)
	require.Equal(t, sizeOfDisks(t, fsys, &p.Metadata), p.Metadata.Size)
	left, err := leavings(ctx, fsys)
	require.NoError(t, err)
	require.Empty(t, left, "the cache is gone too")

	again, err := s.Merge(ctx, nil)
	require.NoError(t, err)
	require.Equal(t, &catalog.MergeReport{}, again)
}

func TestMergeLeavesADiskThatTwoOthersNeed(t *testing.T) {
	_, fsys := newRepository(t, 3)
	ctx := t.Context()
	setParentName(t, fsys, diskName(0, 3), path.Base(diskName(0, 1)))
	setParentUUID(t, fsys, diskName(0, 3), snapshotVDI(0, 1))
	s := lockVM(t, openCatalog(t, fsys), testVM)
	require.NoError(t, s.Delete(ctx, pointName(1)))
	before := disksOf(ctx, t, fsys)
	report, err := s.Merge(ctx, nil)
	require.NoError(t, err)
	require.Contains(t, findings(report.Left), relative(diskName(0, 1)))
	require.Subset(t, disksOf(ctx, t, fsys), []string{diskName(0, 1), diskName(0, 2), diskName(0, 3)})
	require.Len(t, disksOf(ctx, t, fsys), len(before)-1, "the other disk was merged")
}

func setParentUUID(t *testing.T, fsys remote.Filesystem, name, uuid string) {
	t.Helper()
	parent, err := vhd.ParseUUID(uuid)
	require.NoError(t, err)
	patchHeader(t, fsys, name, func(h []byte) { copy(h[40:56], parent[:]) })
}

// interruptMerge stops a merge of the first two of three points where stop says
// so, as seen in the operations that it makes, and returns the storage.
func interruptMerge(t *testing.T, n int) (*machine, *remotetest.Crash, bool) {
	t.Helper()
	m, base := newRepository(t, 3)
	require.NoError(t, base.Remove(t.Context(), pointName(1)))
	require.NoError(t, base.SyncDir(t.Context(), testVMDir))
	faulty := remotetest.NewFaulty(base)
	s, err := openCatalog(t, faulty).LockVM(t.Context(), testVM)
	require.NoError(t, err)
	faulty.FailFrom(n, remote.ErrUnavailable, remotetest.Mutating()...)
	_, err = s.Merge(t.Context(), nil)
	require.Equal(t, faulty.Fired() > 0, err != nil)
	faulty.Heal()
	require.NoError(t, s.Close(t.Context()))
	return m, unlocked(base), faulty.Fired() > 0
}

// Points are readable in the middle of a merge, without repairing anything, and
// no disk in the middle of a merge becomes a base under a name that it loses.
func TestInterruptedMergeIsReadable(t *testing.T) {
	sweep(t, func(n int) bool {
		m, fsys, fired := interruptMerge(t, n)
		got, err := m.check(t.Context(), fsys)
		require.NoError(t, err, "operation %d", n)
		require.Equal(t, dates(2, 3), got)
		s, err := openCatalog(t, fsys).LockVM(t.Context(), testVM)
		require.NoError(t, err)
		for i := range 2 {
			base, err := s.FindBase(t.Context(), testJob, sourceVDI(i), snapshotVDI(i, 2))
			require.NoError(t, err)
			require.NotNil(t, base, "operation %d", n)
			require.Equal(t, relative(diskName(i, 2)), base.Path)
		}
		require.NoError(t, s.Close(t.Context()))
		return fired
	})
}

// xoWindow makes the state in which Xen Orchestra leaves a merge when it is
// killed between removing the youngest disk and renaming the oldest.
func xoWindow(t *testing.T) (*machine, *remotetest.Crash) {
	t.Helper()
	ctx := t.Context()
	m, merged := newRepository(t, 3)
	s := lockVM(t, openCatalog(t, merged), testVM)
	require.NoError(t, s.Delete(ctx, pointName(1)))
	_, err := s.Merge(ctx, nil)
	require.NoError(t, err)
	require.NoError(t, s.Close(ctx))

	for i := range 2 {
		require.NoError(t, merged.Rename(ctx, diskName(i, 2), diskName(i, 1)))
		oldest := path.Base(diskName(i, 1))
		state, err := json.Marshal(map[string]any{
			"child": map[string]string{"uuid": snapshotVDI(i, 2)}, "parent": map[string]string{"uuid": snapshotVDI(i, 1)},
			"chain": []string{oldest, path.Base(diskName(i, 2))}, "currentBlock": 0, "mergedDataSize": 2 << 20, "step": "cleanup", "diskSize": 1,
		})
		require.NoError(t, err)
		require.NoError(t, remote.WriteFile(ctx, merged, path.Join(path.Dir(diskName(i, 1)), "."+oldest+".merge.json"), state))
	}
	return m, merged
}

// Xen Orchestra's own clean deletes the last copy of the data here.
func TestMergeKilledBetweenRemoveAndRenameIsFinished(t *testing.T) {
	m, fsys := xoWindow(t)
	ctx := t.Context()
	got, err := m.check(ctx, fsys)
	require.NoError(t, err, "readable as it is")
	require.Equal(t, dates(2, 3), got)

	s := lockVM(t, openCatalog(t, fsys), testVM)
	base, err := s.FindBase(ctx, testJob, sourceVDI(0), snapshotVDI(0, 2))
	require.NoError(t, err)
	require.Nil(t, base, "the disk with this uuid is about to lose its name")
	report, err := s.Merge(ctx, nil)
	require.NoError(t, err)
	require.Empty(t, report.Removed)
	require.Empty(t, report.Unknown)
	require.Len(t, report.Merged, 2)
	require.True(t, report.Merged[0].Resumed)
	got, err = m.check(ctx, fsys)
	require.NoError(t, err)
	require.Equal(t, dates(2, 3), got)
	left, err := leavings(ctx, fsys)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestMergeStateThatContradictsThePointsIsNotFollowed(t *testing.T) {
	m, fsys := newRepository(t, 3)
	ctx := t.Context()
	dir := path.Dir(diskName(0, 1))
	for name, state := range map[string]string{
		"torn":        `{"child":{"uu`,
		"in use":      `{"child":{"uuid":"` + snapshotVDI(0, 2) + `"},"parent":{"uuid":"` + snapshotVDI(0, 1) + `"},"chain":["20260301T010000Z.vhd","20260301T020000Z.vhd"],"currentBlock":0,"step":"cleanup"}`,
		"leads away":  `{"child":{"uuid":"` + snapshotVDI(0, 2) + `"},"parent":{"uuid":"` + snapshotVDI(0, 1) + `"},"chain":["20260301T010000Z.vhd","../x.vhd"],"currentBlock":0,"step":"mergeBlocks"}`,
		"of old time": `{"child":{"uuid":"` + snapshotVDI(0, 2) + `"},"parent":{"uuid":"` + snapshotVDI(0, 1) + `"},"currentBlock":0,"step":"mergeBlocks"}`,
	} {
		stateName := dir + "/.20260301T010000Z.vhd.merge.json"
		require.NoError(t, remote.WriteFile(ctx, fsys, stateName, []byte(state)))
		before := listFiles(t, fsys, dir)
		s := lockVM(t, openCatalog(t, fsys), testVM)
		report, err := s.Merge(ctx, nil)
		require.NoError(t, err, name)
		require.Contains(t, findings(report.Unknown), relative(diskName(0, 1)), name)
		require.Empty(t, report.Removed, name)
		require.Empty(t, report.Merged, name)
		require.Equal(t, before, listFiles(t, fsys, dir), name)
		require.NoError(t, s.Close(ctx))
		_, err = m.check(ctx, fsys)
		require.NoError(t, err, name)
	}
}

// A job of Xen Orchestra goes on with us: our delta on its chain, its points
// expire, its disks are merged into ours.
func TestDeltaOnAChainOfXenOrchestra(t *testing.T) {
	repo, fsys := goldenFS(t)
	ctx := t.Context()
	c := openCatalog(t, fsys)
	s := lockVM(t, c, goldenDelta)
	points := listPoints(t, c, goldenDelta)
	last := points[len(points)-1]
	at := last.Time().Add(time.Hour)

	w, err := s.NewPoint(ctx, catalog.PointSpec{JobID: last.Metadata.JobID, ScheduleID: last.Metadata.ScheduleID, Time: at})
	require.NoError(t, err)
	meta := catalog.Metadata{VM: last.Metadata.VM, VMSnapshot: last.Metadata.VMSnapshot, VDIs: map[string]json.RawMessage{}}
	want := map[string]string{}
	for _, info := range c.Disks(last) {
		base, err := s.FindBase(ctx, last.Metadata.JobID, info.SourceVDI, info.VDI)
		require.NoError(t, err)
		require.NotNil(t, base)
		content, err := readDisk(ctx, c, last, info.Ref)
		require.NoError(t, err)
		block := make([]byte, 2<<20)
		copy(block, "ours on top")
		copy(content, block)
		sum := sha256.Sum256(content)
		want[info.Ref] = hex.EncodeToString(sum[:])
		meta.VDIs[info.Ref] = last.Metadata.VDIs[info.Ref]
		d, err := w.CreateDisk(ctx, catalog.DiskSpec{
			Ref: info.Ref, SourceVDI: info.SourceVDI, SnapshotVDI: "0f" + info.VDI[2:], Size: info.Size, Blocks: []uint32{0}, Base: base,
		})
		require.NoError(t, err)
		require.NoError(t, d.WriteBlock(0, block))
		require.NoError(t, d.Close())
	}
	ours, err := w.Commit(ctx, meta)
	require.NoError(t, err)

	check := func() {
		t.Helper()
		for _, p := range listPoints(t, c, goldenDelta) {
			for _, info := range c.Disks(p) {
				content, err := readDisk(ctx, c, p, info.Ref)
				require.NoError(t, err)
				sum := sha256.Sum256(content)
				expected := want[info.Ref]
				if p.ID != ours.ID {
					expected = repo.Backups["/"+p.ID].Disks[info.SourceVDI].SHA256
				}
				require.Equal(t, expected, hex.EncodeToString(sum[:]), "%s: %s", p.ID, info.Path)
			}
		}
	}
	check()
	for keep := 3; keep > 0; keep-- {
		_, err = s.Expire(ctx, catalog.Retention{ScheduleID: last.Metadata.ScheduleID, Keep: keep})
		require.NoError(t, err)
		report, err := s.Merge(ctx, nil)
		require.NoError(t, err)
		require.Empty(t, report.Unknown)
		require.Empty(t, report.Left)
		require.Len(t, listPoints(t, c, goldenDelta), keep)
		check()
	}
}

// A merge removes at first sight what this library wrote, or what this session has deleted
// the point of; all else when it was seen before, by a merge or by a clean, as it is.
func TestMergeRemovesWhatIsOursOrWasSeenTwice(t *testing.T) {
	ctx := t.Context()
	// Nobody needs the youngest disks, which have evidence, or not.
	prepare := func(t *testing.T, isOurs bool) (*remotetest.Crash, *catalog.Catalog, []string) {
		t.Helper()
		_, fsys := newRepository(t, 2)
		if !isOurs {
			require.NoError(t, remote.RemoveAll(ctx, fsys, ".xenbackup"))
		}
		return fsys, openCatalog(t, fsys), []string{relative(diskName(0, 2)), relative(diskName(1, 2))}
	}
	t.Run("ours", func(t *testing.T) {
		fsys, c, disks := prepare(t, true)
		require.NoError(t, fsys.Remove(ctx, pointName(2)))
		require.Equal(t, disks, mergeAll(t, c, testVM).Removed)
	})
	t.Run("deleted by this session", func(t *testing.T) {
		_, c, disks := prepare(t, false)
		s := lockVM(t, c, testVM)
		require.NoError(t, s.Delete(ctx, pointName(2)))
		report, err := s.Merge(ctx, nil)
		require.NoError(t, err)
		require.Equal(t, disks, report.Removed)
		require.NoError(t, s.Close(ctx))
	})
	t.Run("another's", func(t *testing.T) {
		fsys, c, disks := prepare(t, false)
		require.NoError(t, fsys.Remove(ctx, pointName(2)))
		for range 2 {
			report := mergeAll(t, c, testVM)
			require.Empty(t, report.Removed)
			require.ErrorIs(t, findings(report.Left)[disks[0]], catalog.ErrSeenOnce)
			toucher, ok := remote.As[remote.Toucher](remote.Filesystem(fsys))
			require.True(t, ok)
			for i := range 2 { // somebody writes to them: what was seen is no more
				require.NoError(t, toucher.Touch(ctx, diskName(i, 2), time.Now().Add(time.Hour)))
			}
		}
		require.Empty(t, mergeAll(t, c, testVM).Removed)
		require.Equal(t, disks, mergeAll(t, c, testVM).Removed)
		require.Empty(t, cleanVM(t, c, testVM, nil).Findings, "and nothing is remembered")
	})
	t.Run("seen by a clean", func(t *testing.T) {
		fsys, c, disks := prepare(t, false)
		require.NoError(t, fsys.Remove(ctx, pointName(2)))
		cleanVM(t, c, testVM, nil)
		require.Equal(t, disks, mergeAll(t, c, testVM).Removed)
	})
	t.Run("seen by a merge", func(t *testing.T) {
		fsys, c, disks := prepare(t, false)
		require.NoError(t, fsys.Remove(ctx, pointName(2)))
		mergeAll(t, c, testVM)
		actions := actions(cleanVM(t, c, testVM, nil))
		require.Equal(t, catalog.ActionTrash, actions[path.Join(testVMDir, disks[0])])
	})
}
