package catalog_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/remote/nfs"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// manyPoints makes a repository with the points of some VMs, a few KiB of metadata
// each, and returns its directory.
func manyPoints(tb testing.TB, vms, each int) string {
	tb.Helper()
	dir := tb.TempDir()
	record := strings.Repeat(`"other_config":{"mac_seed":"6f8b","base_template_name":"Debian"},"platform":{"viridian":"true"},`, 15)
	for v := range vms {
		vm := fmt.Sprintf("5f3c3c1e-0000-4000-8001-%012d", v)
		vmDir := filepath.Join(dir, "xo-vm-backups", vm)
		require.NoError(tb, os.MkdirAll(vmDir, 0o755))
		entries := map[string]json.RawMessage{}
		for n := range each {
			date := catalog.FormatDate(time.Date(2025, 1, 1, 0, 0, n, 0, time.UTC))
			meta := fmt.Sprintf(`{"includeNonNbdQcow2Fix":true,"isVhdDifferencing":{"r":true},"jobId":%q,"mode":"delta","scheduleId":%q,"timestamp":%d,`+
				`"vbds":{"b":{%s"VDI":"r"}},"vdis":{"r":{%s"uuid":"u%d"}},"version":"2.0.0","vifs":{},"vhds":{"r":"vdis/%s/x/%s.vhd"},`+
				`"vm":{%s"uuid":%q,"name_label":"vm %d"},"vmSnapshot":{"suspend_VDI":"OpaqueRef:NULL"},"vtpms":[],"tags":[],"size":%d}`,
				testJob, testSchedule, time.Date(2025, 1, 1, 0, 0, n, 0, time.UTC).UnixMilli(), record, record, n, testJob, date, record, vm, v, n)
			name := filepath.Join(vmDir, date+".json")
			require.NoError(tb, os.WriteFile(name, []byte(meta), 0o600))
			key := "/xo-vm-backups/" + vm + "/" + date + ".json"
			entries[key] = fmt.Appendf([]byte(strings.TrimSuffix(meta, "}")), `,"_filename":%q,"id":%q}`, key, key)
		}
		content, err := json.Marshal(entries)
		require.NoError(tb, err)
		cacheName := filepath.Join(vmDir, "cache.json.gz")
		require.NoError(tb, os.WriteFile(cacheName, zipped(tb, content), 0o600))
		later := time.Now().Add(time.Hour)
		require.NoError(tb, os.Chtimes(cacheName, later, later))
	}
	return dir
}

func withoutCaches(tb testing.TB, dir string) {
	tb.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "xo-vm-backups", "*", "cache.json.gz"))
	require.NoError(tb, err)
	for _, name := range names {
		require.NoError(tb, os.Remove(name))
	}
}

func countPoints(ctx context.Context, fsys remote.Filesystem) (int, error) {
	c, err := catalog.Open(ctx, fsys, nil)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, err := range c.Find(ctx, nil) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func nfsOf(tb testing.TB, dir string) remote.Filesystem {
	tb.Helper()
	port := testenv.GoNFS(tb, dir)
	u, err := url.Parse(fmt.Sprintf("nfs://127.0.0.1:%d/x?mountport=%d", port, port))
	require.NoError(tb, err)
	fsys, err := nfs.OpenURL(tb.Context(), u, &remote.Options{})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = fsys.Close() })
	return fsys
}

// With the cache, a VM costs its directory and one file, however many points it has.
func TestListingByTheCacheOpensOneFilePerVM(t *testing.T) {
	dir := manyPoints(t, 3, 300)
	for name, fsys := range map[string]remote.Filesystem{"local": localFS(t, dir), "nfs": nfsOf(t, dir)} {
		counted := remotetest.NewFaulty(fsys)
		n, err := countPoints(t.Context(), counted)
		require.NoError(t, err)
		require.Equal(t, 900, n)
		require.Equal(t, 3, counted.Count(remotetest.Open)-1, "%s: besides encryption.json", name)
	}
	withoutCaches(t, dir)
	n, err := countPoints(t.Context(), nfsOf(t, dir))
	require.NoError(t, err)
	require.Equal(t, 900, n)
}

// hostileDir has as many files as one likes.
type hostileDir struct {
	remote.Filesystem
	n int
}

type hostileEntry struct{ name string }

func (e hostileEntry) Name() string               { return e.name }
func (e hostileEntry) IsDir() bool                { return false }
func (e hostileEntry) Type() fs.FileMode          { return 0 }
func (e hostileEntry) Info() (fs.FileInfo, error) { return nil, fs.ErrNotExist }

func (d hostileDir) ReadDir(context.Context, string) ([]fs.DirEntry, error) {
	entries := make([]fs.DirEntry, d.n)
	for i := range entries {
		entries[i] = hostileEntry{fmt.Sprintf("%08d.json", i)}
	}
	return entries, nil
}

