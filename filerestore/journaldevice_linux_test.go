package filerestore_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore"
	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/internal/testenv"
)

// TestAJournalOnAnotherDiskIsFound has a volume that was in use, and whose
// journal is on another disk of the VM.
func TestAJournalOnAnotherDiskIsFound(t *testing.T) {
	testenv.Require(t, "mke2fs")
	requireRoot(t)
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		testenv.Missing(t, "no loop devices: %v", err)
	}
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for name, size := range map[string]int64{"log": 8 << 20, "image": 16 << 20} {
		require.NoError(t, os.WriteFile(path(name), nil, 0o600))
		require.NoError(t, os.Truncate(path(name), size))
	}
	run(t, "mke2fs", "-q", "-F", "-b", "4096", "-O", "journal_dev", path("log"))
	device := strings.TrimSpace(run(t, "losetup", "--find", "--show", path("log")))
	t.Cleanup(func() { require.NoError(t, exec.Command("losetup", "--detach", device).Run()) }) //nolint:noctx // also when the test's context has ended
	run(t, "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-J", "device="+device, path("image"))
	require.NoError(t, os.Mkdir(path("mounted"), 0o700))
	run(t, "mount", "-o", "loop", path("image"), path("mounted"))
	t.Cleanup(func() { require.NoError(t, exec.Command("umount", path("mounted")).Run()) }) //nolint:noctx // likewise
	require.NoError(t, os.WriteFile(path("mounted/file"), []byte("in the journal"), 0o600))
	f, err := os.Open(path("mounted/file"))
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
	run(t, "cp", device, path("log copy"))
	run(t, "cp", path("image"), path("image copy"))

	var disks []filerestore.Disk
	for _, name := range []string{"image copy", "log copy"} {
		f, err := os.Open(path(name))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, f.Close()) })
		info, err := f.Stat()
		require.NoError(t, err)
		disks = append(disks, filerestore.Disk{ID: name, R: f, Size: info.Size()})
	}
	files, err := open(t, disks, nil).OpenVolume(t.Context(), "image copy")
	require.NoError(t, err)
	require.Len(t, files.Warnings(), 1)
	require.Equal(t, fsys.Replayed, files.Warnings()[0].Concern)
	data, err := fs.ReadFile(files, "file")
	require.NoError(t, err)
	require.Equal(t, "in the journal", string(data))

	files, err = open(t, append(disks, filerestore.Disk{ID: "twin", R: disks[1].R, Size: disks[1].Size}), nil).OpenVolume(t.Context(), "image copy")
	require.NoError(t, err)
	require.Equal(t, fsys.Stale, files.Warnings()[0].Concern, "two such journals: neither is taken")
}
