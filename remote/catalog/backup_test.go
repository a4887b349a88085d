package catalog_test

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/crypt"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

func listBackups(t *testing.T, c *catalog.Catalog, kind catalog.BackupKind) (found []*catalog.Backup, broken []string) {
	t.Helper()
	for b, err := range c.Backups(t.Context(), kind) {
		if unreadable, ok := errors.AsType[*catalog.PointError](err); ok {
			broken = append(broken, unreadable.Path)
			continue
		}
		require.NoError(t, err)
		found = append(found, b)
	}
	return found, broken
}

func readBackup(t *testing.T, c *catalog.Catalog, b *catalog.Backup) string {
	t.Helper()
	data, err := c.OpenBackup(t.Context(), b)
	require.NoError(t, err)
	defer data.Close()
	content, err := io.ReadAll(data)
	require.NoError(t, err)
	require.EqualValues(t, len(content), data.Size())
	return string(content)
}

func TestBackupsOfPoolsAndConfigurationsAreListedAndRead(t *testing.T) {
	repo := testenv.Golden(t)
	fsys := localFS(t, repo.Dir)
	c := openCatalog(t, fsys)
	const schedule = "00000020-0000-4000-8000-000000000063"

	pools, broken := listBackups(t, c, catalog.BackupPool)
	require.Empty(t, broken)
	require.Len(t, pools, 1)
	pool := pools[0]
	require.Equal(t, "xo-pool-metadata-backups/"+schedule+"/000000f0-0000-4000-8000-000000000001/20261122T172534Z", pool.ID)
	require.Equal(t, "000000f0-0000-4000-8000-000000000001", pool.Pool())
	require.Equal(t, schedule, pool.Metadata.ScheduleID)
	require.Equal(t, "meta", pool.Metadata.JobName)
	require.Equal(t, time.UnixMilli(1795368334309).UTC(), pool.Time())
	require.Contains(t, string(pool.Metadata.Pool), `"name_label": "pool 1"`)
	require.Len(t, readBackup(t, c, pool), 11)
	again, err := c.Backup(t.Context(), "/"+pool.ID)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(pool, again))

	configs, broken := listBackups(t, c, catalog.BackupConfig)
	require.Empty(t, broken)
	require.Len(t, configs, 1)
	require.Empty(t, configs[0].Pool())
	require.True(t, json.Valid([]byte(readBackup(t, c, configs[0]))))

	for _, b := range append(pools, configs...) {
		stored, err := os.ReadFile(path.Join(repo.Dir, b.ID, "metadata.json"))
		require.NoError(t, err)
		encoded, err := json.Marshal(b.Metadata)
		require.NoError(t, err)
		require.Nil(t, b.Metadata.Extra)
		require.JSONEq(t, string(stored), string(encoded))
	}
}

func TestBackupsOfAnEncryptedRepositoryAreProven(t *testing.T) {
	const key, id = "0123456789abcdef0123456789abcdef", "xo-config-backups/schedule/20260110T030000Z"
	fsys := remotetest.NewCrash()
	crypted, err := crypt.Init(t.Context(), fsys, key, nil)
	require.NoError(t, err)
	require.NoError(t, remote.MkdirAll(t.Context(), crypted, id))
	require.NoError(t, remote.WriteFile(t.Context(), crypted, id+"/metadata.json", []byte(`{"data":"./data"}`)))
	require.NoError(t, remote.WriteFile(t.Context(), crypted, id+"/data", []byte("secret")))
	c, err := catalog.Open(t.Context(), fsys, &catalog.Options{Key: key})
	require.NoError(t, err)
	b, err := c.Backup(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, time.Date(2026, 1, 10, 3, 0, 0, 0, time.UTC), b.Time(), "the date of the directory, for want of another")
	require.Equal(t, "secret", readBackup(t, c, b))
	overwrite(t, fsys, id+"/data", 13, []byte("x"))
	data, err := c.OpenBackup(t.Context(), b)
	require.NoError(t, err)
	defer data.Close()
	got, err := io.ReadAll(data)
	require.ErrorIs(t, err, crypt.ErrTampered)
	require.Empty(t, got)
}

