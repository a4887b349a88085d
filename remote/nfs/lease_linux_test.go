package nfs_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
)

const (
	testVM   = "7c1b6a52-2a0f-4d0e-9f3e-1d5a4c6b8e21"
	testDisk = "0b6f5c7e-5d2b-4f0a-8a49-3f1f9f0c2d11"
)

// Leases of readers count for writers who see the repository through another connection,
// and are lost with their server: then nothing is read any more.
func TestLeasesHoldAcrossConnections(t *testing.T) {
	g, opts := ganesha(t)
	c, err := catalog.Open(t.Context(), open(t, testenv.ExportData, opts), nil)
	require.NoError(t, err)
	session, err := c.LockVM(t.Context(), testVM)
	require.NoError(t, err)
	for n := range uint32(2) {
		backUp(t, session, n)
	}
	first, second := "xo-vm-backups/"+testVM+"/20231114T221320Z.json", "xo-vm-backups/"+testVM+"/20231114T221321Z.json"
	reader, err := catalog.Open(t.Context(), open(t, testenv.ExportData, opts), nil)
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
	g.Kill()
	<-lease.Lost()
	_, err = under.ReadAt(got, 2<<20)
	require.ErrorIs(t, err, catalog.ErrLeaseLost)
	require.ErrorIs(t, lease.Err(), remote.ErrLockLost)
	g.Start(t) // for what is given back
	_, _, _ = disk.Close(), lease.Release(t.Context()), session.Close(t.Context())
}

// backUp writes the point number n, in which block n is new.
func backUp(t *testing.T, session *catalog.Session, n uint32) {
	t.Helper()
	snapshot := func(n uint32) string { return fmt.Sprintf("5a9f1f64-0c5e-4f8e-9d1b-6c2a7e3b4f%02d", n) }
	w, err := session.NewPoint(t.Context(), catalog.PointSpec{JobID: "job", ScheduleID: "nightly", Time: time.Unix(1.7e9+int64(n), 0)})
	require.NoError(t, err)
	spec := catalog.DiskSpec{Ref: "OpaqueRef:1", SourceVDI: testDisk, SnapshotVDI: snapshot(n), Size: 8 << 20, Blocks: []uint32{n}}
	if n > 0 {
		spec.Base, err = session.FindBase(t.Context(), "job", testDisk, snapshot(n-1))
		require.NoError(t, err)
		require.NotNil(t, spec.Base)
	}
	disk, err := w.CreateDisk(t.Context(), spec)
	require.NoError(t, err)
	require.NoError(t, disk.WriteBlock(n, fmt.Append(nil, "block ", n)))
	require.NoError(t, disk.Close())
	_, err = w.Commit(t.Context(), catalog.Metadata{
		VM:         json.RawMessage(`{"uuid":"` + testVM + `","name_label":"web","name_description":"","tags":[]}`),
		VMSnapshot: json.RawMessage(`{"suspend_VDI":"OpaqueRef:NULL"}`),
		VDIs:       map[string]json.RawMessage{"OpaqueRef:1": json.RawMessage(`{"uuid":"` + snapshot(n) + `","virtual_size":8388608}`)},
	})
	require.NoError(t, err)
}
