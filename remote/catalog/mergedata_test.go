package catalog_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/remotetest"
	"github.com/xenbackup/xenbackup/vhd"
)

func aliasOf(disk string) string { return strings.TrimSuffix(disk, ".vhd") + ".alias.vhd" }
func dataOf(disk string) string  { return path.Join(path.Dir(disk), "data", path.Base(disk)) }

// newDirectories returns a repository whose disks are kept as directories.
func newDirectories(t *testing.T, n int) (*machine, *remotetest.Crash) {
	t.Helper()
	m, fsys := newRepository(t, n)
	for i := range 2 {
		for k := 1; k <= n; k++ {
			asDirectory(t, fsys, diskName(i, k))
		}
	}
	for k := 1; k <= n; k++ {
		raw, err := remote.ReadFile(t.Context(), fsys, pointName(k), 1<<20)
		require.NoError(t, err)
		raw = bytes.ReplaceAll(raw, []byte(`.vhd"`), []byte(`.alias.vhd"`))
		require.NoError(t, remote.WriteFile(t.Context(), fsys, pointName(k), raw))
	}
	return m, fsys
}

// asDirectory turns the file of a disk into a directory and an alias, by code of its own.
func asDirectory(t *testing.T, fsys remote.Filesystem, name string) {
	t.Helper()
	ctx := t.Context()
	file, err := remote.ReadFile(ctx, fsys, name, 64<<20)
	require.NoError(t, err)
	be := binary.BigEndian
	header := file[512:1536]
	if parent := utf16Name(header[64:576]); parent != "" {
		clear(header[64:576])
		for i, unit := range utf16.Encode([]rune(aliasOf(parent))) {
			be.PutUint16(header[64+2*i:], unit)
		}
	}
	clear(header[576:768]) // the locators
	sealHeader(header)
	root := dataOf(name)
	write := func(part string, data []byte) {
		full := path.Join(root, part)
		require.NoError(t, remote.MkdirAll(ctx, fsys, path.Dir(full)))
		require.NoError(t, remote.WriteFile(ctx, fsys, full, data))
	}
	entries := int(be.Uint32(header[28:]))
	table := make([]byte, entries)
	for i := range entries {
		sector := be.Uint32(file[be.Uint64(header[16:])+uint64(4*i):])
		if sector == 0xffffffff {
			continue
		}
		table[i/8] |= 0x80 >> (i % 8)
		at := int(sector) * 512
		write(fmt.Sprintf("blocks/%d/%d", i/1000, i%1000), file[at:at+512+2<<20])
	}
	write("header", header)
	write("bat", table)
	write("footer", file[len(file)-512:])
	require.NoError(t, remote.WriteFile(ctx, fsys, aliasOf(name), []byte("data/"+path.Base(name))))
	require.NoError(t, fsys.Remove(ctx, name))
	require.NoError(t, remote.SyncDir(ctx, fsys, path.Dir(name)))
}

func utf16Name(raw []byte) string {
	var units []uint16
	for ; len(raw) > 1 && (raw[0] != 0 || raw[1] != 0); raw = raw[2:] {
		units = append(units, binary.BigEndian.Uint16(raw))
	}
	return string(utf16.Decode(units))
}

func sealHeader(h []byte) {
	clear(h[36:40])
	var sum uint32
	for _, b := range h {
		sum += uint32(b)
	}
	binary.BigEndian.PutUint32(h[36:], ^sum)
}

// dataLeft returns what lies in the directories of the disks and belongs to no
// disk: files beside the aliases, and data that none of them stands for.
func dataLeft(t *testing.T, fsys remote.Filesystem) []string {
	t.Helper()
	var left []string
	claimed := map[string]bool{}
	names := listFiles(t, fsys, testVMDir+"/vdis")
	for _, name := range names {
		if strings.HasSuffix(name, ".alias.vhd") {
			target, err := remote.ReadFile(t.Context(), fsys, name, 1024)
			require.NoError(t, err)
			claimed[path.Join(path.Dir(name), string(target))] = true
		}
	}
	for _, name := range names {
		dir, _, _ := strings.Cut(name, ".vhd/")
		if !strings.HasSuffix(name, ".alias.vhd") && !claimed[dir+".vhd"] {
			left = append(left, name)
		}
	}
	return left
}

func TestDirectoriesOfXenOrchestraAreMerged(t *testing.T) {
	for _, vm := range []string{goldenBrotli, goldenGzip} {
		repo, fsys := goldenFS(t)
		c := openCatalog(t, fsys)
		points := listPoints(t, c, vm)
		s, err := c.LockVM(t.Context(), vm)
		require.NoError(t, err)
		for _, p := range points[:len(points)-1] {
			require.NoError(t, s.Delete(t.Context(), p.ID))
		}
		report, err := s.Merge(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, report.Unknown)
		require.Empty(t, report.Left)
		require.Len(t, report.Merged, 2)
		require.NoError(t, s.Close(t.Context()))
		requireGolden(t, repo, c, vm, 1)
		files := listFiles(t, fsys, path.Join("xo-vm-backups", vm, "vdis"))
		require.Len(t, slices.DeleteFunc(files, func(name string) bool { return path.Base(name) != "footer" }), 2, "one disk each")
	}
}

