package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
)

func TestFullDiskLeavesNothing(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		testenv.Missing(t, "mounting a small disk needs root")
	}
	small := t.TempDir()
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=1m"); err != nil {
		testenv.Missing(t, "cannot mount a tmpfs here: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(small, syscall.MNT_DETACH)) })
	repo := testenv.Golden(t)
	u := at(repo.Dir)
	for _, args := range [][]string{{"disk", "-disk", system}, {"disk", "-disk", system, "-format", "vhd"}, {"xva"}} {
		u.fails(t, 1, []string{"no space left", "is full; nothing was left"}, append(args, "-backup", lastPoint, "-o", filepath.Join(small, "out"))...)
		entries, err := os.ReadDir(small)
		require.NoError(t, err)
		require.Empty(t, entries)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer full.Close()
	cmd := u.command(t, "disk", "-disk", system, "-backup", lastPoint, "-o", "-")
	cmd.Stdout = full
	require.Error(t, cmd.Run())
	require.Equal(t, 1, cmd.ProcessState.ExitCode())
	requireNoLeases(t, repo.Dir)
}
