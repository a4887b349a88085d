package vhd_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// loopMount mounts a new file system in a file until the test ends.
func loopMount(t *testing.T, kind string) string {
	t.Helper()
	if os.Getuid() != 0 {
		testenv.Missing(t, "mounting a disk needs root")
	}
	mkfs := testenv.Require(t, "mkfs."+kind)
	image, dir := filepath.Join(t.TempDir(), "image"), filepath.Join(t.TempDir(), "mnt")
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, 384<<20)) // XFS wants 300 MiB
	require.NoError(t, os.Mkdir(dir, 0o700))
	out, err := exec.CommandContext(t.Context(), mkfs, "-q", image).CombinedOutput()
	require.NoError(t, err, "%s", out)
	if out, err := exec.CommandContext(t.Context(), "mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
		testenv.Missing(t, "cannot mount %s through a loop device here: %v: %s", kind, err, out)
	}
	t.Cleanup(func() {
		out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "umount", dir).CombinedOutput()
		require.NoError(t, err, "%s", out)
	})
	return dir
}

// used returns the bytes that are taken of the file system of dir.
func used(t *testing.T, dir string) int64 {
	t.Helper()
	unix.Sync()
	var stat unix.Statfs_t
	require.NoError(t, unix.Statfs(dir, &stat))
	return int64(stat.Blocks-stat.Bfree) * stat.Bsize
}

// TestFlattenSharesDataWhereTheFileSystemCan wants that blocks of our own
// images, which are aligned, take no room twice on XFS; and that on ext4, which
// cannot share, the same calls copy.
func TestFlattenSharesDataWhereTheFileSystemCan(t *testing.T) {
	for kind, shares := range map[string]bool{"xfs": true, "ext4": false} {
		t.Run(kind, func(t *testing.T) {
			dir := loopMount(t, kind)
			truth := noise(1, 24<<20, 0, 1, 2, 3, 4, 5, 6, 7)
			writeFile(t, filepath.Join(dir, "a.vhd"), truth, layoutOf(t, truth, vhd.Repository))
			func() { // the files are closed before the file system is unmounted
				f, err := os.Open(filepath.Join(dir, "a.vhd"))
				require.NoError(t, err)
				defer f.Close()
				info, err := f.Stat()
				require.NoError(t, err)
				image, err := vhd.Open(f, info.Size(), nil)
				require.NoError(t, err)
				for _, name := range []string{"b.vhd", "b.raw"} {
					before := used(t, dir)
					flattenTo(t, filepath.Join(dir, name), image, truth)
					if grown := used(t, dir) - before; shares {
						require.Less(t, grown, int64(1<<20), name)
					} else {
						require.Greater(t, grown, int64(15<<20), name)
					}
				}
			}()
		})
	}
}

func flattenTo(t *testing.T, name string, src disk.Source, truth ramDisk) {
	t.Helper()
	f, err := os.Create(name)
	require.NoError(t, err)
	defer f.Close()
	var got disk.Source
	if filepath.Ext(name) == ".raw" {
		result, err := vhd.FlattenRaw(t.Context(), f, src, nil)
		require.NoError(t, err)
		got = vhd.NewRaw(f, result.Size)
	} else {
		result, err := vhd.Flatten(t.Context(), f, src, vhd.Layout{Type: vhd.Dynamic, UUID: uuidOf(1)}, nil)
		require.NoError(t, err)
		got, err = vhd.Open(f, result.Size, nil)
		require.NoError(t, err)
	}
	require.Equal(t, sum(truth), digest(t, got))
}
