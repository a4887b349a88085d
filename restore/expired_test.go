package restore_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/restore"
)

// The first point of a chain is deleted, and merged into the next one, while it
// is read: its disks then hold what the next point held.
func TestPointThatExpiresWhileItIsRestoredLeavesNothing(t *testing.T) {
	w := newWorld(t).withPool(t)
	point := w.point(t, firstPoint)
	expired := false
	_, err := restore.VM(t.Context(), w.client, w.cat, point, &restore.Options{Progress: func(restore.Progress) {
		if expired {
			return
		}
		expired = true
		// What does not know of leases, such as Xen Orchestra, changes what is under one.
		require.NoError(t, os.RemoveAll(filepath.Join(w.repo.Dir, ".xenbackup")))
		session, err := w.cat.LockVM(t.Context(), deltaVM)
		require.NoError(t, err)
		require.NoError(t, session.Delete(t.Context(), firstPoint))
		report, err := session.Merge(t.Context(), nil)
		require.NoError(t, err)
		require.NotEmpty(t, report.Merged)
		require.NoError(t, session.Close(t.Context()))
	}})
	require.ErrorIs(t, err, catalog.ErrExpired)
	w.requireNothing(t)
}

// A point that stays may be restored while others are merged into its chain.
func TestPointIsRestoredWhileItsChainIsMerged(t *testing.T) {
	w := newWorld(t).withPool(t)
	point := w.point(t, secondPoint)
	merged := false
	result, err := restore.VM(t.Context(), w.client, w.cat, point, &restore.Options{Progress: func(restore.Progress) {
		if merged {
			return
		}
		merged = true
		session, err := w.cat.LockVM(t.Context(), deltaVM)
		require.NoError(t, err)
		require.NoError(t, session.Delete(t.Context(), firstPoint))
		_, err = session.Merge(t.Context(), nil)
		require.NoError(t, err)
		require.NoError(t, session.Close(t.Context()))
	}})
	require.NoError(t, err)
	for source, snapshot := range map[string]string{systemDisk: systemSnap, dataDisk: dataSnap} {
		want := w.repo.Backups["/"+secondPoint].Disks[source]
		require.Equal(t, want.SHA256, w.sum(t, result.Disks[snapshot], want.Size))
	}
}
