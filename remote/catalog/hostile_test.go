package catalog_test

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/remotetest"
	"github.com/xenbackup/xenbackup/vhd"
)

func pointName(n int) string { return testVMDir + "/" + dates(n)[0] + ".json" }
func diskName(i, n int) string {
	return testVMDir + "/vdis/" + testJob + "/" + sourceVDI(i) + "/" + dates(n)[0] + ".vhd"
}
func relative(name string) string { return strings.TrimPrefix(name, testVMDir+"/") }

func findings(found []catalog.Finding) map[string]error {
	m := map[string]error{}
	for _, f := range found {
		m[f.Path] = f.Err
	}
	return m
}

// overwrite puts data at off of an existing file.
func overwrite(t *testing.T, fsys remote.Filesystem, name string, off int64, data []byte) {
	t.Helper()
	f, err := fsys.OpenFile(t.Context(), name, os.O_RDWR)
	require.NoError(t, err)
	_, err = f.WriteAt(data, off)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

func truncate(t *testing.T, fsys remote.Filesystem, name string, size int64) {
	t.Helper()
	f, err := fsys.OpenFile(t.Context(), name, os.O_RDWR)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(size))
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

func TestTornJSONIsReportedAndNothingIsDeleted(t *testing.T) {
	m, fsys := newRepository(t, 4)
	ctx := t.Context()
	data, err := remote.ReadFile(ctx, fsys, pointName(2), 1<<20)
	require.NoError(t, err)
	truncate(t, fsys, pointName(2), int64(len(data)/2))
	require.NoError(t, remote.WriteFile(ctx, fsys, testVMDir+"/.20260301T020000Z.json.0123456789abcdef.tmp", []byte("left by a crash")))

	c := openCatalog(t, fsys)
	var listed []string
	var broken []*catalog.PointError
	for p, err := range c.Points(ctx, testVM) {
		if pe, ok := errors.AsType[*catalog.PointError](err); ok {
			broken = append(broken, pe)
			continue
		}
		require.NoError(t, err)
		listed = append(listed, catalog.FormatDate(p.Time()))
	}
	require.Equal(t, dates(1, 3, 4), listed, "the listing goes on")
	require.Len(t, broken, 1)
	require.Equal(t, pointName(2), broken[0].Path)
	require.EqualValues(t, len(data)/2, broken[0].Off)

	s := lockVM(t, c, testVM)
	before := disksOf(ctx, t, fsys)
	expired, err := s.Expire(ctx, catalog.Retention{ScheduleID: testSchedule, Keep: 1})
	unreadable, ok := errors.AsType[*catalog.PointError](err)
	require.True(t, ok, err)
	require.Equal(t, pointName(2), unreadable.Path)
	require.Empty(t, expired)
	report, err := s.Merge(ctx, nil)
	require.NoError(t, err)
	require.Contains(t, findings(report.Unknown), relative(pointName(2)))
	require.Empty(t, report.Merged)
	require.Empty(t, report.Removed, "not even what looks temporary")
	require.Equal(t, before, disksOf(ctx, t, fsys))

	// With the JSON whole again, all is well: nothing was lost meanwhile.
	require.NoError(t, remote.WriteFile(ctx, fsys, pointName(2), data))
	got, err := m.check(ctx, fsys)
	require.NoError(t, err)
	require.Equal(t, dates(1, 2, 3, 4), got)
}

func TestJSONIsCutAtEveryLength(t *testing.T) {
	_, fsys := newRepository(t, 1)
	data, err := remote.ReadFile(t.Context(), fsys, pointName(1), 1<<20)
	require.NoError(t, err)
	c := openCatalog(t, fsys)
	for n := range slices.Backward(data) {
		truncate(t, fsys, pointName(1), int64(n))
		_, err := c.Point(t.Context(), pointName(1))
		_, ok := errors.AsType[*catalog.PointError](err)
		require.True(t, ok, "cut at %d: %v", n, err)
	}
}

func TestPointsThatAreNoneAreErrors(t *testing.T) {
	_, fsys := newRepository(t, 1)
	c := openCatalog(t, fsys)
	for content, want := range map[string]error{
		`null`:                              catalog.ErrIncomplete,
		`[]`:                                nil,
		`{"mode":"sideways","timestamp":1}`: catalog.ErrIncomplete,
		`{"mode":"delta","timestamp":1}`:    catalog.ErrIncomplete,
		`{"mode":"full","timestamp":1}`:     catalog.ErrIncomplete,
		`{"mode":"full","timestamp":1e300}`: nil,
		`{"mode":7}`:                        nil,
	} {
		require.NoError(t, remote.WriteFile(t.Context(), fsys, pointName(2), []byte(content)))
		_, err := c.Point(t.Context(), pointName(2))
		_, ok := errors.AsType[*catalog.PointError](err)
		require.True(t, ok, "%s: %v", content, err)
		if want != nil {
			require.ErrorIs(t, err, want, content)
		}
	}
	onDisk := localFS(t, t.TempDir())
	require.NoError(t, remote.MkdirAll(t.Context(), onDisk, testVMDir))
	require.NoError(t, remote.WriteFile(t.Context(), onDisk, pointName(2), nil))
	truncate(t, onDisk, pointName(2), 64<<20+1)
	_, err := openCatalog(t, onDisk).Point(t.Context(), pointName(2))
	require.ErrorIs(t, err, remote.ErrTooLarge)
}

func TestNamesThatLeadElsewhereAreRefused(t *testing.T) {
	_, fsys := newRepository(t, 1)
	c := openCatalog(t, fsys)
	for _, vm := range []string{"", ".", "..", "../x", "a/b", ".queue", "x.lock", "a\x00"} {
		_, err := c.LockVM(t.Context(), vm)
		require.ErrorIs(t, err, catalog.ErrInvalidName, "%q", vm)
		for _, err := range c.Points(t.Context(), vm) {
			require.ErrorIs(t, err, catalog.ErrInvalidName, "%q", vm)
		}
	}
	s := lockVM(t, c, testVM)
	for _, id := range []string{"", "xo-vm-backups", "xo-vm-backups/../x.json", "xo-vm-backups/" + testVM + "/../x.json", "xo-vm-backups/" + testVM + "/x"} {
		_, err := c.Point(t.Context(), id)
		require.ErrorIs(t, err, catalog.ErrInvalidName, "%q", id)
		require.ErrorIs(t, s.Delete(t.Context(), id), catalog.ErrInvalidName, "%q", id)
	}
	for _, job := range []string{"", "..", "a/b"} {
		_, err := s.NewPoint(t.Context(), catalog.PointSpec{JobID: job, Time: dateOf(9)})
		require.ErrorIs(t, err, catalog.ErrInvalidName)
		_, err = s.FindBase(t.Context(), job, sourceVDI(0), snapshotVDI(0, 1))
		require.ErrorIs(t, err, catalog.ErrInvalidName)
	}
}

// A JSON of a gigabyte is refused by its size: it is not read, nor is what it would be in
// memory.
func TestHugeJSONIsRefusedUnread(t *testing.T) {
	fsys := localFS(t, t.TempDir())
	c := openCatalog(t, fsys)
	for _, name := range []string{
		pointName(1), "immutability.json", "xo-config-backups/schedule/20260110T030000Z/metadata.json",
	} {
		require.NoError(t, remote.MkdirAll(t.Context(), fsys, path.Dir(name)))
		require.NoError(t, remote.WriteFile(t.Context(), fsys, name, nil))
		truncate(t, fsys, name, 1<<30) // sparse
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := c.Point(t.Context(), pointName(1))
	require.ErrorIs(t, err, remote.ErrTooLarge)
	_, err = c.Immutability(t.Context())
	require.ErrorIs(t, err, remote.ErrTooLarge)
	_, broken := listBackups(t, c, catalog.BackupConfig)
	require.Len(t, broken, 1)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(256<<20))
}

// Aliases and the states of merges are followed no further than the directory of their VM.
func TestAliasesAndMergesStayInsideTheVM(t *testing.T) {
	_, fsys := newRepository(t, 1)
	ctx := t.Context()
	c := openCatalog(t, fsys)
	p, err := c.Point(ctx, pointName(1))
	require.NoError(t, err)
	alias := strings.TrimSuffix(diskName(0, 1), ".vhd") + ".alias.vhd"
	p.Metadata.VHDs[diskRef(0, 1)] = relative(alias)
	for target, want := range map[string]error{
		"../../../../../other.vhd":          catalog.ErrOutside,
		"/etc/passwd.vhd":                   catalog.ErrOutside,
		path.Base(alias):                    nil, // itself
		"data/nowhere.vhd":                  fs.ErrNotExist,
		"":                                  nil,
		strings.Repeat("a", 2<<20) + ".vhd": nil,
	} {
		require.NoError(t, remote.WriteFile(ctx, fsys, alias, []byte(target)))
		_, err := c.OpenDisk(ctx, p, diskRef(0, 1))
		require.Error(t, err, "%.40q", target)
		if want != nil {
			require.ErrorIs(t, err, want, "%.40q", target)
		}
	}
	require.NoError(t, fsys.Remove(ctx, alias))
	p.Metadata.VHDs[diskRef(0, 1)] = relative(diskName(0, 1))
	state := path.Join(path.Dir(diskName(0, 1)), "."+path.Base(diskName(0, 1))+".merge.json")
	for _, chain := range []string{`["../../../../../etc/x.vhd","/etc/y.vhd"]`, `["a.vhd","a.vhd"]`, `[]`, `7`} {
		require.NoError(t, remote.WriteFile(ctx, fsys, state, []byte(`{"step":"cleanup","chain":`+chain+`}`)))
		content, err := readDisk(ctx, c, p, diskRef(0, 1))
		require.NoError(t, err, chain)
		require.Len(t, content, machineDiskSize)
	}
}

func TestPathInVHDsStaysInsideTheVM(t *testing.T) {
	_, fsys := newRepository(t, 2)
	ctx := t.Context()
	c := openCatalog(t, fsys)
	p, err := c.Point(ctx, pointName(2))
	require.NoError(t, err)
	for _, name := range []string{
		"../../secret.vhd", "/etc/passwd", "vdis/../../other/x.vhd", "..", ".", "", `vdis\..\..\x.vhd`, "a\x00.vhd",
		"../" + testVM + "-2/x.vhd",
	} {
		p.Metadata.VHDs[diskRef(0, 2)] = name
		_, err := c.OpenDisk(ctx, p, diskRef(0, 2))
		require.ErrorIs(t, err, catalog.ErrOutside, "%q", name)
	}

	// Reference counting must not believe such a JSON either.
	data, err := p.Metadata.MarshalJSON()
	require.NoError(t, err)
	require.NoError(t, remote.WriteFile(ctx, fsys, pointName(2), data))
	require.NoError(t, fsys.Remove(ctx, pointName(1)))
	before := disksOf(ctx, t, fsys)
	report, err := lockVM(t, c, testVM).Merge(ctx, nil)
	require.NoError(t, err)
	require.ErrorIs(t, findings(report.Unknown)[relative(pointName(2))], catalog.ErrOutside)
	require.Equal(t, before, disksOf(ctx, t, fsys))
}

// setParentName replaces the names that a VHD gives its parent.
func setParentName(t *testing.T, fsys remote.Filesystem, name, parent string) {
	t.Helper()
	patchHeader(t, fsys, name, func(h []byte) {
		clear(h[64:768]) // the name and the locators
		for i, u := range utf16.Encode([]rune(parent)) {
			h[64+2*i], h[65+2*i] = byte(u>>8), byte(u)
		}
	})
}

// patchHeader changes the header of a VHD, with a checksum that is right.
func patchHeader(t *testing.T, fsys remote.Filesystem, name string, patch func(h []byte)) {
	t.Helper()
	const header, size = 512, 1024
	f, err := fsys.OpenFile(t.Context(), name, os.O_RDONLY)
	require.NoError(t, err)
	h := make([]byte, size)
	_, err = f.ReadAt(h, header)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	patch(h)
	clear(h[36:40])
	sum := uint32(0)
	for _, b := range h {
		sum += uint32(b)
	}
	binary.BigEndian.PutUint32(h[36:], ^sum)
	overwrite(t, fsys, name, header, h)
}

func TestParentNameStaysInsideTheVM(t *testing.T) {
	_, fsys := newRepository(t, 2)
	c := openCatalog(t, fsys)
	p, err := c.Point(t.Context(), pointName(2))
	require.NoError(t, err)
	for name, want := range map[string]error{
		"../../../../../../etc/passwd": catalog.ErrOutside,
		"/etc/passwd":                  catalog.ErrOutside,
		"nowhere.vhd":                  vhd.ErrParentNotFound,
		"20260301T020000Z.vhd":         vhd.ErrCycle, // itself
	} {
		setParentName(t, fsys, diskName(0, 2), name)
		_, err := c.OpenDisk(t.Context(), p, diskRef(0, 2))
		require.Error(t, err, name)
		require.ErrorIs(t, err, want, name)
	}
}

func TestMissingParentIsReportedAndNothingIsDeleted(t *testing.T) {
	_, fsys := newRepository(t, 3)
	ctx := t.Context()
	require.NoError(t, fsys.Remove(ctx, diskName(0, 2)))
	require.NoError(t, fsys.Remove(ctx, pointName(2)))
	before := disksOf(ctx, t, fsys)
	report, err := lockVM(t, openCatalog(t, fsys), testVM).Merge(ctx, nil)
	require.NoError(t, err)
	require.Contains(t, findings(report.Left), relative(diskName(0, 3)))
	require.Subset(t, disksOf(ctx, t, fsys), []string{diskName(0, 1), diskName(0, 3)})
	require.Len(t, disksOf(ctx, t, fsys), len(before)-1, "the other disk was merged")
}

func TestVHDCutShortIsReportedAndNothingNearItIsDeleted(t *testing.T) {
	m, fsys := newRepository(t, 3)
	ctx := t.Context()
	info, err := fsys.Stat(ctx, diskName(0, 2))
	require.NoError(t, err)
	truncate(t, fsys, diskName(0, 2), info.Size()/2)
	c := openCatalog(t, fsys)
	for _, n := range []int{2, 3} {
		p, err := c.Point(ctx, pointName(n))
		require.NoError(t, err)
		_, err = c.OpenDisk(ctx, p, diskRef(0, n))
		_, ok := errors.AsType[*vhd.FormatError](err)
		require.True(t, ok, "%v", err)
	}
	require.NoError(t, fsys.Remove(ctx, pointName(1)))
	s := lockVM(t, c, testVM)
	report, err := s.Merge(ctx, nil)
	require.NoError(t, err)
	require.Contains(t, findings(report.Unknown), relative(diskName(0, 2)))
	require.Subset(t, disksOf(ctx, t, fsys), []string{diskName(0, 1), diskName(0, 2), diskName(0, 3)})

	base, err := s.FindBase(ctx, testJob, sourceVDI(0), snapshotVDI(0, 3))
	require.NoError(t, err)
	require.Nil(t, base, "nothing is built on a damaged chain")
	base, err = s.FindBase(ctx, testJob, sourceVDI(1), snapshotVDI(1, 3))
	require.NoError(t, err)
	require.Equal(t, relative(diskName(1, 3)), base.Path)
	_ = m
}

// Xen Orchestra deletes the point, its disk and the parent when opening the
// parent fails with an I/O error. Whatever fails to be read, we delete nothing.
func TestReadErrorsDeleteNothing(t *testing.T) {
	m, base := newRepository(t, 3)
	ctx := t.Context()
	require.NoError(t, base.Remove(ctx, pointName(1))) // there is something to merge
	kinds := []remotetest.Kind{remotetest.Stat, remotetest.ReadDir, remotetest.Open, remotetest.Read}
	require.NoError(t, base.SyncDir(ctx, testVMDir))
	for _, once := range []bool{true, false} {
		sweep(t, func(n int) bool {
			fsys := durable(base)
			faulty := remotetest.NewFaulty(fsys)
			s, err := openCatalog(t, faulty).LockVM(ctx, testVM)
			require.NoError(t, err)
			faulty.FailFrom(n, syscall.EIO, kinds...)
			if once {
				faulty.FailAt(n, syscall.EIO, kinds...)
			}
			report, err := s.Merge(ctx, nil)
			fired := faulty.Fired() > 0
			faulty.Heal()
			require.Empty(t, report.Removed)
			got, checkErr := m.check(ctx, fsys)
			require.NoError(t, checkErr, "read %d fails", n)
			require.Equal(t, dates(2, 3), got, "read %d fails", n)
			switch {
			case err != nil:
			case len(report.Unknown) > 0:
				require.Empty(t, report.Merged, "read %d fails: nothing of the VM is changed", n)
			default: // nothing failed, or only one of the names that a disk gives its parent
				require.True(t, once || !fired, "read %d fails", n)
				require.Len(t, report.Merged, 2, "read %d fails", n)
			}
			require.NoError(t, s.Close(ctx))
			return fired
		})
	}
}

func TestEncryptedRepositoryNeedsItsKey(t *testing.T) {
	fsys := remotetest.NewCrash()
	require.NoError(t, remote.WriteFile(t.Context(), fsys, "encryption.json", []byte(`{"algorithm":"none"}`)))
	openCatalog(t, fsys)
	require.NoError(t, remote.WriteFile(t.Context(), fsys, "encryption.json", []byte(`{"algorithm":"chacha20-poly1305"}`)))
	_, err := catalog.Open(t.Context(), fsys, nil)
	require.ErrorIs(t, err, catalog.ErrEncrypted)
}
