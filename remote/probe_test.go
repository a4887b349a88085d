package remote_test

import (
	"encoding/json"
	"io/fs"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

func TestProbeMeasuresAndLeavesNothing(t *testing.T) {
	disk, err := local.Open(t.TempDir(), nil)
	require.NoError(t, err)
	defer disk.Close()
	report, err := remote.Probe(t.Context(), disk, &remote.ProbeOptions{Size: 3<<20 + 5})
	require.NoError(t, err)
	require.Positive(t, report.WriteBytesPerSecond)
	require.Positive(t, report.ReadBytesPerSecond)
	require.Positive(t, report.RandomReadsPerSecond)
	require.Zero(t, report.ClockSkewSeconds)
	require.Contains(t, report.Capabilities, "Toucher")
	require.Empty(t, report.Warnings())
	require.Contains(t, report.String(), "read and compare")
	require.NotContains(t, report.String(), "FAILED")
	encoded, err := json.Marshal(report)
	require.NoError(t, err)
	var again remote.Report
	require.NoError(t, json.Unmarshal(encoded, &again))
	require.Equal(t, *report, again)

	entries, err := disk.ReadDir(t.Context(), ".xenbackup")
	require.NoError(t, err)
	for _, e := range entries {
		require.Equal(t, "locks", e.Name())
	}
}

func TestProbeTellsWhatFails(t *testing.T) {
	for _, kind := range []remotetest.Kind{remotetest.Mkdir, remotetest.Write, remotetest.Sync, remotetest.Rename, remotetest.Read} {
		faulty := remotetest.NewFaulty(remotetest.NewCrash())
		faulty.FailFrom(1, syscall.EROFS, kind)
		report, err := remote.Probe(t.Context(), faulty, &remote.ProbeOptions{Size: 1 << 20})
		require.ErrorIs(t, err, fs.ErrPermission, kind)
		require.Contains(t, report.String(), "FAILED")
	}
	plain := struct{ remote.Filesystem }{remotetest.NewCrash()}
	report, err := remote.Probe(t.Context(), plain, &remote.ProbeOptions{Size: 1})
	require.NoError(t, err)
	require.Len(t, report.Warnings(), 2, "no syncing of names, no locks")
	require.Contains(t, report.String(), "not offered")
}
