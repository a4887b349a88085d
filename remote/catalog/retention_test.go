package catalog_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

const goldenFull = "000000a0-0000-4000-8000-000000000001" // two archives

func pointAt(minute int64, schedule, mode string) *catalog.Point {
	return &catalog.Point{
		ID:       catalog.FormatDate(dateOf(int(minute))),
		Metadata: catalog.Metadata{Timestamp: minute, ScheduleID: schedule, Mode: mode},
	}
}

func TestPlanKeepsTheNewestOfEachModeOfTheSchedule(t *testing.T) {
	points := []*catalog.Point{
		pointAt(1, "a", "delta"), pointAt(2, "b", "delta"), pointAt(3, "a", "full"),
		pointAt(5, "a", "delta"), pointAt(4, "a", "delta"), // not in order
	}
	keeps := func(r catalog.Retention) []bool {
		var keep []bool
		for _, f := range catalog.Plan(points, r) {
			require.NotEmpty(t, f.Reason)
			keep = append(keep, f.Keep)
		}
		return keep
	}
	for _, row := range []struct {
		r    catalog.Retention
		want []bool
	}{
		{catalog.Retention{ScheduleID: "a", Keep: 1}, []bool{false, true, true, true, false}},
		{catalog.Retention{ScheduleID: "a", Keep: 2}, []bool{false, true, true, true, true}},
		{catalog.Retention{ScheduleID: "a", Mode: "full", Keep: 1}, []bool{true, true, true, true, true}},
		{catalog.Retention{ScheduleID: "", Keep: 1}, []bool{true, true, true, true, true}},
		{catalog.Retention{ScheduleID: "a", Keep: 0}, []bool{true, true, true, true, true}},
	} {
		require.Empty(t, cmp.Diff(row.want, keeps(row.r)), "%+v", row.r)
	}
}

func TestExpireDeletesTheNewestOfTheOldFirst(t *testing.T) {
	_, fsys := newRepository(t, 4)
	trace := remotetest.NewTrace(fsys)
	s := lockVM(t, openCatalog(t, trace), testVM)
	_, err := s.Expire(t.Context(), catalog.Retention{ScheduleID: testSchedule})
	require.Error(t, err, "retention never empties a repository")
	trace.Reset()
	expired, err := s.Expire(t.Context(), catalog.Retention{ScheduleID: testSchedule, Keep: 1})
	require.NoError(t, err)
	require.Len(t, expired, 3)
	var removed []string
	for _, line := range trace.Lines() {
		if name, ok := strings.CutPrefix(line, "remove "+testVMDir+"/2"); ok {
			removed = append(removed, "2"+name)
		}
	}
	require.Equal(t, []string{dates(3)[0] + ".json", dates(2)[0] + ".json", dates(1)[0] + ".json"}, removed)
}

func TestExpirePassesOverProtectedPoints(t *testing.T) {
	_, fsys := newRepository(t, 3)
	faulty := remotetest.NewFaulty(fsys)
	s := lockVM(t, openCatalog(t, faulty), testVM)
	faulty.FailAt(2, syscall.EPERM, remotetest.Remove) // the first is of the cache
	expired, err := s.Expire(t.Context(), catalog.Retention{ScheduleID: testSchedule, Keep: 1})
	require.NoError(t, err)
	require.Len(t, expired, 1)
	require.Equal(t, dateOf(1), expired[0].Time())
}

func TestFullPointGoesWithItsArchive(t *testing.T) {
	repo, fsys := goldenFS(t)
	s := lockVM(t, openCatalog(t, fsys), goldenFull)
	points := listPoints(t, openCatalog(t, fsys), goldenFull)
	_, err := s.Expire(t.Context(), catalog.Retention{ScheduleID: points[0].Metadata.ScheduleID, Keep: 1})
	require.NoError(t, err)
	dir := filepath.Join("xo-vm-backups", goldenFull)
	require.Equal(t, []string{
		dir + "/20260110T040000Z.json", dir + "/20260110T040000Z.xva", dir + "/20260110T040000Z.xva.checksum",
	}, listFiles(t, fsys, dir))

	// A deletion that was interrupted after the JSON is completed by the next Merge but one.
	for _, name := range []string{"20260110T010000Z.xva", "20260110T010000Z.xva.checksum", "mine.xva"} {
		require.NoError(t, os.WriteFile(filepath.Join(repo.Dir, dir, name), nil, 0o644))
	}
	report, err := s.Merge(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, report.Removed)
	require.ErrorIs(t, findings(report.Left)["20260110T010000Z.xva"], catalog.ErrSeenOnce)
	report, err = s.Merge(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, []string{"20260110T010000Z.xva", "20260110T010000Z.xva.checksum"}, report.Removed)
}

func TestDeleteTakesPointsOfThisVMOnly(t *testing.T) {
	_, fsys := newRepository(t, 2)
	c := openCatalog(t, fsys)
	s := lockVM(t, c, testVM)
	require.ErrorIs(t, s.Delete(t.Context(), "xo-vm-backups/other/20260110T030000Z.json"), catalog.ErrInvalidName)
	require.ErrorIs(t, s.Delete(t.Context(), pointName(7)), fs.ErrNotExist)
	require.NoError(t, s.Delete(t.Context(), "/"+pointName(2)))
	truncate(t, fsys, pointName(1), 10)
	require.NoError(t, s.Delete(t.Context(), pointName(1)), "who names a torn point has decided")
	require.Empty(t, listPoints(t, c, testVM))
	report, err := s.Merge(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, report.Removed, "without any point nothing proves that a disk is garbage")
	require.Len(t, report.Left, 2)
}
