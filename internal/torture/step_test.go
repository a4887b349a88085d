package torture_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

const (
	stepsVar = "XENBACKUP_STEPS" // "all", or how many of the steps of each sweep; a few when empty
	pairsVar = "XENBACKUP_PAIRS" // how many pairs of kills, the second during recovery from the first
)

// steps kills at each of so many changes of an operation, or at a number of them drawn by
// lot; and after half of the change before.
func steps(t *testing.T, random *rand.Rand, changes, smoke int, run func(t *testing.T, k kill) (killed bool)) {
	t.Helper()
	order := random.Perm(changes)
	if os.Getenv(stepsVar) != "all" {
		order = order[:min(changes, number(t, stepsVar, smoke))]
	}
	slices.Sort(order)
	done := 0
	for _, n := range order {
		kills := []kill{{n + 1, false}, {n + 2, true}}
		if os.Getenv(stepsVar) == "" { // as a smoke one of them
			kills = kills[random.IntN(2):][:1]
		}
		for _, k := range kills {
			t.Run(k.String(), func(t *testing.T) {
				if run(t, k) {
					done++
				}
			})
		}
	}
	t.Logf("%d kills in an operation of %d changes", done, changes)
	require.Positive(t, done)
}

// kill says just before which change a process dies; with torn, the change before that
// was done by half.
type kill struct {
	at   int
	torn bool
}

func (k kill) String() string {
	if k.torn {
		return fmt.Sprint("half of change ", k.at-1)
	}
	return fmt.Sprint("before change ", k.at)
}

// template is a repository that is copied for each step.
type template struct{ dir string }

// copy makes a fresh copy of the repository.
func (tm template) copy(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(scratch(t), "repository")
	require.NoError(t, os.CopyFS(dir, os.DirFS(tm.dir)))
	return dir
}

// newTemplate is the repository of a guest in its third generation.
func newTemplate(t *testing.T, g guest) template {
	t.Helper()
	dir := scratch(t)
	for n := range 3 {
		require.NoError(t, g.backup(t.Context(), openFolder(t, dir), n+1, func() {}))
	}
	return template{dir}
}

// changes is how many changes the next backup makes.
func (tm template) changes(t *testing.T, g guest) int {
	t.Helper()
	faulty := remotetest.NewFaulty(openFolder(t, tm.copy(t)))
	require.NoError(t, g.backup(t.Context(), faulty, 4, func() {}))
	return faulty.Count(remotetest.Mutating()...)
}

// Whatever the last change is that a process makes, or makes half, the repository is one
// that all its points can be read from, and that the next process puts in order.
func TestKillAtAnyChangeOfABackup(t *testing.T) {
	for _, format := range []catalog.DiskFormat{catalog.FormatFile, catalog.FormatPlain} {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			seed := seeded(t)
			random := rand.New(rand.NewPCG(seed, 1))
			g := guest{Seed: seed, Disks: 2, Blocks: 2, Keep: 2, Format: format}
			start := newTemplate(t, g)
			steps(t, random, start.changes(t, g), 1, func(t *testing.T, k kill) (killed bool) {
				t.Helper()
				return start.kill(t, g, k)
			})
		})
	}
}

// The process that recovers is killed too.
func TestKillAtAnyChangeOfTheRecovery(t *testing.T) {
	for _, format := range []catalog.DiskFormat{catalog.FormatFile, catalog.FormatPlain} {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			seed := seeded(t)
			random := rand.New(rand.NewPCG(seed, 2))
			g := guest{Seed: seed, Disks: 2, Blocks: 2, Keep: 2, Format: format}
			start := newTemplate(t, g)
			changes := start.changes(t, g)
			for range number(t, pairsVar, 1) {
				first := kill{2 + random.IntN(changes), random.IntN(4) == 0}
				second := kill{2 + random.IntN(changes), random.IntN(4) == 0}
				t.Run(fmt.Sprint(first, ", ", second), func(t *testing.T) { start.kill(t, g, first, second) })
			}
		})
	}
}

// kill lets one process after the other make the next backup, and be killed, and then one
// that is not. It tells whether the last of the former was killed before it came to its end.
func (tm template) kill(t *testing.T, g guest, kills ...kill) (killed bool) {
	t.Helper()
	dir := tm.copy(t)
	defer func() { require.NoError(t, os.RemoveAll(dir)) }()
	folder, err := local.Open(dir, nil)
	require.NoError(t, err)
	defer folder.Close()
	books := newLedger(g)
	listed, err := books.audit(t.Context(), folder)
	require.NoError(t, err)
	generation := listed[len(listed)-1]
	for _, k := range kills {
		generation++
		c := newChild(t, &orders{Task: "backup", Dir: dir, Guest: g, Generation: generation, KillAt: k.at, Torn: k.torn})
		killed = !c.run(t)
		unlock(t, dir, guestVM)
		if c.said(committed) {
			books.owe(generation)
		}
		_, err := books.audit(t.Context(), folder)
		require.NoError(t, err, "%v", k)
	}
	generation++
	require.NoError(t, g.backup(t.Context(), folder, generation, func() { books.owe(generation) }), "%v", kills)
	listed, err = books.audit(t.Context(), folder)
	require.NoError(t, err, "%v", kills)
	require.Len(t, listed, g.Keep)
	left, err := leavings(t.Context(), folder, guestVM, "")
	require.NoError(t, err)
	require.Empty(t, left, "%v", kills)
	return killed
}

// unlock removes the lock of a process that was killed. Mostly the next one would take it
// over at once, but not one that it was just about to make: that counts as abandoned after
// ten seconds, which are waited for elsewhere.
func unlock(t *testing.T, dir, vm string) {
	t.Helper()
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "xo-vm-backups", vm+".lock")))
}
