package filerestore_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/remotetest"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// What a session has read stays right; once its lease is lost it reads nothing more, for
// the disks may be merged at any moment.
func TestSessionReadsNothingAfterItsLeaseIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := repositoryOn(t, remotetest.NewCrash())
		content := make([]byte, 8*disk.BlockSize)
		content[5*disk.BlockSize] = 7
		p := r.backup([][]byte{content}, [][]uint32{{0, 5}})
		s, err := filerestore.OpenBackup(t.Context(), r.catalog, p, nil)
		require.NoError(t, err)
		volume, err := s.Volume("xvda")
		require.NoError(t, err)
		one := make([]byte, 1)
		_, err = volume.Source().ReadAt(one, 0)
		require.NoError(t, err)

		require.NoError(t, remote.RemoveAll(t.Context(), r.fsys, ".xenbackup/leases"))
		<-time.After(6 * time.Second) // in the time of the bubble: it is noticed at the next refresh
		_, err = volume.Source().ReadAt(one, 5*disk.BlockSize)
		require.ErrorIs(t, err, catalog.ErrLeaseLost)
		require.ErrorIs(t, s.Confirm(t.Context()), catalog.ErrLeaseLost)
		require.ErrorIs(t, s.Close(), remote.ErrLockLost)
	})
}
