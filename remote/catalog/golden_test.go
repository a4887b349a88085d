package catalog_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
)

const (
	goldenDelta  = "000000a0-0000-4000-8000-000000000002" // files, three points, a memory image
	goldenBrotli = "000000a0-0000-4000-8000-000000000003" // directories behind aliases
	goldenGzip   = "000000a0-0000-4000-8000-000000000004" // and compressed in another way
)

// Reading changes nothing, so that these share one copy.
func TestRepositoryOfXenOrchestra(t *testing.T) {
	t.Parallel()
	repo, fsys := goldenFS(t)
	t.Run("every backup is listed", func(t *testing.T) { testListing(t, repo, fsys) })
	t.Run("disks read to their content", func(t *testing.T) { testDisks(t, repo, fsys) })
	t.Run("metadata round-trips", func(t *testing.T) { testMetadata(t, repo) })
}

// Merges that Xen Orchestra did not finish hide nothing and change no content.
func TestInterruptedRepositoryOfXenOrchestra(t *testing.T) {
	t.Parallel()
	repo := testenv.GoldenInterrupted(t)
	require.NotEmpty(t, repo.InterruptedMerges)
	fsys := localFS(t, repo.Dir)
	testListing(t, repo, fsys)
	c, read := openCatalog(t, fsys), 0
	for id, backup := range repo.Backups {
		p, err := c.Point(t.Context(), id)
		require.NoError(t, err)
		if !slices.ContainsFunc(repo.InterruptedMerges, func(dir string) bool { return strings.Contains(dir, p.VM()) }) {
			continue // as in the other repository
		}
		for _, info := range c.Disks(p) {
			content, err := readDisk(t.Context(), c, p, info.Ref)
			require.NoError(t, err)
			sum := sha256.Sum256(content)
			require.Equal(t, backup.Disks[info.SourceVDI].SHA256, hex.EncodeToString(sum[:]), "%s: disk %s", id, info.SourceVDI)
			read++
		}
	}
	require.Equal(t, 8, read)
	require.Empty(t, listFiles(t, fsys, ".xenbackup"), "reading changes nothing")
}

func testListing(t *testing.T, repo *testenv.Repository, fsys remote.Filesystem) {
	t.Helper()
	c := openCatalog(t, fsys)
	got, want := map[string]string{}, map[string]string{}
	for vm, err := range c.VMs(t.Context()) {
		require.NoError(t, err)
		points := listPoints(t, c, vm)
		for i, p := range points {
			require.Equal(t, vm, p.VM())
			if i > 0 {
				require.True(t, points[i-1].Time().Before(p.Time()), "oldest first")
			}
			got["/"+p.ID] = p.Metadata.Mode + " " + p.Name()
			again, err := c.Point(t.Context(), "/"+p.ID)
			require.NoError(t, err)
			require.Equal(t, p, again)
		}
	}
	for id, b := range repo.Backups {
		want[id] = b.Mode + " " + b.VM
	}
	require.Empty(t, cmp.Diff(want, got))
}

func testDisks(t *testing.T, repo *testenv.Repository, fsys remote.Filesystem) {
	t.Helper()
	c := openCatalog(t, fsys)
	files, directories, memories := 0, 0, 0
	for id, backup := range repo.Backups {
		p, err := c.Point(t.Context(), id)
		require.NoError(t, err)
		disks := c.Disks(p)
		require.Len(t, disks, len(backup.Disks))
		for _, info := range disks {
			want, ok := backup.Disks[info.SourceVDI]
			require.True(t, ok, "%s: disk %s", id, info.SourceVDI)
			require.Equal(t, want.Size, info.Size)
			if info.Memory {
				memories++
			}
			content, err := readDisk(t.Context(), c, p, info.Ref)
			require.NoError(t, err)
			sum := sha256.Sum256(content)
			require.Equal(t, want.SHA256, hex.EncodeToString(sum[:]), "%s: disk %s", id, info.SourceVDI)
			if strings.HasSuffix(info.Path, ".alias.vhd") {
				directories++
			} else {
				files++
			}
		}
	}
	require.Equal(t, 21, files)
	require.Equal(t, 1, memories)
	require.NotZero(t, directories)
}

func testMetadata(t *testing.T, repo *testenv.Repository) {
	t.Helper()
	for id := range repo.Backups {
		data, err := os.ReadFile(filepath.Join(repo.Dir, id))
		require.NoError(t, err)
		var m catalog.Metadata
		require.NoError(t, json.Unmarshal(data, &m))
		require.Empty(t, m.Extra, "every field is known")
		again, err := m.MarshalJSON()
		require.NoError(t, err)
		var want, got any
		require.NoError(t, json.Unmarshal(data, &want))
		require.NoError(t, json.Unmarshal(again, &got))
		require.Empty(t, cmp.Diff(want, got), id)
		require.NotContains(t, string(again), `\u003c`, "as Xen Orchestra writes it")
	}
}

func TestMetadataKeepsUnknownFieldsAndOldBooleans(t *testing.T) {
	const old = `{"mode":"delta","timestamp":1.7e12,"vhds":{"a":"b.vhd"},"isVhdDifferencing":{"a":1,"b":0},` +
		`"includeNonNbdQcow2Fix":1,"vtpms":["x",null],"fromTheFuture":{"deep":[1,2]},"size":3}`
	var m catalog.Metadata
	require.NoError(t, json.Unmarshal([]byte(old), &m))
	require.EqualValues(t, 1.7e12, m.Timestamp)
	require.Equal(t, map[string]bool{"a": true, "b": false}, m.IsVHDDifferencing)
	require.Nil(t, m.VTPMs[1])
	data, err := json.Marshal(m)
	require.NoError(t, err)
	require.Equal(t, `{"includeNonNbdQcow2Fix":true,"isVhdDifferencing":{"a":true,"b":false},"mode":"delta",`+
		`"timestamp":1700000000000,"vhds":{"a":"b.vhd"},"vtpms":["x",null],"size":3,"fromTheFuture":{"deep":[1,2]}}`, string(data))
}
