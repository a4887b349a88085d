package catalog_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// The scenario: three points of two small disks; the fourth is written, two are
// kept, the disks of the others are merged. Whatever operation fails, or is the
// last one, every point that is listed must read to its content, what was
// acknowledged must be listed, and the next session must complete and leave no
// garbage.

func TestBackupSurvivesFailureOfAnyOperation(t *testing.T) {
	m, base := newRepository(t, 3)
	sweep(t, func(n int) bool {
		fsys := durable(base)
		faulty := remotetest.NewFaulty(fsys)
		run := m.clone()
		faulty.FailAt(n, syscall.EIO)
		committed, err := run.backup(t.Context(), faulty, 2)
		fired := faulty.Fired() > 0
		faulty.Heal()
		recovers(t, run, fsys, committed, err, fmt.Sprintf("operation %d fails", n))
		return fired
	})
}

func TestBackupSurvivesDeathAtAnyOperation(t *testing.T) {
	m, base := newRepository(t, 3)
	sweep(t, func(n int) bool {
		fsys := durable(base)
		faulty := remotetest.NewFaulty(fsys)
		run := m.clone()
		faulty.FailFrom(n, syscall.ENODEV, remotetest.Mutating()...)
		committed, err := run.backup(t.Context(), faulty, 2)
		recovers(t, run, fsys, committed, err, fmt.Sprintf("death at change %d", n))
		return faulty.Fired() > 0
	})
}

func TestBackupSurvivesPowerCutAtAnyOperation(t *testing.T) {
	m, base := newRepository(t, 3)
	const seed = 20260301
	sweep(t, func(n int) bool {
		fsys := durable(base)
		faulty := remotetest.NewFaulty(fsys)
		run := m.clone()
		faulty.FailFrom(n, syscall.ENODEV, remotetest.Mutating()...)
		committed, err := run.backup(t.Context(), faulty, 2)
		after := fsys.PowerCut(rand.New(rand.NewPCG(seed, uint64(n))))
		recovers(t, run, after, committed, err, fmt.Sprintf("power cut at change %d", n))
		return faulty.Fired() > 0
	})
}

// The removal of a JSON that a killed process did not make durable must be
// durable before the disks change: else a power cut brings the point back.
func TestPowerCutDuringMergeBringsNoPointBackWithoutItsDisks(t *testing.T) {
	m, base := newRepository(t, 3)
	sweep(t, func(n int) bool {
		fsys := durable(base)
		require.NoError(t, fsys.Remove(t.Context(), pointName(1)))
		faulty := remotetest.NewFaulty(fsys)
		s, err := openCatalog(t, faulty).LockVM(t.Context(), testVM)
		require.NoError(t, err)
		faulty.FailFrom(n, syscall.ENODEV, remotetest.Mutating()...)
		_, err = s.Merge(t.Context(), nil)
		require.Equal(t, faulty.Fired() > 0, err != nil)
		for seed := range uint64(4) {
			after := fsys.PowerCut(rand.New(rand.NewPCG(seed, uint64(n))))
			_, err := m.check(t.Context(), after)
			require.NoError(t, err, "change %d, seed %d", n, seed)
		}
		fired := faulty.Fired() > 0
		faulty.Heal()
		require.NoError(t, s.Close(t.Context()))
		return fired
	})
}

// A full disk is a clean error: what is there stays, nothing is left behind,
// and with space again the next session succeeds.
func TestBackupSurvivesFullDiskAtAnyWrite(t *testing.T) {
	m, base := newRepository(t, 3)
	sweep(t, func(n int) bool {
		fsys := durable(base)
		faulty := remotetest.NewFaulty(fsys)
		run := m.clone()
		faulty.FailFrom(n, syscall.ENOSPC, remotetest.Write)
		committed, err := run.backup(t.Context(), faulty, 2)
		fired := faulty.Fired() > 0
		faulty.Heal()
		what := fmt.Sprintf("full at write %d", n)
		if fired && !committed {
			require.ErrorIs(t, err, remote.ErrNoSpace, what)
			left, err := leavings(t.Context(), fsys)
			require.NoError(t, err)
			require.Empty(t, left, what)
		}
		recovers(t, run, fsys, committed, err, what)
		return fired
	})
}

// sweep calls run with the numbers of operations, some left out unless XENBACKUP_SWEEP
// is set, until it reports that nothing fired.
func sweep(t *testing.T, run func(n int) (fired bool)) {
	t.Helper()
	n, stride := 1+sweepStride/10, sweepStride // the first ones take the lock
	if os.Getenv("XENBACKUP_SWEEP") != "" {
		n, stride = 1, 1
	}
	for ; run(n); n += stride {
		require.Less(t, n, 2000)
	}
	t.Logf("%d operations", n-1)
	require.Greater(t, n, 5)
}

// recovers checks what is left on fsys, lets the next session run and checks
// what that made of it.
func recovers(t *testing.T, m *machine, fsys *remotetest.Crash, committed bool, err error, what string) {
	t.Helper()
	ctx := t.Context()
	unlocked(fsys)
	got, checkErr := m.check(ctx, fsys)
	require.NoError(t, checkErr, what)
	required := dates(1, 2, 3)
	if committed {
		required = dates(3, 4)
	}
	require.True(t, err != nil || committed, what)
	checkCache(t, fsys)
	for _, date := range required {
		require.Contains(t, got, date, what)
	}

	_, err = m.backup(ctx, fsys, 2)
	require.NoError(t, err, "the session after: %s", what)
	again, err := m.check(ctx, fsys)
	require.NoError(t, err, "after the session after: %s", what)
	require.Len(t, again, 2, what)
	require.True(t, checkCache(t, fsys), what)
	require.Equal(t, dates(m.now)[0], again[1], what)
	left, err := leavings(ctx, fsys)
	require.NoError(t, err, what)
	require.Empty(t, left, what)
	require.Len(t, disksOf(ctx, t, fsys), 4, what)
}

func disksOf(ctx context.Context, t *testing.T, fsys remote.Filesystem) []string {
	t.Helper()
	var names []string
	require.NoError(t, walk(ctx, fsys, testVMDir, func(name string) { names = append(names, name) }))
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, ".vhd") })
}