// A million files cost no more than their names until they are asked for, and are
// not all asked for at once.
func TestMillionFilesAreNotReadAtOnce(t *testing.T) {
	counted := remotetest.NewFaulty(hostileDir{localFS(t, t.TempDir()), 1_000_000})
	plant(t, counted, testVMDir+"/00000000.json", "{")
	c := openCatalog(t, counted)
	opened := counted.Count(remotetest.Open)
	for _, err := range c.Points(t.Context(), testVM) {
		var bad *catalog.PointError
		require.ErrorAs(t, err, &bad)
		break
	}
	require.Less(t, counted.Count(remotetest.Open)-opened, 100)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	for _, err := range c.Points(ctx, testVM) {
		require.ErrorIs(t, err, enough)
	}
	require.Less(t, counted.Count(remotetest.Open)-opened, 200)
}

// Files that nobody could have written are errors of their points, whatever their
// length; the others are listed.
func TestListingOfHugeAndHostileFiles(t *testing.T) {
	_, fsys := newRepository(t, 2)
	dir := t.TempDir()
	disk, err := local.Open(dir, nil)
	require.NoError(t, err)
	defer disk.Close()
	for _, name := range listFiles(t, fsys, testVMDir) {
		data, err := remote.ReadFile(t.Context(), fsys, name, 64<<20)
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	huge := filepath.Join(dir, testVMDir, "20260301T013000Z.json")
	require.NoError(t, os.WriteFile(huge, nil, 0o600))
	require.NoError(t, os.Truncate(huge, 8<<30))
	deep := []byte(`{"mode":"delta","vhds":` + strings.Repeat("[", 1<<20))
	require.NoError(t, os.WriteFile(filepath.Join(dir, testVMDir, "20260301T014000Z.json"), deep, 0o600))
	outside := `{"mode":"delta","timestamp":1,"vhds":{"r":"../../../etc/passwd"},"vdis":{"r":{}},"vm":{},"vmSnapshot":{}}`
	require.NoError(t, os.WriteFile(filepath.Join(dir, testVMDir, "20260301T015000Z.json"), []byte(outside), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, testVMDir, "cache.json.gz"), zipped(t, make([]byte, 32<<20)), 0o600))

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	listed, bad := 0, 0
	c := openCatalog(t, disk)
	for p, err := range c.Points(t.Context(), testVM) {
		if err != nil {
			var pe *catalog.PointError
			require.ErrorAs(t, err, &pe)
			bad++
			continue
		}
		listed++
		if _, err := c.OpenDisk(t.Context(), p, "r"); p.Metadata.VHDs["r"] != "" {
			require.ErrorIs(t, err, catalog.ErrOutside)
		}
	}
	runtime.ReadMemStats(&after)
	require.Equal(t, 3, listed)
	require.Equal(t, 2, bad)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(smoke(96, 48))<<20)
}

func benchmarkList(b *testing.B, fsys func(tb testing.TB, dir string) remote.Filesystem, vms, each int, cached bool) time.Duration {
	b.Helper()
	dir := manyPoints(b, vms, each)
	if !cached {
		withoutCaches(b, dir)
	}
	f := fsys(b, dir)
	b.ReportAllocs()
	for b.Loop() {
		n, err := countPoints(b.Context(), f)
		require.NoError(b, err)
		require.Equal(b, vms*each, n)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*vms*each), "µs/point")
	return b.Elapsed() / time.Duration(b.N)
}

// Ten thousand points of 3.5 KiB each, of a hundred VMs or of one; "x-files" is how many
// times as fast the cache is as the files, in the same run.
func BenchmarkList(b *testing.B) {
	onDisk := func(tb testing.TB, dir string) remote.Filesystem {
		tb.Helper()
		fsys, err := local.Open(dir, nil)
		require.NoError(tb, err)
		tb.Cleanup(func() { _ = fsys.Close() })
		return fsys
	}
	for _, where := range []struct {
		name string
		fsys func(testing.TB, string) remote.Filesystem
	}{{"local", onDisk}, {"nfs", nfsOf}} {
		for _, shape := range [][2]int{{100, 100}, {1, 10_000}} {
			var files time.Duration
			name := fmt.Sprintf("%s/%dx%d", where.name, shape[0], shape[1])
			b.Run(name+"/files", func(b *testing.B) {
				files = benchmarkList(b, where.fsys, shape[0], shape[1], false)
			})
			b.Run(name+"/cache", func(b *testing.B) {
				took := benchmarkList(b, where.fsys, shape[0], shape[1], true)
				if files > 0 {
					b.ReportMetric(files.Seconds()/took.Seconds(), "x-files")
				}
			})
		}
	}
}
