package catalog_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// commitThree writes the nth point of three disks, each with one block.
func commitThree(ctx context.Context, s *catalog.Session, n int, longTerm *catalog.LongTerm) (*catalog.Point, error) {
	w, err := s.NewPoint(ctx, catalog.PointSpec{JobID: testJob, ScheduleID: testSchedule, Time: dateOf(n), LongTerm: longTerm})
	if err != nil {
		return nil, err
	}
	meta := catalog.Metadata{
		VM:         json.RawMessage(`{"uuid":"` + testVM + `","name_label":"web","name_description":"","tags":[]}`),
		VMSnapshot: json.RawMessage(`{"suspend_VDI":"OpaqueRef:NULL"}`),
		VDIs:       map[string]json.RawMessage{},
	}
	for i := range 3 {
		base, err := s.FindBase(ctx, testJob, sourceVDI(i), snapshotVDI(i, n-1))
		if err != nil {
			return nil, err
		}
		d, err := w.CreateDisk(ctx, catalog.DiskSpec{
			Ref: diskRef(i, n), SourceVDI: sourceVDI(i), SnapshotVDI: snapshotVDI(i, n), Size: machineDiskSize, Blocks: []uint32{0}, Base: base,
		})
		if err != nil {
			return nil, err
		}
		if err := d.WriteBlock(0, []byte("block")); err != nil {
			return nil, err
		}
		if err := d.Close(); err != nil {
			return nil, err
		}
		meta.VDIs[diskRef(i, n)] = fmt.Appendf(nil, `{"uuid":%q,"$snapshot_of$uuid":%q}`, snapshotVDI(i, n), sourceVDI(i))
	}
	return w.Commit(ctx, meta)
}

// The order of changes is the promise: data and directories durable before the JSON,
// no cache while it gets its name. The golden files are all that a difference of three
// disks changes, and at their ends how often it asks.
func TestCommitOrder(t *testing.T) {
	synctest.Test(t, testCommitOrder) // no lock is refreshed meanwhile, however busy the machine is
}

func testCommitOrder(t *testing.T) {
	t.Helper()
	for file, format := range map[string]catalog.DiskFormat{
		"commit.trace": catalog.FormatFile, "commit-directories.trace": catalog.FormatBrotli,
	} {
		counted := remotetest.NewFaulty(remotetest.NewCrash())
		trace := remotetest.NewTrace(counted)
		c, err := catalog.Open(t.Context(), trace, &catalog.Options{Format: format})
		require.NoError(t, err)
		s := lockVM(t, c, testVM)
		_, err = commitThree(t.Context(), s, 1, nil)
		require.NoError(t, err)
		trace.Reset()
		asked := []remotetest.Kind{remotetest.Stat, remotetest.ReadDir, remotetest.Open, remotetest.Read}
		before := map[remotetest.Kind]int{}
		for _, kind := range asked {
			before[kind] = counted.Count(kind)
		}
		_, err = commitThree(t.Context(), s, 2, nil)
		require.NoError(t, err)

		var got strings.Builder
		short := []string{"xo-vm-backups/" + testVM, "<vm>", testVM, "<vm>", testJob, "<job>"}
		for i := range 3 {
			short = append(short, sourceVDI(i), fmt.Sprintf("<vdi %d>", i))
		}
		got.WriteString(strings.NewReplacer(short...).Replace(trace.String()))
		fmt.Fprintf(&got, "\n%d changes and syncs, and besides", len(trace.Lines()))
		for _, kind := range asked {
			fmt.Fprintf(&got, " %d %s", counted.Count(kind)-before[kind], kind)
		}
		got.WriteByte('\n')
		golden := filepath.Join("testdata", file)
		if *update {
			require.NoError(t, os.WriteFile(golden, []byte(got.String()), 0o644))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(string(want), got.String()))
	}
}

