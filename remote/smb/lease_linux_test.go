package smb

import (
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
)

// Leases of readers count for writers who see the repository through another connection,
// and are lost with their server: then nothing is read any more.
func TestLeasesHoldAcrossConnections(t *testing.T) {
	t.Parallel()
	s := testenv.StartSamba(t)
	c, err := catalog.Open(t.Context(), mount(t, s, "data", patience), nil)
	require.NoError(t, err)
	session, err := c.LockVM(t.Context(), testVM)
	require.NoError(t, err)
	for n := range uint32(2) {
		backUp(t, session, n)
	}
	first, second := "xo-vm-backups/"+testVM+"/20231114T221320Z.json", "xo-vm-backups/"+testVM+"/20231114T221321Z.json"
	reader, err := catalog.Open(t.Context(), mount(t, s, "data", patience), nil)
	require.NoError(t, err)

	lease, err := reader.Lease(t.Context(), first)
	require.NoError(t, err)
	require.ErrorIs(t, session.Delete(t.Context(), first), catalog.ErrLeased)
	require.NoError(t, lease.Err())
	require.NoError(t, lease.Release(t.Context()))
	require.NoError(t, session.Delete(t.Context(), first))
	_, err = reader.Lease(t.Context(), first)
	require.ErrorIs(t, err, fs.ErrNotExist)
	report, err := session.Merge(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, report.Merged, 1, report)

	p, err := reader.Point(t.Context(), second)
	require.NoError(t, err)
	lease, err = reader.Lease(t.Context(), second)
	require.NoError(t, err)
	disk, err := reader.OpenDisk(t.Context(), p, "OpaqueRef:1")
	require.NoError(t, err)
	under, got := lease.Guard(disk), make([]byte, 7)
	_, err = under.ReadAt(got, 2<<20)
	require.NoError(t, err)
	require.Equal(t, "block 1", string(got))
	s.Kill()
	<-lease.Lost()
	_, err = under.ReadAt(got, 2<<20)
	require.ErrorIs(t, err, catalog.ErrLeaseLost)
	require.ErrorIs(t, lease.Err(), remote.ErrLockLost)
	s.Start() // for what is given back
	_, _, _ = disk.Close(), lease.Release(t.Context()), session.Close(t.Context())
}
