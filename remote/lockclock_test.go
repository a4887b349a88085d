package remote_test

import (
	"context"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// stuck is a storage whose Stat, while told to, returns when it likes and not when
// its context ends, as system calls on a dead mount do, and then tells what was.
type stuck struct {
	*remotetest.Crash

	mu     sync.Mutex
	freeze func()
}

func (s *stuck) set(freeze func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.freeze = freeze
}

func (s *stuck) Stat(ctx context.Context, name string) (fs.FileInfo, error) {
	info, err := s.Crash.Stat(context.WithoutCancel(ctx), name)
	s.mu.Lock()
	freeze := s.freeze
	s.mu.Unlock()
	if freeze != nil {
		freeze()
	}
	return info, err
}

func (s *stuck) Touch(ctx context.Context, name string, mtime time.Time) error {
	return s.Crash.Touch(context.WithoutCancel(ctx), name, mtime)
}

func TestLostIsClosedInTimeByAStorageThatDoesNotReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := &stuck{Crash: lockedTree(t)}
		lock, err := remote.AcquireLock(t.Context(), fsys, "vm", nil)
		require.NoError(t, err)
		start, thaw := time.Now(), make(chan struct{})
		fsys.set(func() { <-thaw })
		<-lock.Lost()
		require.LessOrEqual(t, time.Since(start), 8*time.Second)
		close(thaw)
		require.ErrorIs(t, lock.Release(t.Context()), remote.ErrLockLost)
	})
}

// A holder whose look at its lock took so long that another one may have held it
// since, and written, does not get it back by the refresh that follows.
func TestALockThatWasLostForAWhileStaysLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := &stuck{Crash: lockedTree(t)}
		lock, err := remote.AcquireLock(t.Context(), fsys, "vm", nil)
		require.NoError(t, err)
		fsys.set(func() {
			<-time.After(20 * time.Second)
			fsys.set(nil) // for those that come
		})
		<-time.After(30 * time.Second)
		require.ErrorIs(t, lock.Err(), remote.ErrLockLost)
		require.ErrorIs(t, lock.Release(t.Context()), remote.ErrLockLost)
	})
}

func TestALockWithALongNameIsTakenOverToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		crash := remotetest.NewCrash()
		name := strings.Repeat("д", 100) // 200 bytes, and 600 when escaped
		require.NoError(t, crash.Mkdir(t.Context(), name))
		fsys := &short{crash}
		require.NoError(t, fsys.Mkdir(t.Context(), name+".lock"))
		lock, err := remote.AcquireLock(t.Context(), fsys, name, nil)
		require.NoError(t, err)
		require.NoError(t, lock.Release(t.Context()))
	})
}

// short has names of up to 255 bytes, as storage has.
type short struct{ *remotetest.Crash }

func (s *short) Rename(ctx context.Context, oldname, newname string) error {
	for element := range strings.SplitSeq(newname, "/") {
		if len(element) > 255 {
			return &fs.PathError{Op: "rename", Path: newname, Err: fs.ErrInvalid}
		}
	}
	return s.Crash.Rename(ctx, oldname, newname)
}

// While one puts back a fresh lock that it caught by mistake, a third one has made
// its own and removed what lay aside.
func TestATakeOverThatComesLateGoesOnWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		crash := lockedTree(t)
		require.NoError(t, crash.Mkdir(t.Context(), lockDir))
		var third *remote.Lock
		fsys := &rivals{Crash: crash, before: func() {
			require.NoError(t, crash.Remove(t.Context(), lockDir))
			require.NoError(t, crash.Mkdir(t.Context(), lockDir))
			require.NoError(t, crash.Touch(t.Context(), lockDir, time.Now()))
		}, between: func() {
			var err error
			third, err = remote.AcquireLock(t.Context(), crash, "vm", nil)
			require.NoError(t, err)
		}}
		_, err := remote.AcquireLock(t.Context(), fsys, "vm", nil)
		require.ErrorIs(t, err, remote.ErrLocked)
		require.NoError(t, third.Check(t.Context()))
		require.NoError(t, third.Release(t.Context()))
		requireNoTemp(t, crash)
	})
}