// requireGolden reads all disks of all points of a VM, of which there must be n.
func requireGolden(t *testing.T, repo *testenv.Repository, c *catalog.Catalog, vm string, n int) {
	t.Helper()
	points := listPoints(t, c, vm)
	require.Len(t, points, n)
	for _, p := range points {
		for _, info := range c.Disks(p) {
			content, err := readDisk(t.Context(), c, p, info.Ref)
			require.NoError(t, err)
			sum := sha256.Sum256(content)
			require.Equal(t, repo.Backups["/"+p.ID].Disks[info.SourceVDI].SHA256, hex.EncodeToString(sum[:]), "%s: %s", p.ID, info.Path)
		}
	}
}

// Xen Orchestra was killed while it merged the disks of these VMs: a clean finds
// just that, and finishes it.
func TestMergesOfXenOrchestraAreFinished(t *testing.T) {
	repo := testenv.GoldenInterrupted(t)
	fsys := localFS(t, repo.Dir)
	c := openCatalog(t, fsys)
	for _, dir := range repo.InterruptedMerges {
		vm := strings.Split(dir, "/")[2]
		points := len(listPoints(t, c, vm))
		before, resumed := listFiles(t, fsys, "."), ""
		for _, f := range planOf(t, c, vm).Findings {
			require.Equal(t, catalog.KindMerge, f.Kind, f)
			if f.Action == catalog.ActionResume {
				resumed += path.Dir(f.Path)
			}
		}
		require.Equal(t, strings.TrimPrefix(dir, "/"), resumed)
		require.Equal(t, before, listFiles(t, fsys, "."), "planning changes nothing")
		plan := cleanVM(t, c, vm, nil)
		require.Empty(t, plan.Merges.Unknown)
		require.Empty(t, plan.Merges.Left)
		require.Empty(t, plan.Merges.Removed)
		require.True(t, slices.ContainsFunc(plan.Merges.Merged, func(d catalog.MergedDisk) bool { return d.Resumed }))
		requireGolden(t, repo, c, vm, points)
		require.Empty(t, mergeAll(t, c, vm).Merged)
		require.Empty(t, planOf(t, c, vm).Findings)
	}
}

// mergeDirectories deletes the first point and merges with every change from the
// nth on failing, or just that one.
func mergeDirectories(t *testing.T, base *remotetest.Crash, n int, once bool) (fsys *remotetest.Crash, fired bool) {
	t.Helper()
	fsys = durable(base)
	faulty := remotetest.NewFaulty(fsys)
	s, err := openCatalog(t, faulty).LockVM(t.Context(), testVM)
	require.NoError(t, err)
	require.NoError(t, s.Delete(t.Context(), pointName(1)))
	faulty.FailFrom(n, syscall.EIO, remotetest.Mutating()...)
	if once {
		faulty.FailAt(n, syscall.EIO, remotetest.Mutating()...)
	}
	_, err = s.Merge(t.Context(), nil)
	fired = faulty.Fired() > 0
	require.True(t, fired || err == nil, "%v", err)
	faulty.Heal()
	require.NoError(t, s.Close(t.Context()))
	return fsys, fired
}

// mends checks that all points can be read, and lets the next session put all in order.
func mends(t *testing.T, m *machine, fsys *remotetest.Crash, what string) {
	t.Helper()
	unlocked(fsys)
	for range 2 {
		got, err := m.check(t.Context(), fsys)
		require.NoError(t, err, what)
		require.Subset(t, got, dates(2, 3), what)
		report := mergeAll(t, openCatalog(t, fsys), testVM)
		require.Empty(t, report.Unknown, what)
	}
	require.Empty(t, dataLeft(t, fsys), what)
	for i := range 2 {
		_, err := fsys.Stat(t.Context(), aliasOf(diskName(i, 1)))
		require.ErrorIs(t, err, fs.ErrNotExist, what)
	}
}

func TestMergeOfDirectoriesSurvivesFailureOfAnyChange(t *testing.T) {
	m, base := newDirectories(t, 3)
	sweep(t, func(n int) bool {
		fsys, fired := mergeDirectories(t, base, n, true)
		mends(t, m, fsys, fmt.Sprintf("change %d fails", n))
		return fired
	})
}

func TestMergeOfDirectoriesSurvivesPowerCutAtAnyChange(t *testing.T) {
	m, base := newDirectories(t, 3)
	sweep(t, func(n int) bool {
		fsys, fired := mergeDirectories(t, base, n, false)
		for seed := range uint64(2) {
			after := fsys.PowerCut(rand.New(rand.NewPCG(seed, uint64(n))))
			// A point whose removal was not durable comes back, if nothing has touched its disks.
			if got, err := m.check(t.Context(), after); err == nil && len(got) == 3 {
				continue
			}
			mends(t, m, after, fmt.Sprintf("power cut at change %d, seed %d", n, seed))
		}
		return fired
	})
}

