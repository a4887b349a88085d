package catalog_test

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote/catalog"
)

// cleanVM cleans one VM, which must not fail.
func cleanVM(t *testing.T, c *catalog.Catalog, vm string, opts *catalog.CleanOptions) *catalog.CleanPlan {
	t.Helper()
	s, err := c.LockVM(t.Context(), vm)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close(t.Context())) }()
	plan, err := s.Clean(t.Context(), opts)
	require.NoError(t, err)
	return plan
}

func planOf(t *testing.T, c *catalog.Catalog, vm string) *catalog.CleanPlan {
	t.Helper()
	plan, err := c.PlanClean(t.Context(), vm)
	require.NoError(t, err)
	return plan
}

// requireContents reads every disk of every point.
func requireContents(t *testing.T, repo *testenv.Repository, c *catalog.Catalog) {
	t.Helper()
	for id, backup := range repo.Backups {
		p, err := c.Point(t.Context(), id)
		require.NoError(t, err)
		for _, info := range c.Disks(p) {
			content, err := readDisk(t.Context(), c, p, info.Ref)
			require.NoError(t, err, id)
			sum := sha256.Sum256(content)
			require.Equal(t, backup.Disks[info.SourceVDI].SHA256, hex.EncodeToString(sum[:]), "%s: %s", id, info.Path)
		}
	}
}

func TestCleanFindsARepositoryOfXenOrchestraInOrder(t *testing.T) {
	for name, repo := range map[string]*testenv.Repository{"plain": testenv.Golden(t), "encrypted": testenv.GoldenEncrypted(t)} {
		t.Run(name, func(t *testing.T) {
			fsys := localFS(t, repo.Dir)
			opts := &catalog.Options{}
			if name == "encrypted" {
				opts.Key = testenv.GoldenKey
			}
			c, err := catalog.Open(t.Context(), fsys, opts)
			require.NoError(t, err)
			before := listFiles(t, fsys, "xo-vm-backups")
			for vm, err := range c.VMs(t.Context()) {
				require.NoError(t, err)
				require.Empty(t, planOf(t, c, vm).Findings)
				for range 2 {
					require.Empty(t, cleanVM(t, c, vm, nil).Findings)
				}
			}
			require.Equal(t, before, listFiles(t, fsys, "xo-vm-backups"))
			requireContents(t, repo, c)
		})
	}
}

func TestCleanFinishesTheMergesThatXenOrchestraLeft(t *testing.T) {
	repo := testenv.GoldenInterrupted(t)
	fsys := localFS(t, repo.Dir)
	c := openCatalog(t, fsys)
	requireContents(t, repo, c)
	before := listFiles(t, fsys, ".")
	for _, dir := range repo.InterruptedMerges {
		vm := strings.Split(dir, "/")[2]
		plan := planOf(t, c, vm)
		resumed := ""
		for _, f := range plan.Findings {
			require.Equal(t, catalog.KindMerge, f.Kind, plan)
			if f.Action == catalog.ActionResume {
				resumed += path.Dir(f.Path)
			}
		}
		require.Equal(t, strings.TrimPrefix(dir, "/"), resumed, plan)
	}
	require.Equal(t, before, listFiles(t, fsys, "."), "planning changes nothing")
	for _, dir := range repo.InterruptedMerges {
		vm := strings.Split(dir, "/")[2]
		for range 3 {
			for _, f := range cleanVM(t, c, vm, nil).Findings {
				require.Equal(t, catalog.StateValid, f.State, f)
				require.Equal(t, catalog.KindMerge, f.Kind, f)
			}
		}
		require.Empty(t, planOf(t, c, vm).Findings)
	}
	requireContents(t, repo, c)
}