func TestBackupsThatAreOldNewOrBroken(t *testing.T) {
	fsys := remotetest.NewCrash()
	c := openCatalog(t, fsys)
	for _, kind := range []catalog.BackupKind{catalog.BackupPool, catalog.BackupConfig} {
		found, broken := listBackups(t, c, kind)
		require.Empty(t, found, "there are none")
		require.Empty(t, broken)
	}
	const root = "xo-config-backups/schedule/"
	for name, content := range map[string]string{
		"20260101T000000Z/metadata.json": `{"timestamp":1767225600000,"fromTheFuture":[1]}`, // without data: data.json
		"20260101T000000Z/data.json":     `{}`,
		"20260102T000000Z/metadata.json": `{"timest`,
		"20260103T000000Z/data.json":     `{}`, // of a backup that was interrupted
		"20260104T000000Z/metadata.json": `{"data":"../../../etc/passwd"}`,
		"20260105T000000Z/metadata.json": `{"data":"./data","timestamp":null}`,
		"nodate/metadata.json":           `{}`,
		".hidden/metadata.json":          `{}`,
	} {
		require.NoError(t, remote.MkdirAll(t.Context(), fsys, path.Dir(root+name)))
		require.NoError(t, remote.WriteFile(t.Context(), fsys, root+name, []byte(content)))
	}
	found, broken := listBackups(t, c, catalog.BackupConfig)
	require.Equal(t, []string{root + "20260102T000000Z/metadata.json", root + "nodate/metadata.json"}, broken)
	require.Len(t, found, 3)
	require.Equal(t, `{}`, readBackup(t, c, found[0]))
	require.JSONEq(t, `[1]`, string(found[0].Metadata.Extra["fromTheFuture"]))
	_, err := c.OpenBackup(t.Context(), found[1])
	require.ErrorIs(t, err, catalog.ErrOutside)
	_, err = c.OpenBackup(t.Context(), found[2])
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Equal(t, time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC), found[2].Time())

	for _, id := range []string{
		"", "/", "xo-config-backups", "xo-config-backups/a", "xo-config-backups/a/b/c", "xo-config-backups/../b", "xo-vm-backups/a/b",
		"xo-pool-metadata-backups/a/b", "xo-config-backups/a/.b", `xo-config-backups/a\b/c`,
	} {
		_, err := c.Backup(t.Context(), id)
		require.ErrorIs(t, err, catalog.ErrInvalidName, "%q", id)
	}
	_, err = c.Backup(t.Context(), "xo-config-backups/a/20260101T000000Z")
	require.ErrorIs(t, err, fs.ErrNotExist)
	for _, err := range c.Backups(t.Context(), "xo-vm-backups") {
		require.ErrorIs(t, err, catalog.ErrInvalidName)
	}
}

func TestImmutabilityIsCountedFromTheDateInTheName(t *testing.T) {
	fsys := remotetest.NewCrash()
	c := openCatalog(t, fsys)
	store := func(text string) {
		require.NoError(t, remote.WriteFile(t.Context(), fsys, "immutability.json", []byte(text)))
	}
	none, err := c.Immutability(t.Context())
	require.NoError(t, err)
	require.Nil(t, none)
	store(`{"since":1767225600000,"immutable":false,"duration":86400000}`)
	none, err = c.Immutability(t.Context())
	require.NoError(t, err)
	require.Nil(t, none)
	store(`{"since":1767225600000,"immut`)
	_, err = c.Immutability(t.Context())
	require.Error(t, err, "nobody can know")
	for _, text := range []string{`{"immutable":true,"duration":"long"}`, `{"immutable":true,"duration":1e300}`} {
		store(text)
		_, err = c.Immutability(t.Context())
		require.Error(t, err, text)
	}

	store(`{"since":1767225600000,"immutable":true,"duration":86400000}`)
	guard, err := c.Immutability(t.Context())
	require.NoError(t, err)
	require.Equal(t, &catalog.Immutability{Since: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Duration: 24 * time.Hour}, guard)
	p := &catalog.Point{ID: pointName(1), Metadata: catalog.Metadata{Timestamp: 1}}
	free := dateOf(1).Add(24 * time.Hour)
	require.Equal(t, free, guard.Until(p))
	require.True(t, guard.Guards(p, free.Add(-time.Second)))
	require.False(t, guard.Guards(p, free))
	require.False(t, guard.Guards(&catalog.Point{ID: testVMDir + "/other.json"}, free.Add(-time.Second)))
}
