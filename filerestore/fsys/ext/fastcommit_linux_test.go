package ext_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

func TestFastCommitsReadAsLinuxReadsThemAfterRecovery(t *testing.T) {
	requireLoop(t)
	for name, args := range map[string][]string{
		"fast":        {"-t", "ext4", "-b", "4096", "-O", "fast_commit", "-J", "size=4,fast_commit_size=512"},
		"fast-1k":     {"-t", "ext4", "-b", "1024", "-O", "fast_commit,^metadata_csum,^64bit", "-J", "size=4,fast_commit_size=128"},
		"fast-inline": {"-t", "ext4", "-b", "1024", "-I", "512", "-O", "fast_commit,inline_data", "-J", "size=4,fast_commit_size=128"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			image, copied, recovered := filepath.Join(dir, "image"), filepath.Join(dir, "copy"), filepath.Join(dir, "recovered")
			mkfs(t, image, imageSize(48<<20), args...)
			at, unmount := mount(t, image, "rw,commit=300")
			fastBurst(t, at)
			run(t, "cp", "--sparse=always", image, copied)
			unmount()
			run(t, "cp", "--sparse=always", copied, recovered)
			_, unmount = mount(t, recovered, "rw")
			unmount()
			at, unmount = mount(t, recovered, "ro")
			want := withoutRecovery(kernelManifest(t, at))
			unmount()

			keep(t, "dirty-"+name, copied, want)
			vol := open(t, copied)
			t.Log(vol.Warnings())
			require.Len(t, vol.Warnings(), 1)
			require.Equal(t, fsys.Replayed, vol.Warnings()[0].Concern)
			require.Contains(t, vol.Warnings()[0].Text, "fast commits")
			require.Empty(t, gocmp.Diff(want, withoutRecovery(read(t, vol))))
		})
	}
}

// fastBurst syncs files one by one, so that each change is a fast commit, and
// leaves all of that in the area for them.
func fastBurst(tb testing.TB, dir string) {
	tb.Helper()
	w := tree{tb, dir}
	w.mkdir("old")
	for i := range 60 {
		w.write(fmt.Sprintf("old/%d", i), bytes.Repeat([]byte{byte(i)}, i*500))
	}
	w.mkdir("removed")
	unix.Sync()
	r := rand.New(rand.NewPCG(5, 6))
	for i := range 60 {
		name := fmt.Sprintf("old/%d", i)
		switch i % 9 {
		case 0: // grows
			w.pieces(name, 100_000, []int64{90_000, 30_000}, bytes.Repeat([]byte("grown"), 1000))
		case 1: // shrinks
			require.NoError(tb, os.Truncate(w.path(name), int64(i*100)))
		case 2: // has another name, which is synced
			require.NoError(tb, os.Rename(w.path(name), w.path(name+"-renamed")))
			name += "-renamed"
		case 3:
			require.NoError(tb, os.Link(w.path(name), w.path(name+"-linked")))
		case 4: // is no more
			require.NoError(tb, os.Remove(w.path(name)))
			name = "old/3"
		case 5:
			require.NoError(tb, unix.Chmod(w.path(name), 0o4711))
			require.NoError(tb, os.Chown(w.path(name), 70_000, 80_000))
			w.times(name, unix.Timespec{Sec: 1e9, Nsec: 5}, unix.Timespec{Sec: 5e9, Nsec: 7})
		case 6: // is made
			name = fmt.Sprintf("made-%d", i)
			w.write(name, bytes.Repeat([]byte("made"), r.IntN(4000)))
		case 7: // in a directory that is made
			name = fmt.Sprintf("dir-%d/sub/%d", i, i)
			w.mkdir(filepath.Dir(name))
			w.write(name, bytes.Repeat([]byte("deep"), r.IntN(50)))
		case 8: // in place of another
			require.NoError(tb, os.Rename(w.path(name), w.path(fmt.Sprintf("old/%d", i-8))))
			name = fmt.Sprintf("old/%d", i-8)
		}
		commit(tb, w.path(name))
	}
	require.NoError(tb, os.Remove(w.path("removed")))
	require.NoError(tb, unix.Chmod(w.path("old/3"), 0o600)) // else there is nothing to sync
	commit(tb, w.path("old/3"))
}
