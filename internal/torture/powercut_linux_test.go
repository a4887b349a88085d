package torture_test

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// cutsVar is how many power cuts each file system gets.
const cutsVar = "XENBACKUP_CUTS"

func TestPowerCutOnExt4LosesNoCommittedPoint(t *testing.T) { cutPower(t, "ext4") }

func TestPowerCutOnXFSLosesNoCommittedPoint(t *testing.T) { cutPower(t, "xfs") }

// At some change of a backup, or of the retention or the merges after it, the power goes.
// Every point that was acknowledged before that reads to its content afterwards, and the
// next backup goes on.
func cutPower(t *testing.T, kind string) {
	t.Helper()
	t.Parallel()
	if !testenv.Alone(t) {
		return
	}
	disk := testenv.NewLoopDisk(t, kind)
	seed := seeded(t)
	random := rand.New(rand.NewPCG(seed, 4))
	formats := []catalog.DiskFormat{catalog.FormatFile, catalog.FormatPlain}
	cuts, done, acknowledged := number(t, cutsVar, 2), 0, 0
	worlds := make([]*ledger, len(formats))
	generations := make([]int, len(formats))
	for i, format := range formats {
		worlds[i] = newLedger(guest{Seed: seed + uint64(i), Disks: 2, Blocks: 2, Keep: 2, Format: format})
	}
	for round := 0; done < cuts; round++ {
		i := round % len(formats)
		books := worlds[i]
		disk.Mount(t)
		dir := filepath.Join(disk.Dir, string(formats[i]))
		generations[i]++
		answered, cut := cutBackup(t, disk, dir, books.guest, generations[i], random.IntN(160)+1, generations[i] > 3)
		if answered {
			acknowledged++
			books.owe(generations[i])
		}
		if cut {
			done++
		}
		disk.Unmount(t)
		disk.Mount(t)
		folder, err := local.Open(dir, &local.Options{Create: true})
		require.NoError(t, err)
		unlock(t, dir, guestVM) // whoever starts again waits until it counts as abandoned
		_, err = books.audit(t.Context(), folder)
		require.NoError(t, err, "round %d, %s on %s", round, formats[i], kind)
		require.NoError(t, folder.Close())
		disk.Unmount(t)
	}
	disk.Mount(t)
	defer disk.Unmount(t)
	for i, books := range worlds {
		finish(t, filepath.Join(disk.Dir, string(formats[i])), books, generations[i])
	}
	t.Logf("%d power cuts; %d points were acknowledged before theirs, or had none", done, acknowledged)
}

// cutBackup makes one backup, in which the power goes before the nth change, if it may go.
// answered tells that the point was acknowledged before that.
func cutBackup(t *testing.T, disk *testenv.LoopDisk, dir string, g guest, generation, n int, may bool) (answered, cut bool) {
	t.Helper()
	folder, err := local.Open(dir, &local.Options{Create: true})
	require.NoError(t, err)
	defer folder.Close()
	faulty := remotetest.NewFaulty(folder)
	var dark atomic.Bool
	var cutErr error
	if may {
		faulty.CallAt(n, func() {
			dark.Store(true)
			cutErr = disk.Cut()
		}, remotetest.Mutating()...)
	}
	err = g.backup(context.WithoutCancel(t.Context()), faulty, generation, func() { answered = !dark.Load() })
	require.NoError(t, cutErr)
	if !dark.Load() {
		require.NoError(t, err)
	}
	return answered, dark.Load()
}

// finish makes two more backups without any trouble, which leave nothing behind.
func finish(t *testing.T, dir string, books *ledger, generation int) {
	t.Helper()
	folder, err := local.Open(dir, nil)
	require.NoError(t, err)
	defer folder.Close()
	for range 2 {
		generation++
		require.NoError(t, books.guest.backup(t.Context(), folder, generation, func() { books.owe(generation) }))
	}
	listed, err := books.audit(t.Context(), folder)
	require.NoError(t, err)
	require.Equal(t, []int{generation - 1, generation}, listed)
	left, err := leavings(t.Context(), folder, guestVM, "")
	require.NoError(t, err)
	require.Empty(t, left)
}
