package remote_test

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

const lockDir = "vm.lock"

func lockedTree(t *testing.T) *remotetest.Crash {
	t.Helper()
	fsys := remotetest.NewCrash()
	require.NoError(t, fsys.Mkdir(t.Context(), "vm"))
	return fsys
}

func TestLockIsTheDirectoryOfXenOrchestraAndIsRefreshedEveryFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := lockedTree(t)
		trace := remotetest.NewTrace(fsys)
		lock, err := remote.AcquireLock(t.Context(), trace, "vm", nil)
		require.NoError(t, err)
		trace.Reset()
		<-time.After(21 * time.Second)
		require.Equal(t, "touch vm.lock\ntouch vm.lock\ntouch vm.lock\ntouch vm.lock\n", trace.String())
		info, err := fsys.Stat(t.Context(), lockDir)
		require.NoError(t, err)
		require.Less(t, time.Since(info.ModTime()), 10*time.Second, "Xen Orchestra would break it")
		entries, err := fsys.ReadDir(t.Context(), lockDir)
		require.NoError(t, err)
		require.Empty(t, entries, "Xen Orchestra removes it with rmdir")
		require.NoError(t, lock.Check(t.Context()))
		require.NoError(t, lock.Release(t.Context()))
		_, err = fsys.Stat(t.Context(), lockDir)
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.ErrorIs(t, lock.Err(), remote.ErrLockLost, "nothing may be changed after Release")
	})
}

func TestALivingHolderIsLockedAsSoonAsThatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := lockedTree(t)
		lock, err := remote.AcquireLock(t.Context(), fsys, "vm", nil)
		require.NoError(t, err)
		defer func() { require.NoError(t, lock.Release(t.Context())) }()
		for _, c := range []struct{ wait, atLeast, atMost time.Duration }{
			{-1, 0, 0}, {0, 0, 6 * time.Second}, {time.Minute, time.Minute, 61 * time.Second},
		} {
			start := time.Now()
			_, err := remote.AcquireLock(t.Context(), fsys, "vm", &remote.LockOptions{Wait: c.wait})
			require.ErrorIs(t, err, remote.ErrLocked)
			require.GreaterOrEqual(t, time.Since(start), c.atLeast)
			require.LessOrEqual(t, time.Since(start), c.atMost)
		}
		require.NoError(t, lock.Check(t.Context()))
	})
}

func TestWaitingEndsWhenTheHolderReleases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := lockedTree(t)
		first, err := remote.AcquireLock(t.Context(), fsys, "vm", nil)
		require.NoError(t, err)
		var wg sync.WaitGroup
		wg.Go(func() {
			<-time.After(20 * time.Second)
			_ = first.Release(t.Context())
		})
		second, err := remote.AcquireLock(t.Context(), fsys, "vm", &remote.LockOptions{Wait: time.Minute})
		require.NoError(t, err)
		require.False(t, second.HolderMayReturn(), "it gave the lock up")
		require.NoError(t, second.Release(t.Context()))
		wg.Wait()
	})
}

// What Xen Orchestra leaves when it is killed: a directory that nobody touches,
// with a time that our clock may call future or past.
func TestAnAbandonedLockIsTakenOverAfterTenSecondsWhateverItsTimeSays(t *testing.T) {
	for _, skew := range []time.Duration{-time.Hour, 0, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			fsys := lockedTree(t)
			require.NoError(t, fsys.Mkdir(t.Context(), lockDir))
			require.NoError(t, fsys.Touch(t.Context(), lockDir, time.Now().Add(skew)))
			start := time.Now()
			lock, err := remote.AcquireLock(t.Context(), fsys, "vm", nil)
			require.NoError(t, err)
			require.Greater(t, time.Since(start), 10*time.Second)
			require.Less(t, time.Since(start), 12*time.Second)
			require.True(t, lock.HolderMayReturn())
			requireNoTemp(t, fsys)
			require.NoError(t, lock.Release(t.Context()))
		})
	}
}

func TestOfManyWhoTakeAnAbandonedLockOverOneHoldsItAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := lockedTree(t)
		require.NoError(t, fsys.Mkdir(t.Context(), lockDir))
		var holders, held atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				lock, err := remote.AcquireLock(t.Context(), fsys, "vm", &remote.LockOptions{Wait: time.Hour})
				if err != nil {
					t.Error(err)
					return
				}
				if lock.Check(t.Context()) == nil {
					held.Add(1)
					if holders.Add(1) > 1 {
						t.Error("two hold the lock")
					}
					<-time.After(12 * time.Second)
					holders.Add(-1)
				}
				_ = lock.Release(t.Context())
			})
		}
		wg.Wait()
		require.Positive(t, held.Load())
	})
}

