package local_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// cutsEnv is how many power cuts each file system gets; "make torture" asks for
// many, a plain run for a few.
const cutsEnv = "XENBACKUP_CUTS"

func TestPowerCutsOnExt4LoseNothingCommitted(t *testing.T) { cutPower(t, "ext4") }

func TestPowerCutsOnXFSLoseNothingCommitted(t *testing.T) { cutPower(t, "xfs") }

func cutPower(t *testing.T, kind string) {
	t.Helper()
	if !testenv.Alone(t) {
		return
	}
	rounds := 4
	if v := os.Getenv(cutsEnv); v != "" {
		var err error
		rounds, err = strconv.Atoi(v)
		require.NoError(t, err)
	}
	d := testenv.NewLoopDisk(t, kind)
	seed := uint64(time.Now().UnixNano())
	t.Logf("%d power cuts on %s, seed %d", rounds, kind, seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	tree := &tree{files: map[string]*file{}}
	committed := 0
	for round := range rounds {
		d.Mount(t)
		committed += tree.work(t, d, rng, 1+rng.IntN(150))
		d.Unmount(t)
		d.Mount(t)
		tree.check(t, d.Dir, round)
		d.Unmount(t)
	}
	t.Logf("%d files were committed", committed)
	require.Positive(t, committed)
}

// tree knows what must be on the disk.
type tree struct {
	mu    sync.Mutex
	dark  bool // the power is going
	files map[string]*file
}

type file struct {
	committed string   // "": not certain to exist
	attempts  []string // contents that a commit without an answer may have published
}

// work commits files from two goroutines until the power goes, just before the
// nth operation, and returns how many commits were answered.
func (tr *tree) work(t *testing.T, d *testenv.LoopDisk, rng *rand.Rand, n int) int {
	t.Helper()
	disk, err := local.Open(d.Dir, nil)
	require.NoError(t, err)
	defer disk.Close()
	fsys := remotetest.NewFaulty(disk)
	var cutErr error
	fsys.CallAt(n, func() {
		tr.darken(true)
		cutErr = d.Cut()
	}, remotetest.Mutating()...)
	tr.darken(false)
	var group sync.WaitGroup
	counts := make([]int, 2)
	for i := range counts {
		own := rand.New(rand.NewPCG(rng.Uint64(), uint64(i)))
		group.Go(func() {
			for tr.step(t.Context(), fsys, own, fmt.Sprintf("worker%d", i)) == nil {
				counts[i]++
			}
		})
	}
	group.Wait()
	require.NoError(t, cutErr)
	return counts[0] + counts[1]
}

// step commits one file: new or over another one, in a directory that exists or
// not; or renames one that is committed.
func (tr *tree) step(ctx context.Context, fsys remote.Filesystem, rng *rand.Rand, worker string) error {
	dir := fmt.Sprintf("%s/%d/%d", worker, rng.IntN(3), rng.IntN(4))
	name := fmt.Sprintf("%s/f%d", dir, rng.IntN(5))
	if rng.IntN(8) == 0 {
		return tr.rename(ctx, fsys, name, fmt.Sprintf("%s/renamed%d", worker, rng.IntN(3)))
	}
	if err := remote.MkdirAll(ctx, fsys, dir); err != nil {
		return err
	}
	content := fmt.Sprintf("%d:%s", rng.Uint64(), strings.Repeat("backup!!", rng.IntN(40_000)))
	tr.attempt(name, content)
	if err := remote.WriteFile(ctx, fsys, name, []byte(content)); err != nil {
		return err
	}
	tr.commit(name, content)
	return nil
}

// rename moves a file as a merge does: the name, then both directories.
func (tr *tree) rename(ctx context.Context, fsys remote.Filesystem, from, to string) error {
	content := tr.content(from)
	if content == "" {
		return nil
	}
	if err := remote.MkdirAll(ctx, fsys, filepath.Dir(to)); err != nil {
		return err
	}
	tr.attempt(to, content)
	tr.unsure(from)
	if err := fsys.Rename(ctx, from, to); err != nil {
		return err
	}
	for _, dir := range []string{filepath.Dir(to), filepath.Dir(from)} {
		if err := remote.SyncDir(ctx, fsys, dir); err != nil {
			return err
		}
	}
	tr.commit(to, content)
	return nil
}

func (tr *tree) at(name string) *file {
	if tr.files[name] == nil {
		tr.files[name] = &file{}
	}
	return tr.files[name]
}

func (tr *tree) darken(dark bool) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.dark = dark
}

func (tr *tree) attempt(name, content string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	f := tr.at(name)
	f.attempts = append(f.attempts, content)
}

// commit takes an answer for what it says. One that comes while the power goes
// proves nothing, for with a machine nobody would have heard it: a directory of
// XFS, once shut down, is synced with success.
func (tr *tree) commit(name, content string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.dark {
		return
	}
	*tr.at(name) = file{committed: content}
}

// unsure: the name may lead nowhere, or to what it did.
func (tr *tree) unsure(name string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	f := tr.at(name)
	f.attempts = append(f.attempts, f.committed)
	f.committed = ""
}

func (tr *tree) content(name string) string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.at(name).committed
}

// check compares the disk with what must, and what may, be on it; then it takes
// the disk for the truth, and removes what is temporary.
func (tr *tree) check(t *testing.T, dir string, round int) {
	t.Helper()
	disk, err := local.Open(dir, nil)
	require.NoError(t, err)
	defer disk.Close()
	found := map[string]*file{}
	err = remote.Walk(t.Context(), disk, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || d.IsDir():
			return err
		case remote.IsTemp(name):
			return disk.Remove(t.Context(), name)
		}
		data, err := remote.ReadFile(t.Context(), disk, name, 1<<20)
		if err != nil {
			return err
		}
		f := tr.at(name)
		if got := string(data); got != f.committed && !contains(f.attempts, got) {
			return fmt.Errorf("%s has %d bytes that nobody committed", name, len(data))
		}
		found[name] = &file{committed: string(data)}
		return nil
	})
	require.NoError(t, err, "round %d", round)
	for name, f := range tr.files {
		if f.committed != "" && found[name] == nil {
			require.NoError(t, errors.New(name+" was committed and is gone"), "round %d", round)
		}
	}
	tr.files = found
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l != "" && l == s {
			return true
		}
	}
	return false
}
