package fat_test

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

	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/testvolume"
	"github.com/xenbackup/xenbackup/internal/testenv"
)

// update writes the images into testdata, for machines where none can be made:
// go test -run TestEvery -update
var update = flag.Bool("update", false, "write the images in testdata")

func run(tb testing.TB, name string, args ...string) {
	tb.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(tb.Context(), name, args...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C.UTF-8", "MTOOLS_SKIP_CHECK=1")
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(tb, cmd.Run(), "%s %s: %s", name, strings.Join(args, " "), out.String())
}

func mkfs(tb testing.TB, image string, size int64, args ...string) {
	tb.Helper()
	testenv.Require(tb, "mkfs.fat")
	testenv.Require(tb, "mcopy")
	f, err := os.Create(image)
	require.NoError(tb, err)
	require.NoError(tb, f.Truncate(size))
	require.NoError(tb, f.Close())
	run(tb, "mkfs.fat", append(append([]string{"-n", "TEST LABEL", "-i", "1234ABCD"}, args...), image)...)
}

// mcopy copies what is in a directory into an image.
func mcopy(tb testing.TB, image, dir string) {
	tb.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(tb, err)
	run(tb, "mcopy", append(append([]string{"-s", "-m", "-Q", "-i", image}, list...), "::")...)
}

// fragment fills an image with small files, deletes every second, and writes a
// large one into the gaps.
func fragment(tb testing.TB, image, dir string, files int, size int64) {
	tb.Helper()
	for i := range files {
		testvolume.File(tb, dir, fmt.Sprintf("gaps/%04d.gap", i), size)
	}
	mcopy(tb, image, dir)
	gone := []string{"-i", image}
	for i := 0; i < files; i += 2 {
		name := fmt.Sprintf("gaps/%04d.gap", i)
		gone = append(gone, "::"+name)
		require.NoError(tb, os.Remove(filepath.Join(dir, name)))
	}
	run(tb, "mdel", gone...)
	large := tb.TempDir()
	testvolume.File(tb, large, "in pieces", int64(files/2)*size)
	mcopy(tb, image, large)
	require.NoError(tb, os.Rename(filepath.Join(large, "in pieces"), filepath.Join(dir, "in pieces")))
}

func TestEveryImageOfMkfsReadsAsItWasFilled(t *testing.T) {
	for name, c := range map[string]struct {
		size int64
		many int
		args []string
	}{
		"fat12":        {2 << 20, 30, []string{"-F", "12", "-s", "1", "-r", "64"}},
		"fat16":        {12 << 20, 250, []string{"-F", "16", "-s", "4"}},
		"fat16-4k":     {40 << 20, 30, []string{"-F", "16", "-S", "4096", "-s", "1"}},
		"fat32":        {34 << 20, 30, []string{"-F", "32", "-s", "1"}},
		"fat32-pieces": {34 << 20, -1, []string{"-F", "32", "-s", "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir, image := t.TempDir(), filepath.Join(t.TempDir(), "image")
			mkfs(t, image, c.size, c.args...)
			if c.many < 0 {
				fragment(t, image, dir, 100, 1500)
			} else {
				testvolume.Plant(t, dir, c.many)
				testvolume.File(t, dir, "names/clef ZZ.txt", 99) // mtools writes no pairs
				mcopy(t, image, dir)
			}
			run(t, "fsck.fat", "-n", image)
			raw, err := os.ReadFile(image)
			require.NoError(t, err)
			want := withoutDirTimes(testvolume.Tree(t, dir))
			if clef, ok := want["names/clef ZZ.txt"]; ok {
				pair, at := []byte{0x34, 0xD8, 0x1E, 0xDD}, []byte("Z\x00Z\x00.\x00t\x00")
				before, _, ok := bytes.Cut(raw, at)
				require.True(t, ok)
				copy(raw[len(before):], pair)
				delete(want, "names/clef ZZ.txt")
				want["names/clef \U0001D11E.txt"] = clef
			}
			vol := openBytes(t, raw)
			require.Empty(t, cmp.Diff(want, manifest(t, vol)))
			require.Empty(t, vol.Warnings())
			if *update {
				testvolume.Keep(t, name, raw, want)
			}
		})
	}
}

func TestSmallFAT32IsFAT32(t *testing.T) {
	image := filepath.Join(t.TempDir(), "image") // so to Linux, and to mkfs.fat; not by the number of its clusters
	mkfs(t, image, 2<<20, "-F", "32", "-f", "1")
	raw, err := os.ReadFile(image)
	require.NoError(t, err)
	vol := openBytes(t, raw)
	require.Equal(t, "fat32", vol.Volume().Type)
	require.Equal(t, "TEST LABEL", vol.Volume().Label)
	require.Empty(t, testvolume.Read(t, vol))
}
