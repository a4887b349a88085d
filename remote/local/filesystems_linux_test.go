package local_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// opener opens the directory of a mounted disk.
func opener(dir string) func(context.Context) (remote.Filesystem, error) {
	return func(context.Context) (remote.Filesystem, error) { return local.Open(dir, nil) }
}

func TestEachFileSystemPassesTheHarness(t *testing.T) {
	full, readOnly := smallDisk(t, "size=8m"), smallDisk(t, "size=1m")
	require.NoError(t, os.WriteFile(filepath.Join(readOnly, "f"), nil, 0o600))
	require.NoError(t, syscall.Mount("tmpfs", readOnly, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	for name, mount := range map[string]func(t *testing.T) string{
		"tmpfs": func(t *testing.T) string { t.Helper(); return smallDisk(t, "size=64m") },
		"ext4":  func(t *testing.T) string { t.Helper(); return mounted(t, "ext4") },
		"xfs":   func(t *testing.T) string { t.Helper(); return mounted(t, "xfs") },
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, remotetest.TestHarness(t.Context(), remotetest.Harness{
				Open: opener(mount(t)), Full: opener(full), ReadOnly: opener(readOnly),
			}))
		})
	}
}

// mounted is a disk of its own for one test.
func mounted(t *testing.T, kind string) string {
	t.Helper()
	d := testenv.NewLoopDisk(t, kind)
	d.Mount(t)
	t.Cleanup(func() { d.Unmount(t) })
	return d.Dir
}

func TestRangesAreClonedWhereTheFileSystemCan(t *testing.T) {
	const block = 64 << 10
	for kind, clones := range map[string]bool{"xfs": true, "ext4": false} {
		fsys := open(t, mounted(t, kind))
		content := make([]byte, 8*block)
		for i := range content {
			content[i] = byte(i / block)
		}
		require.NoError(t, remote.WriteFile(t.Context(), fsys, "from", content))
		from, err := fsys.OpenFile(t.Context(), "from", os.O_RDONLY)
		require.NoError(t, err)
		to, err := fsys.OpenFile(t.Context(), "to", remotetest.CreateNew)
		require.NoError(t, err)
		err = remote.CloneRange(to, block, from, 3*block, 2*block)
		if !clones {
			require.ErrorIs(t, err, errors.ErrUnsupported)
			require.NoError(t, errors.Join(from.Close(), to.Close()))
			continue
		}
		require.NoError(t, err)
		require.ErrorIs(t, remote.CloneRange(to, 1, from, 0, 10), errors.ErrUnsupported, "not aligned")
		require.ErrorIs(t, remote.CloneRange(to, 0, from, 0, 0), errors.ErrUnsupported, "nothing to clone")
		require.NoError(t, errors.Join(to.Sync(), from.Close(), to.Close()))
		got, err := remote.ReadFile(t.Context(), fsys, "to", 1<<20)
		require.NoError(t, err)
		want := append(make([]byte, block), content[3*block:5*block]...)
		require.Equal(t, want, got)

		// Through a decorator too, but not between different storages.
		limited := remote.Limit(fsys, remote.Limits{Parallel: 1})
		a, err := limited.OpenFile(t.Context(), "from", os.O_RDONLY)
		require.NoError(t, err)
		b, err := limited.OpenFile(t.Context(), "to", os.O_RDWR)
		require.NoError(t, err)
		require.NoError(t, remote.CloneRange(b, 0, a, 0, block))
		other, err := remotetest.NewCrash().OpenFile(t.Context(), "x", remotetest.CreateNew)
		require.NoError(t, err)
		require.ErrorIs(t, remote.CloneRange(b, 0, other, 0, block), errors.ErrUnsupported)
		require.ErrorIs(t, remote.CloneRange(other, 0, b, 0, block), errors.ErrUnsupported)
		require.NoError(t, errors.Join(a.Close(), b.Close()))
	}
}