func TestALockThatSomebodyRemovesOrTakesIsLostAndLeftAlone(t *testing.T) {
	for what, steal := range map[string]func(*testing.T, *remotetest.Crash){
		"removed": func(t *testing.T, fsys *remotetest.Crash) {
			t.Helper()
			require.NoError(t, fsys.Remove(t.Context(), lockDir))
		},
		"made anew": func(t *testing.T, fsys *remotetest.Crash) {
			t.Helper()
			require.NoError(t, fsys.Remove(t.Context(), lockDir))
			require.NoError(t, fsys.Mkdir(t.Context(), lockDir))
		},
		"touched": func(t *testing.T, fsys *remotetest.Crash) {
			t.Helper()
			require.NoError(t, fsys.Touch(t.Context(), lockDir, time.Now()))
		},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fsys := lockedTree(t)
				lock, err := remote.AcquireLock(t.Context(), fsys, "vm", nil)
				require.NoError(t, err)
				steal(t, fsys)
				require.NoError(t, lock.Err(), "nobody has looked yet")
				require.ErrorIs(t, lock.Check(t.Context()), remote.ErrLockLost)
				require.ErrorIs(t, lock.Err(), remote.ErrLockLost)
				<-lock.Lost()
				before, _ := fsys.Stat(t.Context(), lockDir)
				require.ErrorIs(t, lock.Release(t.Context()), remote.ErrLockLost)
				after, _ := fsys.Stat(t.Context(), lockDir)
				require.Equal(t, before, after)
			})
		})
	}
}

func TestLostIsClosedByTheNextRefreshWithoutAnybodyAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := lockedTree(t)
		lock, err := remote.AcquireLock(t.Context(), fsys, "vm", nil)
		require.NoError(t, err)
		require.NoError(t, fsys.Remove(t.Context(), lockDir))
		start := time.Now()
		<-lock.Lost()
		require.LessOrEqual(t, time.Since(start), 5*time.Second)
		require.Error(t, lock.Release(t.Context()))
	})
}

func TestAHolderThatCannotRefreshStopsBeforeOthersMayTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := lockedTree(t)
		faulty := remotetest.NewFaulty(fsys)
		lock, err := remote.AcquireLock(t.Context(), faulty, "vm", nil)
		require.NoError(t, err)
		start := time.Now()
		faulty.FailFrom(1, syscall.EIO)
		<-lock.Lost()
		require.LessOrEqual(t, time.Since(start), 8*time.Second)
		require.ErrorIs(t, lock.Err(), remote.ErrLockLost)
		faulty.Heal()
		require.ErrorIs(t, lock.Release(t.Context()), remote.ErrLockLost)
		_, err = fsys.Stat(t.Context(), lockDir)
		require.ErrorIs(t, err, fs.ErrNotExist, "nobody had taken it: it was still ours to remove")
	})
}

func TestARefreshThatFailsOnceIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faulty := remotetest.NewFaulty(lockedTree(t))
		lock, err := remote.AcquireLock(t.Context(), faulty, "vm", nil)
		require.NoError(t, err)
		faulty.FailAt(1, syscall.EIO, remotetest.Touch)
		<-time.After(time.Minute)
		require.Equal(t, 1, faulty.Fired())
		require.NoError(t, lock.Check(t.Context()))
		require.NoError(t, lock.Release(t.Context()))
	})
}

func TestAcquiringThatFailsAnywhereLeavesNoLockThatIsRefreshed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for n := 1; ; n++ {
			fsys := lockedTree(t)
			faulty := remotetest.NewFaulty(fsys)
			faulty.FailAt(n, syscall.EIO)
			lock, err := remote.AcquireLock(t.Context(), faulty, "vm", nil)
			fired := faulty.Fired()
			faulty.Heal()
			if err == nil {
				require.NoError(t, lock.Release(t.Context()), "operation %d", n)
			}
			_, err = fsys.Stat(t.Context(), lockDir)
			require.ErrorIs(t, err, fs.ErrNotExist, "operation %d", n)
			if fired == 0 {
				return
			}
		}
	})
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := lockedTree(t)
		require.NoError(t, fsys.Mkdir(t.Context(), lockDir))
		cause := errors.New("shutting down")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 2*time.Second, cause)
		defer cancel()
		_, err := remote.AcquireLock(ctx, fsys, "vm", nil)
		require.ErrorIs(t, err, cause)
	})
}

