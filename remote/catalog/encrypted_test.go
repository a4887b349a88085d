package catalog_test

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/crypt"
	"github.com/xenbackup/xenbackup/remote/local"
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
