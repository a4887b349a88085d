package catalog_test

import (
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
			before := listFiles(t, fsys, ".")
			for vm, err := range c.VMs(t.Context()) {
				require.NoError(t, err)
				require.Empty(t, cleanVM(t, c, vm, nil).Findings)
			}
			require.Equal(t, before, listFiles(t, fsys, "."))
		})
	}
}
