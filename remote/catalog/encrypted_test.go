package catalog_test

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/crypt"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// With its key, a repository that Xen Orchestra encrypted is a repository like any
// other.
func TestEncryptedRepositoryOfXenOrchestra(t *testing.T) {
	repo := testenv.GoldenEncrypted(t)
	fsys, err := local.Open(repo.Dir, nil)
	require.NoError(t, err)
	defer fsys.Close()
	_, err = catalog.Open(t.Context(), fsys, nil)
	require.ErrorIs(t, err, catalog.ErrEncrypted)
	_, err = catalog.Open(t.Context(), fsys, &catalog.Options{Key: "fedcba9876543210fedcba987654321x"})
	require.ErrorIs(t, err, crypt.ErrKey)
	require.NotContains(t, err.Error(), "fedcba")

	c, err := catalog.Open(t.Context(), fsys, &catalog.Options{Key: testenv.GoldenKey})
	require.NoError(t, err)
	bare, err := local.Open(t.TempDir(), nil)
	require.NoError(t, err)
	defer bare.Close()
	_, err = catalog.Open(t.Context(), bare, &catalog.Options{Key: testenv.GoldenKey})
	require.ErrorIs(t, err, crypt.ErrNotEncrypted, "nothing is written in clear by who gives a key")

	listed, disks := 0, 0
	for vm, err := range c.VMs(t.Context()) {
		require.NoError(t, err)
		for _, p := range listPoints(t, c, vm) {
			listed++
			backup := repo.Backups["/"+p.ID]
			require.Equal(t, backup.Mode, p.Metadata.Mode)
			for _, info := range c.Disks(p) {
				disks++
				want := backup.Disks[info.SourceVDI]
				content, err := readDisk(t.Context(), c, p, info.Ref)
				require.NoError(t, err)
				sum := sha256.Sum256(content)
				require.Equal(t, want.SHA256, hex.EncodeToString(sum[:]), "%s: disk %s", p.ID, info.SourceVDI)
			}
		}
	}
	require.Len(t, repo.Backups, listed)
	require.NotZero(t, disks)
}

// sealed opens a copy of an encrypted repository that Xen Orchestra wrote.
func sealed(t *testing.T) (repo *testenv.Repository, fsys *local.FS, c *catalog.Catalog) {
	t.Helper()
	repo = testenv.GoldenEncrypted(t)
	fsys = localFS(t, repo.Dir)
	c, err := catalog.Open(t.Context(), fsys, &catalog.Options{Key: testenv.GoldenKey})
	require.NoError(t, err)
	return repo, fsys, c
}

// contents returns all files as they are stored.
func contents(t *testing.T, fsys remote.Filesystem) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, name := range listFiles(t, fsys, "xo-vm-backups") {
		data, err := remote.ReadFile(t.Context(), fsys, name, 64<<20)
		require.NoError(t, err)
		files[name] = string(data)
	}
	return files
}

func TestNoPointOfFilesIsBegunInAnEncryptedRepository(t *testing.T) {
	_, fsys, _ := sealed(t)
	c, err := catalog.Open(t.Context(), fsys, &catalog.Options{Key: testenv.GoldenKey, Format: catalog.FormatFile})
	require.NoError(t, err)
	before := contents(t, fsys)
	for vm, err := range c.VMs(t.Context()) {
		require.NoError(t, err)
		s, err := c.LockVM(t.Context(), vm)
		require.NoError(t, err)
		_, err = s.NewPoint(t.Context(), catalog.PointSpec{JobID: testJob, Time: time.Now()})
		require.ErrorIs(t, err, catalog.ErrEncryptedWrite)
		require.NoError(t, s.Close(t.Context()))
	}
	require.Equal(t, before, contents(t, fsys))
}

// The blocks that a merge renames decrypt under their new names.
func TestDirectoriesOfAnEncryptedRepositoryAreMerged(t *testing.T) {
	repo, _, c := sealed(t)
	merged := 0
	for vm, err := range c.VMs(t.Context()) {
		require.NoError(t, err)
		var chains []*catalog.Point
		for _, p := range listPoints(t, c, vm) {
			if p.Metadata.Mode == catalog.ModeDelta {
				chains = append(chains, p)
			}
		}
		if len(chains) < 2 {
			continue
		}
		s, err := c.LockVM(t.Context(), vm)
		require.NoError(t, err)
		for _, p := range chains[:len(chains)-1] {
			require.NoError(t, s.Delete(t.Context(), p.ID))
		}
		report, err := s.Merge(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, report.Unknown)
		require.Empty(t, report.Left)
		merged += len(report.Merged)
		require.NoError(t, s.Close(t.Context()))
		last := chains[len(chains)-1]
		for _, info := range c.Disks(last) {
			content, err := readDisk(t.Context(), c, last, info.Ref)
			require.NoError(t, err)
			sum := sha256.Sum256(content)
			require.Equal(t, repo.Backups["/"+last.ID].Disks[info.SourceVDI].SHA256, hex.EncodeToString(sum[:]))
		}
	}
	require.NotZero(t, merged)
}

// Disks that are files, which neither Xen Orchestra nor this package writes there,
// cannot be merged: that is known before anything is changed.
func TestFilesOfAnEncryptedRepositoryAreLeftAsTheyAre(t *testing.T) {
	const key = "0123456789abcdef0123456789abcdef"
	m, clear := newRepository(t, 3)
	fsys := remotetest.NewCrash()
	crypted, err := crypt.Init(t.Context(), fsys, key, nil)
	require.NoError(t, err)
	for _, name := range listFiles(t, clear, testVMDir) {
		data, err := remote.ReadFile(t.Context(), clear, name, 64<<20)
		require.NoError(t, err)
		require.NoError(t, remote.MkdirAll(t.Context(), crypted, path.Dir(name)))
		require.NoError(t, remote.WriteFile(t.Context(), crypted, name, data))
	}
	c, err := catalog.Open(t.Context(), fsys, &catalog.Options{Key: key})
	require.NoError(t, err)
	require.NoError(t, lockAndDelete(t, c, pointName(1)))
	before := contents(t, fsys)
	s := lockVM(t, c, testVM)
	report, err := s.Merge(t.Context(), nil)
	require.ErrorIs(t, err, crypt.ErrInPlace)
	require.Empty(t, report.Removed)
	require.Empty(t, report.Merged)
	require.Equal(t, before, contents(t, fsys))
	for n := 2; n <= 3; n++ {
		p, err := c.Point(t.Context(), pointName(n))
		require.NoError(t, err)
		for i, info := range c.Disks(p) {
			content, err := readDisk(t.Context(), c, p, info.Ref)
			require.NoError(t, err)
			require.Equal(t, m.history[historyKey(i, p.Time())], content)
		}
	}
}
