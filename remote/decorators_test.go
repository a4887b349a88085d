package remote_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

func TestEveryDecoratorPassesTheSuite(t *testing.T) {
	disk, err := local.Open(t.TempDir(), nil)
	require.NoError(t, err)
	defer disk.Close()
	require.NoError(t, disk.Mkdir(t.Context(), "below"))
	sub, err := remote.Sub(disk, "below")
	require.NoError(t, err)
	var log bytes.Buffer
	for name, fsys := range map[string]remote.Filesystem{
		"sub":                               sub,
		"limit":                             remote.Limit(disk, remote.Limits{ReadBytesPerSecond: 1 << 40, WriteBytesPerSecond: 1 << 40, Parallel: 2}),
		"retry":                             remote.Retry(remotetest.NewCrash(), nil),
		"logging":                           remote.Logging(remotetest.NewCrash(), slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))),
		"all over what has no capabilities": remote.Retry(remote.Limit(struct{ remote.Filesystem }{remotetest.NewCrash()}, remote.Limits{Parallel: 1}), nil),
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, remotetest.Test(t.Context(), fsys))
		})
	}
	require.Contains(t, log.String(), "op=rename")
}

func TestSubNamesWhatItWasAskedFor(t *testing.T) {
	crash := remotetest.NewCrash()
	require.NoError(t, crash.Mkdir(t.Context(), "dir"))
	sub, err := remote.Sub(crash, "dir")
	require.NoError(t, err)
	_, err = sub.Stat(t.Context(), "none/x")
	require.EqualError(t, err, "stat none/x: file does not exist")
	require.EqualError(t, sub.Rename(t.Context(), "a", "b"), "rename a: file does not exist")
	require.ErrorIs(t, remote.WriteFile(t.Context(), sub, "../out", nil), fs.ErrInvalid)
	require.ErrorIs(t, remote.RemoveAll(t.Context(), sub, "."), fs.ErrInvalid)
	_, err = remote.Sub(crash, "../x")
	require.ErrorIs(t, err, fs.ErrInvalid)
}

func TestReadOnlyChangesNothingAndHidesWhatCould(t *testing.T) {
	crash := remotetest.NewCrash()
	require.NoError(t, remote.WriteFile(t.Context(), crash, "f", []byte("x")))
	trace := remotetest.NewTrace(crash)
	ro := remote.ReadOnly(trace)
	require.True(t, ro.Properties().ReadOnly)
	for name, offered := range map[string]bool{
		"TreeRemover": offers[remote.TreeRemover](ro), "Locker": offers[remote.Locker](ro), "Toucher": offers[remote.Toucher](ro),
		"NoReplacer": offers[remote.NoReplacer](ro), "DirSyncer": offers[remote.DirSyncer](ro),
	} {
		require.False(t, offered, name)
	}
	_, err := ro.OpenFile(t.Context(), "f", os.O_RDWR)
	require.ErrorIs(t, err, fs.ErrPermission)
	require.ErrorIs(t, remote.WriteFile(t.Context(), ro, "f", nil), fs.ErrPermission)
	require.ErrorIs(t, remote.MkdirAll(t.Context(), ro, "a/b"), fs.ErrPermission)
	require.ErrorIs(t, remote.RemoveAll(t.Context(), ro, "f"), fs.ErrPermission)
	require.ErrorIs(t, ro.Rename(t.Context(), "f", "g"), fs.ErrPermission)
	require.ErrorIs(t, ro.Rename(t.Context(), "f", "../g"), fs.ErrInvalid)
	_, err = remote.AcquireLock(t.Context(), ro, "f", nil)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	f, err := ro.OpenFile(t.Context(), "f", os.O_RDONLY)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("y"), 0)
	require.ErrorIs(t, err, fs.ErrPermission)
	require.ErrorIs(t, f.Truncate(0), fs.ErrPermission)
	require.NoError(t, f.Close())
	require.Empty(t, trace.Lines())
	got, err := remote.ReadFile(t.Context(), ro, "f", 10)
	require.NoError(t, err)
	require.Equal(t, "x", string(got))
}

func offers[T any](fsys remote.Filesystem) bool {
	_, ok := remote.As[T](fsys)
	return ok
}

func TestLimitKeepsToItsRateAndEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const mib = 1 << 20
		fsys := remote.Limit(remotetest.NewCrash(), remote.Limits{ReadBytesPerSecond: 2 * mib, WriteBytesPerSecond: mib})
		start := time.Now()
		require.NoError(t, remote.WriteFile(t.Context(), fsys, "f", make([]byte, 10*mib)))
		require.InDelta(t, 10, time.Since(start).Seconds(), 0.5)
		start = time.Now()
		_, err := remote.ReadFile(t.Context(), fsys, "f", 10*mib)
		require.NoError(t, err)
		require.InDelta(t, 5, time.Since(start).Seconds(), 0.5)

		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		start = time.Now()
		require.ErrorIs(t, remote.WriteFile(ctx, fsys, "g", make([]byte, 100*mib)), context.DeadlineExceeded)
		require.Equal(t, 2*time.Second, time.Since(start))
	})
}