func TestDataThatIsNotProvenToBeGarbageStays(t *testing.T) {
	ctx := t.Context()
	dir := path.Dir(diskName(0, 1))
	for name, c := range map[string]struct {
		prepare func(t *testing.T, fsys *remotetest.Crash)
		stays   bool
	}{
		"an upload that was killed": {func(*testing.T, *remotetest.Crash) {}, false},
		"a torn alias": {func(t *testing.T, fsys *remotetest.Crash) {
			t.Helper()
			require.NoError(t, remote.WriteFile(ctx, fsys, aliasOf(diskName(0, 2)), nil))
		}, true},
		"an alias that is missing": {func(t *testing.T, fsys *remotetest.Crash) {
			t.Helper()
			require.NoError(t, fsys.Remove(ctx, aliasOf(diskName(0, 2))))
		}, true},
		"an alias that leads out": {func(t *testing.T, fsys *remotetest.Crash) {
			t.Helper()
			require.NoError(t, remote.WriteFile(ctx, fsys, aliasOf(diskName(1, 9)), []byte("../"+sourceVDI(0)+"/data/orphan.vhd")))
		}, true},
		"an alias beside the others": {func(t *testing.T, fsys *remotetest.Crash) {
			t.Helper()
			require.NoError(t, remote.WriteFile(ctx, fsys, aliasOf(diskName(0, 9)), []byte("data/orphan.vhd")))
		}, true},
		"a point that cannot be read": {func(t *testing.T, fsys *remotetest.Crash) {
			t.Helper()
			require.NoError(t, remote.WriteFile(ctx, fsys, pointName(9), []byte("{")))
		}, true},
		"a merge state that cannot be followed": {func(t *testing.T, fsys *remotetest.Crash) {
			t.Helper()
			require.NoError(t, remote.WriteFile(ctx, fsys, path.Join(dir, vhd.MergeStateName(path.Base(aliasOf(diskName(0, 1))))), []byte(`{"x":1}`)))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			_, fsys := newDirectories(t, 3)
			orphan := path.Join(dir, "data", "orphan.vhd")
			require.NoError(t, remote.MkdirAll(ctx, fsys, orphan+"/blocks/0"))
			require.NoError(t, remote.WriteFile(ctx, fsys, orphan+"/blocks/0/1", []byte("block")))
			require.NoError(t, remote.WriteFile(ctx, fsys, path.Join(dir, "data", "note.txt"), []byte("not ours")))
			c.prepare(t, fsys)
			before := listFiles(t, fsys, testVMDir+"/vdis")
			report := mergeAll(t, openCatalog(t, fsys), testVM)
			after := listFiles(t, fsys, testVMDir+"/vdis")
			require.Contains(t, after, path.Join(dir, "data", "note.txt"))
			if !c.stays {
				require.Empty(t, report.Removed)
				require.ErrorIs(t, findings(report.Left)[relative(orphan)], catalog.ErrSeenOnce)
				report = mergeAll(t, openCatalog(t, fsys), testVM)
				after = listFiles(t, fsys, testVMDir+"/vdis")
				require.Equal(t, []string{relative(orphan)}, report.Removed)
				require.Contains(t, findings(report.Left), relative(path.Join(dir, "data", "note.txt")))
				require.Len(t, after, len(before)-1)
				return
			}
			require.Equal(t, before, after)
			require.NotEmpty(t, slices.Concat(report.Unknown, report.Left))
		})
	}
}

// What an alias stands for may be a link to what no alias stands for.
func TestDataBehindALinkStays(t *testing.T) {
	_, mem := newDirectories(t, 2)
	dir := t.TempDir()
	fsys := localFS(t, dir)
	for _, name := range listFiles(t, mem, testVMDir) {
		data, err := remote.ReadFile(t.Context(), mem, name, 64<<20)
		require.NoError(t, err)
		require.NoError(t, remote.MkdirAll(t.Context(), fsys, path.Dir(name)))
		require.NoError(t, remote.WriteFile(t.Context(), fsys, name, data))
	}
	data := filepath.Join(dir, dataOf(diskName(0, 2)))
	require.NoError(t, os.Rename(data, filepath.Join(filepath.Dir(data), "moved.vhd")))
	require.NoError(t, os.Symlink("moved.vhd", data))
	report := mergeAll(t, openCatalog(t, fsys), testVM)
	require.Empty(t, report.Removed)
	require.DirExists(t, filepath.Join(filepath.Dir(data), "moved.vhd"))
}

func TestRowOfFilesAndDirectoriesIsLeftAsItIs(t *testing.T) {
	m, fsys := newRepository(t, 2)
	asDirectory(t, fsys, diskName(0, 1))
	setParentName(t, fsys, diskName(0, 2), path.Base(aliasOf(diskName(0, 1))))
	c := openCatalog(t, fsys)
	require.NoError(t, lockAndDelete(t, c, pointName(1)))
	report := mergeAll(t, c, testVM)
	require.Contains(t, findings(report.Left), relative(diskName(0, 2)))
	require.Len(t, report.Merged, 1, "the other disk")
	got, err := m.check(context.WithoutCancel(t.Context()), fsys)
	require.NoError(t, err)
	require.Equal(t, dates(2), got)
}
