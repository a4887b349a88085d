package local_test

import (
	"bytes"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
)

// smallDisk is a disk of 1 MiB in memory.
func smallDisk(t *testing.T, options string) string {
	t.Helper()
	if os.Getuid() != 0 {
		testenv.Missing(t, "mounting a small disk needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		testenv.Missing(t, "cannot mount a tmpfs here: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	return dir
}

func TestAFullDiskLeavesTheOldFileAndNoTemporaryOne(t *testing.T) {
	fsys := open(t, smallDisk(t, "size=1m"))
	require.NoError(t, remote.WriteFile(t.Context(), fsys, "f", []byte("old")))
	err := remote.WriteFile(t.Context(), fsys, "f", bytes.Repeat([]byte("new "), 1<<19))
	require.ErrorIs(t, err, remote.ErrNoSpace)
	require.ErrorIs(t, err, syscall.ENOSPC)
	got, err := remote.ReadFile(t.Context(), fsys, "f", 100)
	require.NoError(t, err)
	require.Equal(t, "old", string(got))
	entries, err := fsys.ReadDir(t.Context(), ".")
	require.NoError(t, err)
	require.Len(t, entries, 1)
	space, err := fsys.Space(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(1<<20), space.Total)
	require.Positive(t, space.Free)
	require.NoError(t, remote.WriteFile(t.Context(), fsys, "f", []byte("fits again")))
}

func TestAReadOnlyMountIsAPermissionError(t *testing.T) {
	dir := smallDisk(t, "size=1m")
	require.NoError(t, syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	fsys := open(t, dir)
	err := remote.WriteFile(t.Context(), fsys, "f", nil)
	require.ErrorIs(t, err, os.ErrPermission)
	require.ErrorIs(t, err, syscall.EROFS)
}