func TestALockIsRefreshedWhileAllThatLimitAllowsIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		crash := lockedTree(t)
		busy := &busyFS{Filesystem: crash, gate: make(chan struct{})}
		close(busy.gate)
		fsys := remote.Limit(touchable{busy, crash}, remote.Limits{Parallel: 1})
		lock, err := remote.AcquireLock(t.Context(), fsys, "vm", nil)
		require.NoError(t, err)
		busy.gate = make(chan struct{})
		done := make(chan error)
		go func() { done <- remote.WriteFile(t.Context(), fsys, "f", make([]byte, 10)) }()
		<-time.After(time.Minute)
		require.NoError(t, lock.Check(t.Context()))
		close(busy.gate)
		require.NoError(t, <-done)
		require.NoError(t, lock.Release(t.Context()))
	})
}

// touchable is a Filesystem with locks.
type touchable struct {
	remote.Filesystem
	remote.Toucher
}

func TestLimitBoundsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := &busyFS{Filesystem: remotetest.NewCrash(), gate: make(chan struct{})}
		fsys := remote.Limit(deep{Filesystem: busy, depth: 8, size: 10}, remote.Limits{Parallel: 2})
		done := make(chan error)
		go func() { done <- remote.WriteFile(t.Context(), fsys, "f", make([]byte, 100)) }()
		synctest.Wait()
		require.Equal(t, int64(2), busy.now.Load())
		close(busy.gate)
		require.NoError(t, <-done)
		require.Equal(t, int64(2), busy.most.Load())
	})
}

func TestRetryGetsOverWhatPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for n := 1; ; n++ {
			crash := remotetest.NewCrash()
			faulty := remotetest.NewFaulty(crash)
			fsys := remote.Retry(faulty, nil)
			faulty.FailAt(n, syscall.ECONNRESET,
				remotetest.Stat, remotetest.Open, remotetest.Create, remotetest.Write, remotetest.Mkdir, remotetest.Rename, remotetest.SyncDir, remotetest.Remove)
			require.NoError(t, remote.MkdirAll(t.Context(), fsys, "a/b"))
			require.NoError(t, remote.WriteFile(t.Context(), fsys, "a/b/f", []byte("x")))
			require.NoError(t, fsys.Remove(t.Context(), "a/b/f"))
			if faulty.Fired() == 0 {
				break
			}
		}
	})
}

// late does what it is asked to, and loses the answer of the first time.
type late struct {
	remote.Filesystem
	lost atomic.Bool
}

func (l *late) answer(err error) error {
	if err == nil && l.lost.CompareAndSwap(false, true) {
		return remote.PathError("lost", "answer", syscall.ECONNRESET)
	}
	return err
}

func (l *late) Mkdir(ctx context.Context, name string) error {
	return l.answer(l.Filesystem.Mkdir(ctx, name))
}

func (l *late) Remove(ctx context.Context, name string) error {
	return l.answer(l.Filesystem.Remove(ctx, name))
}

func (l *late) Rename(ctx context.Context, oldname, newname string) error {
	return l.answer(l.Filesystem.Rename(ctx, oldname, newname))
}

func TestRetryKnowsThatALostAnswerMayHaveBeenYes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		for what, do := range map[string]func(fsys remote.Filesystem) error{
			"rename": func(fsys remote.Filesystem) error { return fsys.Rename(ctx, "f", "g") },
			"remove": func(fsys remote.Filesystem) error { return fsys.Remove(ctx, "f") },
		} {
			crash := remotetest.NewCrash()
			require.NoError(t, remote.WriteFile(ctx, crash, "f", []byte("x")))
			fsys := remote.Retry(&late{Filesystem: crash}, nil)
			require.NoError(t, do(fsys), what)
			require.ErrorIs(t, do(fsys), fs.ErrNotExist, "%s: without a lost answer", what)
		}
		fsys := remote.Retry(&late{Filesystem: remotetest.NewCrash()}, nil)
		require.ErrorIs(t, fsys.Mkdir(ctx, "d"), fs.ErrExist, "nobody has won")
	})
}

func TestRetryGivesUpInTheEndAndNeverRepeatsASync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faulty := remotetest.NewFaulty(remotetest.NewCrash())
		var log bytes.Buffer
		fsys := remote.Retry(faulty, &remote.RetryOptions{Attempts: 4, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		faulty.FailFrom(1, syscall.ECONNRESET, remotetest.Stat)
		_, err := fsys.Stat(t.Context(), "f")
		require.ErrorIs(t, err, remote.ErrUnavailable)
		require.Equal(t, 4, faulty.Fired())
		require.Contains(t, log.String(), "attempt=3")

		faulty.FailAt(1, syscall.ECONNRESET, remotetest.Sync)
		require.ErrorIs(t, remote.WriteFile(t.Context(), fsys, "f", []byte("x")), remote.ErrUnavailable)
		require.Equal(t, 1, faulty.Count(remotetest.Sync))

		faulty.FailFrom(1, syscall.EIO, remotetest.Stat)
		_, err = fsys.Stat(t.Context(), "f")
		require.ErrorIs(t, err, syscall.EIO)
		require.Equal(t, 1, faulty.Fired(), "an error that does not pass")
	})
}
