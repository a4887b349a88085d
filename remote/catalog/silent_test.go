package catalog_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
)

// Xen Orchestra writes disks, and then the point. When its machine is suspended in
// between, others take over its lock, and when it goes on it lists what it wrote.
func TestMergeLeavesTheDisksOfAWriterThatMayComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, fsys := newRepository(t, 2)
		c := openCatalog(t, fsys)
		point, err := remote.ReadFile(t.Context(), fsys, pointName(2), 1<<20)
		require.NoError(t, err)
		require.NoError(t, fsys.Remove(t.Context(), pointName(2)))
		require.NoError(t, fsys.Mkdir(t.Context(), testVMDir+".lock"))

		report := mergeAll(t, c, testVM)
		require.Empty(t, report.Removed)
		require.ErrorIs(t, findings(report.Left)[relative(diskName(0, 2))], catalog.ErrHolderSilent)
		require.NoError(t, remote.WriteFile(t.Context(), fsys, pointName(2), point))
		got, err := m.check(t.Context(), fsys)
		require.NoError(t, err)
		require.Equal(t, dates(1, 2), got)

		require.NoError(t, fsys.Remove(t.Context(), pointName(2)))
		report = mergeAll(t, c, testVM)
		require.Contains(t, report.Removed, relative(diskName(0, 2)), "nobody is known to write any more")
	})
}
