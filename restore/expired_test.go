package restore_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/restore"
	"github.com/xenbackup/xenbackup/vhd"
)

// expire deletes the first point of a chain, and merges it into the next one: its
// disks then hold what the next point held.
func (w *world) expire(t *testing.T) {
	t.Helper()
	// What does not know of leases, such as Xen Orchestra, changes what is under one.
	require.NoError(t, os.RemoveAll(filepath.Join(w.repo.Dir, ".xenbackup")))
	session, err := w.cat.LockVM(t.Context(), deltaVM)
	require.NoError(t, err)
	require.NoError(t, session.Delete(t.Context(), firstPoint))
	report, err := session.Merge(t.Context(), nil)
	require.NoError(t, err)
	require.NotEmpty(t, report.Merged)
	require.NoError(t, session.Close(t.Context()))
}

func TestPointThatExpiresWhileItIsRestoredLeavesNothing(t *testing.T) {
	w := newWorld(t).withPool(t)
	var once sync.Once
	_, err := restore.VM(t.Context(), w.client, w.cat, w.point(t, firstPoint), &restore.Options{
		Progress: func(restore.Progress) { once.Do(func() { w.expire(t) }) },
	})
	// On a machine that is busy it may be noticed first that the lease was taken away.
	require.True(t, errors.Is(err, catalog.ErrExpired) || errors.Is(err, catalog.ErrLeaseLost), err)
	w.requireNothing(t)
}

// A point that stays may be restored while others are merged into its chain, or is
// refused where a block was moved under the reader; what is restored is right.
func TestPointIsRestoredWhileItsChainIsMerged(t *testing.T) {
	w := newWorld(t).withPool(t)
	var once sync.Once
	result, err := restore.VM(t.Context(), w.client, w.cat, w.point(t, secondPoint), &restore.Options{
		Progress: func(restore.Progress) { once.Do(func() { w.expire(t) }) },
	})
	if errors.Is(err, vhd.ErrChanged) || errors.Is(err, catalog.ErrLeaseLost) {
		w.requireNothing(t)
		result, err = restore.VM(t.Context(), w.client, w.cat, w.point(t, secondPoint), nil)
	}
	require.NoError(t, err)
	for source, snapshot := range map[string]string{systemDisk: systemSnap, dataDisk: dataSnap} {
		want := w.repo.Backups["/"+secondPoint].Disks[source]
		require.Equal(t, want.SHA256, w.sum(t, result.Disks[snapshot], want.Size))
	}
}
