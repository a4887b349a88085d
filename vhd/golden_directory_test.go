package vhd_test

import (
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/vhd"
)

// allGoldenDisks returns every disk of the repository, of both flavours.
func allGoldenDisks(tb testing.TB, repo *testenv.Repository) []goldenDisk {
	tb.Helper()
	var disks []goldenDisk
	for point, backup := range repo.Backups {
		if backup.Mode != "delta" {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(repo.Dir, point))
		require.NoError(tb, err)
		var metadata struct {
			VHDs map[string]string `json:"vhds"`
		}
		require.NoError(tb, json.Unmarshal(raw, &metadata))
		for _, name := range metadata.VHDs {
			want, ok := backup.Disks[path.Base(path.Dir(name))]
			if !ok {
				continue // the memory of a virtual machine
			}
			disks = append(disks, goldenDisk{path.Join(path.Dir(point)[1:], name), want})
		}
	}
	require.NotEmpty(tb, disks)
	return disks
}

func TestEveryGoldenDiskOfEitherFlavourReadsRight(t *testing.T) {
	repo := testenv.Golden(t)
	dir := vhd.OSDir(openRoot(t, repo.Dir))
	filters, links := map[string]int{}, 0
	for _, d := range allGoldenDisks(t, repo) {
		chain, err := vhd.OpenDirChain(t.Context(), dir, d.path, nil)
		require.NoError(t, err, d.path)
		require.Equal(t, d.want.Size, chain.Size(), d.path)
		require.Equal(t, d.want.SHA256, digest(t, chain), d.path)
		require.NoError(t, chain.Confirm())
		require.NoError(t, chain.Close())
		links = max(links, len(chain.Links()))
		filters[filterOf(t, repo, d.path)]++
	}
	require.NotZero(t, filters["brotli"])
	require.NotZero(t, filters["gzip"])
	require.NotZero(t, filters["file"])
	require.Greater(t, links, 2)
}

func filterOf(tb testing.TB, repo *testenv.Repository, name string) string {
	tb.Helper()
	if !strings.HasSuffix(name, ".alias.vhd") {
		return "file"
	}
	target, err := os.ReadFile(filepath.Join(repo.Dir, name))
	require.NoError(tb, err)
	raw, err := os.ReadFile(filepath.Join(repo.Dir, path.Dir(name), string(target), "chunk-filters.json"))
	require.NoError(tb, err)
	var filters []string
	require.NoError(tb, json.Unmarshal(raw, &filters))
	return filters[0]
}
