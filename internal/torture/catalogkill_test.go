package torture_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote/catalog"
)

// killAfter kills a child after a while; false when it had come to its end before.
func killAfter(t *testing.T, c *child, after time.Duration) bool {
	t.Helper()
	require.NoError(t, c.Start())
	timer := time.AfterFunc(after, func() { _ = c.Process.Kill() })
	defer timer.Stop()
	return !c.end(t)
}

// A process backs up, expires and merges three disks of 8 MiB, and is killed at any
// moment; the next one goes on where it stopped.
func TestKillOfABackupLosesNoCommittedPoint(t *testing.T) {
	for _, format := range []catalog.DiskFormat{catalog.FormatFile, catalog.FormatPlain} {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			seed := seeded(t)
			killLoop(t, guest{Seed: seed, Disks: 3, Blocks: 4, Keep: 2, Format: format, Rivals: true}, number(t, killsVar, 2))
		})
	}
}

func killLoop(t *testing.T, g guest, kills int) {
	t.Helper()
	ctx := t.Context()
	random := rand.New(rand.NewPCG(g.Seed, 0))
	o := orders{Task: "backup", Dir: scratch(t), Guest: g}
	folder, books := openFolder(t, o.Dir), newLedger(g)

	var whole time.Duration // of the longest run that was let through
	// next lets another child run, for so long at most, and checks the repository then.
	next := func(patience time.Duration) (killed bool) {
		o.Generation++
		start, c := time.Now(), newChild(t, &o)
		if patience > 0 {
			killed = killAfter(t, c, patience)
		} else {
			require.True(t, c.run(t))
			whole = max(whole, time.Since(start))
		}
		if c.said(committed) {
			books.owe(o.Generation)
		}
		_, err := books.audit(ctx, folder)
		require.NoError(t, err, "generation %d, kill: %v", o.Generation, killed)
		return killed
	}
	for range 3 {
		next(0)
	}
	for killed := 0; killed < kills; {
		if next(1 + time.Duration(random.Int64N(int64(whole)))) {
			killed++
		}
	}
	for range 2 { // two runs that come to an end leave nothing behind
		next(0)
	}
	listed, err := books.audit(ctx, folder)
	require.NoError(t, err)
	require.Equal(t, []int{o.Generation - 1, o.Generation}, listed)
	left, err := leavings(ctx, folder, guestVM, "")
	require.NoError(t, err)
	require.Empty(t, left)
	t.Logf("%d kills in %d generations", kills, o.Generation)
}
