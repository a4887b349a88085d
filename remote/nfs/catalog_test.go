package nfs_test

import (
	"encoding/json"
	"io/fs"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
)

func TestARestorePointIsWrittenAndReadBack(t *testing.T) {
	const vm = "7c1b6a52-2a0f-4d0e-9f3e-1d5a4c6b8e21"
	_, opts := ganesha(t)
	fsys := open(t, testenv.ExportData, opts)
	c, err := catalog.Open(t.Context(), fsys, nil)
	require.NoError(t, err)
	session, err := c.LockVM(t.Context(), vm)
	require.NoError(t, err)
	w, err := session.NewPoint(t.Context(), catalog.PointSpec{JobID: "job", ScheduleID: "nightly", Time: time.Unix(1.7e9, 0)})
	require.NoError(t, err)
	disk, err := w.CreateDisk(t.Context(), catalog.DiskSpec{
		Ref: "OpaqueRef:1", SourceVDI: "0b6f5c7e-5d2b-4f0a-8a49-3f1f9f0c2d11", SnapshotVDI: "5a9f1f64-0c5e-4f8e-9d1b-6c2a7e3b4f52",
		Size: 8 << 20, Blocks: []uint32{1},
	})
	require.NoError(t, err)
	require.NoError(t, disk.WriteBlock(1, []byte("hello, disk")))
	require.NoError(t, disk.Close())
	_, err = w.Commit(t.Context(), catalog.Metadata{
		VM:         json.RawMessage(`{"uuid":"` + vm + `","name_label":"web","name_description":"","tags":[]}`),
		VMSnapshot: json.RawMessage(`{"suspend_VDI":"OpaqueRef:NULL"}`),
		VDIs:       map[string]json.RawMessage{"OpaqueRef:1": json.RawMessage(`{"uuid":"5a9f1f64-0c5e-4f8e-9d1b-6c2a7e3b4f52","virtual_size":8388608}`)},
	})
	require.NoError(t, err)
	garbage := "xo-vm-backups/" + vm + "/vdis/job/0b6f5c7e-5d2b-4f0a-8a49-3f1f9f0c2d11/data/20270101T000000Z.vhd"
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

	again, err := catalog.Open(t.Context(), open(t, testenv.ExportData, opts), nil)
	require.NoError(t, err)
	points := 0
	for p, err := range again.Points(t.Context(), vm) {
		require.NoError(t, err)
		points++
		back, err := again.OpenDisk(t.Context(), p, "OpaqueRef:1")
		require.NoError(t, err)
		got := make([]byte, 11)
		_, err = back.ReadAt(got, 2<<20)
		require.NoError(t, err)
		require.Equal(t, "hello, disk", string(got))
		require.NoError(t, back.Close())
	}
	require.Equal(t, 1, points)
}
