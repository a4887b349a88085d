package catalog_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/vhd"
)

// backups returns a repository in a folder with n points.
func backups(t *testing.T, n int) (m *machine, fsys *local.FS, dir string) {
	t.Helper()
	dir = t.TempDir()
	fsys, m = localFS(t, dir), newMachine()
	for range n {
		_, err := m.backup(t.Context(), fsys, 9)
		require.NoError(t, err)
	}
	return m, fsys, dir
}

// mergeAll runs a merge, which must not fail.
func mergeAll(t *testing.T, c *catalog.Catalog, vm string) *catalog.MergeReport {
	t.Helper()
	s, err := c.LockVM(t.Context(), vm)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close(t.Context())) }()
	report, err := s.Merge(t.Context(), nil)
	require.NoError(t, err)
	return report
}

// staleFS does not list one of its files, as NFS may for a while.
type staleFS struct {
	*local.FS
	hide string
}

func (s *staleFS) ReadDir(ctx context.Context, name string) ([]fs.DirEntry, error) {
	entries, err := s.FS.ReadDir(ctx, name)
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return path.Join(name, e.Name()) == s.hide }), err
}

func TestDiskThatAListingLacksKeepsItsParents(t *testing.T) {
	m, below, _ := backups(t, 2)
	fsys := &staleFS{FS: below, hide: diskName(0, 2)}
	c := openCatalog(t, fsys)
	require.NoError(t, lockAndDelete(t, c, pointName(1)))
	report := mergeAll(t, c, testVM)
	require.NotContains(t, report.Removed, relative(diskName(0, 1)))
	fsys.hide = ""
	_, err := m.check(t.Context(), fsys)
	require.NoError(t, err)
}

// A point that a listing lacks is proven to be there by the date of what it needs.
func TestPointThatAListingLacksKeepsItsDisksAndArchive(t *testing.T) {
	m, below, dir := backups(t, 2)
	archive := strings.Replace(pointName(2), ".json", ".xva", 1)
	require.NoError(t, os.WriteFile(filepath.Join(dir, archive), []byte("archive"), 0o600))
	for n := 1; n <= 2; n++ {
		report := mergeAll(t, openCatalog(t, &staleFS{FS: below, hide: pointName(n)}), testVM)
		require.Contains(t, findings(report.Unknown), path.Base(pointName(n)))
		require.Empty(t, report.Removed)
		require.Empty(t, report.Merged)
	}
	require.FileExists(t, filepath.Join(dir, archive))
	_, err := m.check(t.Context(), below)
	require.NoError(t, err)
}

func lockAndDelete(t *testing.T, c *catalog.Catalog, id string) error {
	t.Helper()
	s, err := c.LockVM(t.Context(), testVM)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close(t.Context())) }()
	return s.Delete(t.Context(), id)
}

func TestDiskWithoutItsParentKeepsWhatIsBesideIt(t *testing.T) {
	_, fsys, dir := backups(t, 3)
	c := openCatalog(t, fsys)
	require.NoError(t, lockAndDelete(t, c, pointName(1)))
	moved := filepath.Join(dir, filepath.Dir(diskName(0, 1)), "moved.vhd")
	require.NoError(t, os.Rename(filepath.Join(dir, diskName(0, 1)), moved))
	mergeAll(t, c, testVM)
	require.FileExists(t, moved, "it may be the parent that is missed")
}

func TestParentInAnotherDirectoryIsKept(t *testing.T) {
	_, fsys, dir := backups(t, 0)
	vm := filepath.Join(dir, testVMDir)
	id := func(n byte) vhd.UUID { return vhd.UUID{6: 0x40, 8: 0x80, 15: n} }
	writeVHD(t, filepath.Join(vm, "vdis/j1/v/20260101T000000Z.vhd"), vhd.Layout{Type: vhd.Dynamic, UUID: id(1)})
	writeVHD(t, filepath.Join(vm, "vdis/j1/v/20260103T000000Z.vhd"), vhd.Layout{Type: vhd.Dynamic, UUID: id(3)})
	writeVHD(t, filepath.Join(vm, "vdis/j2/v/20260102T000000Z.vhd"), vhd.Layout{
		Type: vhd.Differencing, UUID: id(2), ParentUUID: id(1), ParentName: "../../j1/v/20260101T000000Z.vhd",
	})
	for date, job := range map[string]string{"20260102T000000Z": "j2", "20260103T000000Z": "j1"} {
		text := fmt.Sprintf(`{"mode":"delta","vhds":{"r":"vdis/%s/v/%s.vhd"},"timestamp":1}`, job, date)
		require.NoError(t, os.WriteFile(filepath.Join(vm, date+".json"), []byte(text), 0o600))
	}
	c := openCatalog(t, fsys)
	report := mergeAll(t, c, testVM)
	require.Empty(t, report.Removed)
	p, err := c.Point(t.Context(), testVMDir+"/20260102T000000Z.json")
	require.NoError(t, err)
	_, err = readDisk(t.Context(), c, p, "r")
	require.NoError(t, err)
}

