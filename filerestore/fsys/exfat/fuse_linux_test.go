package exfat_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/testvolume"
	"github.com/xenbackup/xenbackup/internal/testenv"
)

// update writes the images into testdata, for machines where none can be made:
// go test -run TestEvery -update
var update = flag.Bool("update", false, "write the images in testdata")

func run(tb testing.TB, name string, args ...string) string {
	tb.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(tb.Context(), name, args...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C.UTF-8")
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(tb, cmd.Run(), "%s %s: %s", name, strings.Join(args, " "), out.String())
	return out.String()
}

func requireFUSE(tb testing.TB) {
	tb.Helper()
	testenv.Require(tb, "mkfs.exfat")
	testenv.Require(tb, "mount.exfat-fuse")
	testenv.Require(tb, "losetup")
	if os.Getuid() != 0 {
		testenv.Missing(tb, "mounting images needs root")
	}
	for _, device := range []string{"/dev/loop-control", "/dev/fuse"} {
		if _, err := os.Stat(device); err != nil {
			testenv.Missing(tb, "no %s: %v", device, err)
		}
	}
}

func mkfs(tb testing.TB, image string, size int64, args ...string) {
	tb.Helper()
	f, err := os.Create(image)
	require.NoError(tb, err)
	require.NoError(tb, f.Truncate(size))
	require.NoError(tb, f.Close())
	run(tb, "mkfs.exfat", append(append([]string{"-L", "T\u00e4st \u96ea"}, args...), image)...)
}

// mount mounts an image through FUSE until the function returned is called, or
// the test ends.
func mount(tb testing.TB, image, options string) (dir string, unmount func()) {
	tb.Helper()
	dir = tb.TempDir()
	loop := strings.TrimSpace(run(tb, "losetup", "-f", "--show", image))
	detach := func() {
		require.NoError(tb, exec.Command("losetup", "-d", loop).Run()) //nolint:noctx // also when the test's context has ended
	}
	mounted := false
	unmount = func() {
		if mounted {
			mounted = false
			require.NoError(tb, exec.Command("umount", dir).Run()) //nolint:noctx // also when the test's context has ended
		}
	}
	tb.Cleanup(func() { unmount(); detach() })
	run(tb, "mount.exfat-fuse", "-o", options, loop, dir)
	mounted = true
	return dir, unmount
}

func TestEveryImageOfMkfsReadsAsFUSEReadsIt(t *testing.T) {
	requireFUSE(t)
	for name, c := range map[string]struct {
		size int64
		many int
		args []string
	}{
		"512":    {3 << 20, 60, []string{"-c", "512"}},
		"4k":     {8 << 20, 60, []string{"-c", "4096"}},
		"64k":    {24 << 20, 20, []string{"-c", "65536"}},
		"pieces": {4 << 20, -1, []string{"-c", "512"}},
	} {
		t.Run(name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "image")
			mkfs(t, image, c.size, c.args...)
			dir, unmount := mount(t, image, "rw")
			if c.many < 0 {
				fragment(t, dir, 80, 1500)
			} else {
				testvolume.Plant(t, dir, c.many)
				testvolume.File(t, dir, "names/clef \U0001D11E.txt", 99)
				testvolume.File(t, dir, "names/"+strings.Repeat("\U0001F600", 63), 9)
			}
			unmount()
			dir, unmount = mount(t, image, "ro")
			want := testvolume.Tree(t, dir)
			unmount()
			run(t, "fsck.exfat", "-n", image)
			raw, err := os.ReadFile(image)
			require.NoError(t, err)
			vol := openBytes(t, raw)
			require.Empty(t, cmp.Diff(want, testvolume.Read(t, vol)))
			require.Empty(t, vol.Warnings())
			if *update {
				testvolume.Keep(t, name, raw, want)
			}
		})
	}
}

// fragment fills a volume with small files, deletes every second, and writes a
// large one into the gaps.
func fragment(tb testing.TB, dir string, files int, size int64) {
	tb.Helper()
	for i := range files {
		testvolume.File(tb, dir, fmt.Sprintf("gaps/%04d.gap", i), size)
	}
	var room unix.Statfs_t
	require.NoError(tb, unix.Statfs(dir, &room))
	testvolume.File(tb, dir, "rest", int64(room.Bavail)*room.Bsize-4096)
	for i := 0; i < files; i += 2 {
		require.NoError(tb, os.Remove(filepath.Join(dir, fmt.Sprintf("gaps/%04d.gap", i))))
	}
	testvolume.File(tb, dir, "in pieces", int64(files/2)*size)
}
