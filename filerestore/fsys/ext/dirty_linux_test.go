package ext_test

import (
	"bytes"
	"cmp"
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

// dirty are kinds of journals.
var dirty = []struct {
	name    string
	mkfs    []string
	options string // of the mount while it is filled
	rounds  int    // of the burst; 6 if zero
}{
	{"v3", []string{"-t", "ext4", "-b", "4096", "-J", "size=4"}, "rw", 0},
	{"v3-inline", []string{"-t", "ext4", "-b", "1024", "-I", "512", "-O", "inline_data,ea_inode"}, "rw", 0},
	{"none", []string{"-t", "ext3", "-b", "1024"}, "rw", 0},
	{"none-64bit", []string{"-t", "ext4", "-O", "^metadata_csum,64bit"}, "rw", 0},
	{"v1", []string{"-t", "ext4", "-O", "^metadata_csum,^64bit"}, "rw,journal_checksum", 0},
	{"v1-async", []string{"-t", "ext4", "-O", "^metadata_csum"}, "rw,journal_async_commit,data=writeback", 0},
	{"v3-async", []string{"-t", "ext4"}, "rw,journal_async_commit,data=writeback", 0},
	{"data", []string{"-t", "ext4", "-b", "1024", "-O", "orphan_file"}, "rw,data=journal", 0},
	{"wrap", []string{"-t", "ext4", "-b", "1024", "-J", "size=1"}, "rw", 14},
	{"revoke", []string{"-t", "ext4", "-b", "1024", "-J", "size=4", "-O", "^metadata_csum"}, "rw", 0},
}

func TestDirtyVolumesReadAsLinuxReadsThemAfterRecovery(t *testing.T) {
	requireLoop(t)
	for _, kind := range dirty {
		t.Run(kind.name, func(t *testing.T) {
			dir := t.TempDir()
			image, copied, recovered := filepath.Join(dir, "image"), filepath.Join(dir, "copy"), filepath.Join(dir, "recovered")
			mkfs(t, image, imageSize(48<<20), kind.mkfs...)
			at, unmount := mount(t, image, kind.options)
			opened := burst(t, at, cmp.Or(kind.rounds, 6))
			if kind.name == "revoke" {
				tree{t, at}.fillUp()
			}
			run(t, "cp", "--sparse=always", image, copied)
			require.NoError(t, opened.Close())
			unmount()
			run(t, "cp", "--sparse=always", copied, recovered)
			_, unmount = mount(t, recovered, "rw")
			unmount()
			at, unmount = mount(t, recovered, "ro")
			want := kernelManifest(t, at)
			unmount()

			keep(t, "dirty-"+kind.name, copied, want)
			vol := open(t, copied)
			t.Log(vol.Warnings())
			require.Len(t, vol.Warnings(), 1)
			require.Equal(t, fsys.Replayed, vol.Warnings()[0].Concern)
			require.Empty(t, gocmp.Diff(want, read(t, vol)))
		})
	}
}

// burst changes a volume, and leaves all in its journal: blocks are freed and
// used again, data looks like the journal, and files are open though deleted.
// The last of them is returned.
func burst(tb testing.TB, dir string, rounds int) *os.File {
	tb.Helper()
	w := tree{tb, dir}
	w.names()
	w.attributes()
	unix.Sync()
	r := rand.New(rand.NewPCG(3, 4))
	for round := range rounds {
		name := fmt.Sprintf("round-%d", round)
		w.mkdir(name)
		for i := range 150 {
			w.write(fmt.Sprintf("%s/%d", name, i), bytes.Repeat([]byte{0xc0, 0x3b, 0x39, 0x98}, r.IntN(3000)))
			if i%10 == 0 {
				require.NoError(tb, os.Symlink(name, w.path(fmt.Sprintf("%s/link-%d", name, i))))
			}
		}
		if round > 1 {
			require.NoError(tb, os.RemoveAll(w.path(fmt.Sprintf("round-%d", round-2))))
		}
		if round > 0 {
			old := fmt.Sprintf("round-%d", round-1)
			for i := 0; i < 150; i += 2 {
				require.NoError(tb, os.Rename(w.path(fmt.Sprintf("%s/%d", old, i)), w.path(fmt.Sprintf("%s/moved-%d", name, i))))
			}
		}
		commit(tb, dir)
	}
	f, err := os.Create(w.path("deleted"))
	require.NoError(tb, err)
	_, err = f.Write(make([]byte, 100<<10))
	require.NoError(tb, err)
	require.NoError(tb, os.Remove(w.path("deleted")))
	commit(tb, dir)
	w.write("never-committed", []byte("x"))
	return f
}

// fillUp writes until there is no room: blocks that were directories, and are
// in the journal as such, become content.
func (w tree) fillUp() {
	w.t.Helper()
	for _, old := range []string{"round-4", "round-5"} {
		require.NoError(w.t, os.RemoveAll(w.path(old)))
		commit(w.t, w.dir)
	}
	f, err := os.Create(w.path("full"))
	require.NoError(w.t, err)
	for err == nil {
		_, err = f.Write(bytes.Repeat([]byte("full"), 256))
	}
	require.ErrorIs(w.t, err, unix.ENOSPC)
	require.NoError(w.t, f.Sync())
	require.NoError(w.t, f.Close())
}

// commit ends a transaction of the journal, and writes nothing home but data.
func commit(tb testing.TB, dir string) {
	tb.Helper()
	f, err := os.Open(dir)
	require.NoError(tb, err)
	require.NoError(tb, f.Sync())
	require.NoError(tb, f.Close())
}