func writeVHD(t *testing.T, name string, l vhd.Layout) {
	t.Helper()
	l.Profile, l.Size, l.Blocks = vhd.Repository, machineDiskSize, []uint32{0}
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
	f, err := os.Create(name)
	require.NoError(t, err)
	w, err := vhd.NewStreamWriter(f, l)
	require.NoError(t, err)
	require.NoError(t, w.WriteBlock(0, []byte("block")))
	require.NoError(t, w.Close())
	require.NoError(t, f.Close())
}

func TestSymbolicLinksLeadNoMergeToTheDisksOfOthers(t *testing.T) {
	m, fsys, dir := backups(t, 3)
	const other = "5f3c3c1e-0000-4000-8000-0000000000ee"
	place := filepath.Join(dir, "xo-vm-backups", other)
	require.NoError(t, os.MkdirAll(filepath.Join(place, "vdis", "j"), 0o700))
	require.NoError(t, os.Symlink("../../../"+testVM+"/vdis/"+testJob+"/"+sourceVDI(0), filepath.Join(place, "vdis", "j", "v")))
	text := fmt.Sprintf(`{"mode":"delta","vhds":{"r":"vdis/j/v/%s.vhd"},"timestamp":1}`, dates(2)[0])
	require.NoError(t, os.WriteFile(filepath.Join(place, "20260101T000000Z.json"), []byte(text), 0o600))
	report := mergeAll(t, openCatalog(t, fsys), other)
	require.NotEmpty(t, report.Unknown)
	require.Empty(t, report.Removed)
	require.Empty(t, report.Merged)
	_, err := m.check(t.Context(), fsys)
	require.NoError(t, err)
}

func TestDiskThatIsASymbolicLinkKeepsWhatIsBesideIt(t *testing.T) {
	m, fsys, dir := backups(t, 2)
	name := filepath.Join(dir, diskName(0, 2))
	require.NoError(t, os.Rename(name, filepath.Join(filepath.Dir(name), "real.vhd")))
	require.NoError(t, os.Symlink("real.vhd", name))
	report := mergeAll(t, openCatalog(t, fsys), testVM)
	require.NotEmpty(t, report.Unknown)
	require.Empty(t, report.Removed)
	_, err := m.check(t.Context(), fsys)
	require.NoError(t, err)
}

func TestDiskNamedLikeATemporaryFileIsKept(t *testing.T) {
	m, fsys, dir := backups(t, 1)
	name := filepath.Join(dir, diskName(0, 1))
	odd := "." + filepath.Base(name) + ".0123456789abcdef.tmp"
	require.NoError(t, os.Rename(name, filepath.Join(filepath.Dir(name), odd)))
	metadata := filepath.Join(dir, pointName(1))
	text, err := os.ReadFile(metadata)
	require.NoError(t, err)
	named := strings.ReplaceAll(string(text), sourceVDI(0)+"/"+filepath.Base(name), sourceVDI(0)+"/"+odd)
	require.NoError(t, os.WriteFile(metadata, []byte(named), 0o600))
	mergeAll(t, openCatalog(t, fsys), testVM)
	_, err = m.check(t.Context(), fsys)
	require.NoError(t, err)
}

func TestReaderOfAPointThatExpiresIsTold(t *testing.T) {
	m, fsys, _ := backups(t, 3)
	c := openCatalog(t, fsys)
	points := listPoints(t, c, testVM)
	open := func(p *catalog.Point) *catalog.Disk {
		d, err := c.OpenDisk(t.Context(), p, c.Disks(p)[0].Ref)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, d.Close()) })
		return d
	}
	oldest, newest := open(points[0]), open(points[2])
	require.NoError(t, oldest.Confirm(t.Context()))
	_, err := m.backup(t.Context(), fsys, 2)
	require.NoError(t, err)
	require.ErrorIs(t, oldest.Confirm(t.Context()), catalog.ErrExpired)
	require.NoError(t, newest.Confirm(t.Context()), "a merge into its chain is no harm")
}

// Xen Orchestra writes its state over itself: a power cut leaves a part of it, and
// by then it has written over the end of the oldest disk.
func TestMergeWhoseStateWasTornIsMadeAnew(t *testing.T) {
	m, fsys, dir := backups(t, 4)
	c := openCatalog(t, fsys)
	require.NoError(t, lockAndDelete(t, c, pointName(1)))
	oldest := filepath.Join(dir, diskName(0, 1))
	info, err := os.Stat(oldest)
	require.NoError(t, err)
	f, err := os.OpenFile(oldest, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte{1}, 4096), info.Size()-512)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	state := filepath.Join(filepath.Dir(oldest), "."+filepath.Base(oldest)+".merge.json")
	require.NoError(t, os.WriteFile(state, []byte(`{"child":{"uuid":"5f3c`), 0o600))

	_, err = m.check(t.Context(), fsys)
	require.NoError(t, err, "readable before it is repaired")
	report := mergeAll(t, c, testVM)
	require.Empty(t, report.Unknown)
	require.NotEmpty(t, report.Merged)
	require.NoFileExists(t, state)
	require.NoFileExists(t, oldest)
	_, err = m.check(t.Context(), fsys)
	require.NoError(t, err)
}
