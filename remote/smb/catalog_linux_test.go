package smb

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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

func TestPointsAreWrittenMergedAndReadBack(t *testing.T) {
	t.Parallel()
	s := testenv.StartSamba(t)
	fsys := mount(t, s, "enc", patience)
	c, err := catalog.Open(t.Context(), fsys, nil)
	require.NoError(t, err)
	session, err := c.LockVM(t.Context(), testVM)
	require.NoError(t, err)
	for n := range uint32(3) {
		backUp(t, session, n)
	}
	expired, err := session.Expire(t.Context(), catalog.Retention{ScheduleID: "nightly", Keep: 1})
	require.NoError(t, err)
	require.Len(t, expired, 2)
	report, err := session.Merge(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, report.Left)
	require.Len(t, report.Merged, 1)
	garbage := "xo-vm-backups/" + testVM + "/vdis/job/" + testDisk + "/data/20270101T000000Z.vhd"
	require.NoError(t, remote.MkdirAll(t.Context(), fsys, garbage))
	require.NoError(t, remote.WriteFile(t.Context(), fsys, garbage+"/header", []byte("half")))
	for _, want := range []catalog.CleanAction{catalog.ActionRemember, catalog.ActionTrash, catalog.ActionRemove} {
		plan, err := session.Clean(t.Context(), nil)
		require.NoError(t, err)
		require.NotEmpty(t, plan.Findings)
		require.Equal(t, want, plan.Findings[0].Action, plan)
	}
	_, err = fsys.Stat(t.Context(), garbage)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, session.Close(t.Context()))

	again, err := catalog.Open(t.Context(), mount(t, s, "data", patience), nil) // the same folder
	require.NoError(t, err)
	points := 0
	for p, err := range again.Points(t.Context(), testVM) {
		require.NoError(t, err)
		points++
		back, err := again.OpenDisk(t.Context(), p, "OpaqueRef:1")
		require.NoError(t, err)
		for n := range int64(3) {
			got := make([]byte, 7)
			_, err = back.ReadAt(got, n*2<<20)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint("block ", n), string(got))
		}
		require.NoError(t, back.Close())
	}
	require.Equal(t, 1, points)
	require.NoError(t, filepath.Walk(s.Dir("data"), func(name string, _ os.FileInfo, err error) error {
		require.False(t, strings.Contains(name, asideMark) || strings.HasSuffix(name, ".lock"), name)
		return err
	}))
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