func TestALockNeedsModificationTimes(t *testing.T) {
	plain := struct{ remote.Filesystem }{lockedTree(t)}
	_, err := remote.AcquireLock(t.Context(), plain, "vm", nil)
	require.ErrorIs(t, err, errors.ErrUnsupported)
}

// rivals is a storage on which something happens between our last look at a lock
// and our rename of it.
type rivals struct {
	*remotetest.Crash
	once    sync.Once
	before  func()
	between func() // the rename and putting back what was fresh, if not nil
}

func (r *rivals) Rename(ctx context.Context, oldname, newname string) error {
	r.once.Do(r.before)
	return r.Crash.Rename(ctx, oldname, newname)
}

func (r *rivals) RenameNoReplace(ctx context.Context, oldname, newname string) error {
	if between := r.between; between != nil {
		r.between = nil
		between()
	}
	return r.Crash.RenameNoReplace(ctx, oldname, newname)
}

func TestATakeOverThatCaughtAFreshLockPutsItBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		crash := lockedTree(t)
		require.NoError(t, crash.Mkdir(t.Context(), lockDir))
		var rival *remote.Lock
		fsys := &rivals{Crash: crash, before: func() {
			require.NoError(t, crash.Remove(t.Context(), lockDir))
			var err error
			rival, err = remote.AcquireLock(t.Context(), crash, "vm", nil)
			require.NoError(t, err)
		}}
		_, err := remote.AcquireLock(t.Context(), fsys, "vm", nil)
		require.ErrorIs(t, err, remote.ErrLocked)
		require.NoError(t, rival.Check(t.Context()))
		requireNoTemp(t, crash)
		require.NoError(t, rival.Release(t.Context()))
	})
}

// One is killed in each step of taking an abandoned lock over; the next one who
// locks finds the lock free soon, and leaves nothing of it.
func TestATakeOverThatIsKilledLeavesNothingForLong(t *testing.T) {
	for n := 1; ; n++ {
		var fired bool
		synctest.Test(t, func(t *testing.T) {
			crash := lockedTree(t)
			require.NoError(t, crash.Mkdir(t.Context(), lockDir))
			faulty := remotetest.NewFaulty(crash)
			faulty.FailFrom(n, syscall.EIO, remotetest.Mutating()...)
			if lock, err := remote.AcquireLock(t.Context(), faulty, "vm", nil); err == nil {
				_ = lock.Release(t.Context()) // to end its goroutine
			}
			fired = faulty.Fired() > 0
			lock, err := remote.AcquireLock(t.Context(), crash, "vm", nil)
			require.NoError(t, err, "step %d", n)
			require.NoError(t, lock.Release(t.Context()))
			entries, err := crash.ReadDir(t.Context(), ".xenbackup/locks")
			require.NoError(t, err)
			for _, e := range entries {
				require.False(t, remote.IsTemp(e.Name()), "step %d: %s", n, e.Name())
			}
			requireNoTemp(t, crash)
		})
		if !fired {
			require.Greater(t, n, 5)
			break
		}
	}
}

func TestTheRecordOfAHolderKilledWhileWritingItIsRemoved(t *testing.T) {
	ctx, fsys := t.Context(), remotetest.NewCrash()
	require.NoError(t, remote.MkdirAll(ctx, fsys, ".xenbackup/locks"))
	const token = ".00112233445566ff.tmp"
	for _, name := range []string{".vm.json" + token, ".other.json" + token} {
		f, err := fsys.OpenFile(ctx, ".xenbackup/locks/"+name, remotetest.CreateNew)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	require.NoError(t, fsys.Mkdir(ctx, "vm"))
	lock, err := remote.AcquireLock(ctx, fsys, "vm", nil)
	require.NoError(t, err)
	require.NoError(t, lock.Release(ctx))
	entries, err := fsys.ReadDir(ctx, ".xenbackup/locks")
	require.NoError(t, err)
	require.Len(t, entries, 1, "that of another lock may be in use")
	require.Equal(t, ".other.json"+token, entries[0].Name())
}