func TestPointGetsTheTagsOfLongTermRetention(t *testing.T) {
	c := openCatalog(t, remotetest.NewCrash())
	s := lockVM(t, c, testVM)
	keep := &catalog.LongTerm{
		Daily: catalog.Period{Keep: 3}, Weekly: catalog.Period{Keep: 1}, Yearly: catalog.Period{Keep: 1}, Zone: time.UTC,
	}
	first, err := commitThree(t.Context(), s, 1, keep)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"daily=2026-03-01", "weekly=2026-10", "yearly=2026"}, first.Metadata.Tags)
	again, err := commitThree(t.Context(), s, 2, keep)
	require.NoError(t, err)
	require.Empty(t, again.Metadata.Tags, "the first of the day is there")
	nextDay, err := commitThree(t.Context(), s, 25, keep)
	require.NoError(t, err)
	require.Equal(t, []string{"daily=2026-03-02"}, nextDay.Metadata.Tags)

	_, err = commitThree(t.Context(), s, 26, &catalog.LongTerm{})
	require.ErrorIs(t, err, catalog.ErrRetention, "no time zone")
}

// fastClock is a storage whose clock is ahead.
type fastClock struct {
	remote.Filesystem
	by time.Duration
}

type fastFile struct {
	remote.File
	by time.Duration
}

type fastInfo struct {
	os.FileInfo
	by time.Duration
}

func (i fastInfo) ModTime() time.Time { return i.FileInfo.ModTime().Add(i.by) }

func (f fastFile) Stat() (os.FileInfo, error) {
	info, err := f.File.Stat()
	return fastInfo{info, f.by}, err
}

func (f fastClock) OpenFile(ctx context.Context, name string, flag int) (remote.File, error) {
	file, err := f.Filesystem.OpenFile(ctx, name, flag)
	return fastFile{file, f.by}, err
}

func (f fastClock) Touch(ctx context.Context, name string, mtime time.Time) error {
	below, _ := remote.As[remote.Toucher](f.Filesystem)
	return below.Touch(ctx, name, mtime)
}

// Between clocks that differ, Xen Orchestra would break the lock.
func TestNoPointIsBegunWhenClocksDiffer(t *testing.T) {
	for by, want := range map[time.Duration]error{
		0: nil, 4 * time.Second: nil, -4 * time.Second: nil, time.Minute: catalog.ErrClock, -time.Minute: catalog.ErrClock,
	} {
		fsys, err := local.Open(t.TempDir(), nil)
		require.NoError(t, err)
		c := openCatalog(t, fastClock{fsys, by})
		s := lockVM(t, c, testVM)
		_, err = commitThree(t.Context(), s, 1, nil)
		require.ErrorIs(t, err, want, "%v", by)
		require.NoError(t, s.Close(t.Context()))

		trusting, err := catalog.Open(t.Context(), fastClock{fsys, by}, &catalog.Options{IgnoreClock: true})
		require.NoError(t, err)
		s = lockVM(t, trusting, testVM)
		_, err = commitThree(t.Context(), s, 2, nil)
		require.NoError(t, err)
		require.NoError(t, s.Close(t.Context()))
		require.NoError(t, fsys.Close())
	}
}

// A difference of three disks with a block each, begun and committed, in memory: what
// the catalog itself takes; "changes" are those that the storage makes for one, with its
// syncs, as the traces list them.
func BenchmarkCommit(b *testing.B) {
	trace := remotetest.NewTrace(remotetest.NewCrash())
	c, err := catalog.Open(b.Context(), trace, nil)
	require.NoError(b, err)
	s, err := c.LockVM(b.Context(), testVM)
	require.NoError(b, err)
	defer func() { require.NoError(b, s.Close(b.Context())) }()
	_, err = commitThree(b.Context(), s, 1, nil)
	require.NoError(b, err)
	b.ReportAllocs()
	changes := 0
	for b.Loop() {
		b.StopTimer()
		trace.Reset()
		b.StartTimer()
		p, err := commitThree(b.Context(), s, 2, nil)
		require.NoError(b, err)
		b.StopTimer()
		changes = len(trace.Lines())
		require.NoError(b, s.Delete(b.Context(), p.ID))
		_, err = s.Merge(b.Context(), nil)
		require.NoError(b, err)
		b.StartTimer()
	}
	b.ReportMetric(float64(changes), "changes")
}
