package remote_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

func TestAPipelinedFileIsTheSameAsOneWrittenInOrder(t *testing.T) {
	crash := remotetest.NewCrash()
	for _, size := range []int{0, 1, 99, 100, 101, 400, 12345} {
		fsys := deep{Filesystem: crash, depth: 4, size: 100, syncEvery: 1000}
		want := content(size)
		w, err := remote.Create(t.Context(), fsys, "f")
		require.NoError(t, err)
		half := size / 2
		for piece := range bytes.SplitAfterSeq(want[:half], []byte{7}) {
			_, err := w.Write(piece)
			require.NoError(t, err)
		}
		n, err := w.ReadFrom(bytes.NewReader(want[half:]))
		require.NoError(t, err)
		require.Equal(t, int64(size-half), n)
		require.Equal(t, int64(size), w.Size())
		require.NoError(t, w.Commit())
		require.NoError(t, remote.WriteFile(t.Context(), fsys, "g", want))
		for _, name := range []string{"f", "g"} {
			got, err := remote.ReadFile(t.Context(), fsys, name, 1<<20)
			require.NoError(t, err)
			require.Equal(t, string(want), string(got))
		}
	}
}

// busy counts the writes under way.
type busy struct {
	remote.File
	now, most *atomic.Int64
	gate      chan struct{}
}

func (b busy) WriteAt(p []byte, off int64) (int, error) {
	n := b.now.Add(1)
	for most := b.most.Load(); n > most && !b.most.CompareAndSwap(most, n); most = b.most.Load() {
	}
	<-b.gate
	defer b.now.Add(-1)
	return b.File.WriteAt(p, off)
}

type busyFS struct {
	remote.Filesystem
	now, most atomic.Int64
	gate      chan struct{}
}

func (b *busyFS) OpenFile(ctx context.Context, name string, flag int) (remote.File, error) {
	f, err := b.Filesystem.OpenFile(ctx, name, flag)
	return busy{File: f, now: &b.now, most: &b.most, gate: b.gate}, err
}

func TestAsManyWritesAreUnderWayAsTheStorageLikes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := &busyFS{Filesystem: remotetest.NewCrash(), gate: make(chan struct{})}
		w, err := remote.Create(t.Context(), deep{Filesystem: fsys, depth: 3, size: 10}, "f")
		require.NoError(t, err)
		done := make(chan error)
		go func() {
			_, err := w.Write(make([]byte, 200))
			done <- errors.Join(err, w.Commit())
		}()
		synctest.Wait()
		require.Equal(t, int64(3), fsys.now.Load())
		close(fsys.gate)
		require.NoError(t, <-done)
		require.Equal(t, int64(3), fsys.most.Load())
	})
}

func TestAbortEndsTheWritesUnderWay(t *testing.T) {
	crash := remotetest.NewCrash()
	ended, cancel := context.WithCancel(t.Context())
	w, err := remote.Create(ended, deep{Filesystem: crash, depth: 4, size: 10}, "f")
	require.NoError(t, err)
	_, err = w.Write(make([]byte, 100))
	require.NoError(t, err)
	cancel()
	require.NoError(t, w.Abort())
	requireNoTemp(t, crash)
}

func TestLongFilesAreSyncedNowAndThenWhereTheStorageAsksForIt(t *testing.T) {
	for _, depth := range []int{1, 4} {
		trace := remotetest.NewTrace(remotetest.NewCrash())
		w, err := remote.Create(t.Context(), deep{Filesystem: trace, depth: depth, size: 10, syncEvery: 40}, "f")
		require.NoError(t, err)
		for range 10 {
			_, err := w.Write(make([]byte, 10))
			require.NoError(t, err)
		}
		require.NoError(t, w.Commit())
		require.Equal(t, 3, strings.Count(trace.String(), "\nsync "), trace)
	}
}

func TestAPipelinedFileThatFailsAnywhereIsNotPublished(t *testing.T) {
	want := content(1050)
	for _, fault := range []error{syscall.EIO, syscall.ENOSPC, remote.ErrLost} {
		for n := 1; ; n++ {
			crash := remotetest.NewCrash()
			require.NoError(t, remote.WriteFile(t.Context(), crash, "f", []byte("old")))
			faulty := remotetest.NewFaulty(crash)
			faulty.FailAt(n, fault, remotetest.Create, remotetest.Write, remotetest.Sync, remotetest.Close, remotetest.Rename)
			err := publish(t.Context(), deep{Filesystem: faulty, depth: 4, size: 100, syncEvery: 500}, "f", want, true)
			if faulty.Fired() == 0 {
				require.NoError(t, err)
				require.Greater(t, n, 15)
				break
			}
			require.ErrorIs(t, err, fault)
			got, err := remote.ReadFile(t.Context(), crash, "f", 1<<24)
			require.NoError(t, err)
			require.Equal(t, "old", string(got), "operation %d", n)
			requireNoTemp(t, crash)
		}
	}
}

func TestAPowerCutLosesNothingOfAPipelinedFile(t *testing.T) {
	want := bytes.ReplaceAll(content(1050), []byte("|"), nil)
	for n := 1; ; n++ {
		crash := remotetest.NewCrash()
		faulty := remotetest.NewFaulty(crash)
		faulty.FailFrom(n, syscall.EIO)
		fsys := capable{deep{Filesystem: faulty, depth: 4, size: 100, syncEvery: 500}, faulty}
		err := publish(t.Context(), fsys, "f", want, true)
		for seed := range uint64(10) {
			got, readErr := remote.ReadFile(t.Context(), crash.PowerCut(rand.New(rand.NewPCG(seed, uint64(n)))), "f", 1<<20)
			if err == nil {
				require.NoError(t, readErr)
			}
			if readErr == nil {
				require.True(t, bytes.Equal(want, got), "operation %d, seed %d: torn", n, seed)
			} else {
				require.ErrorIs(t, readErr, os.ErrNotExist)
			}
		}
		if faulty.Fired() == 0 {
			break
		}
	}
}

// capable forwards what commits need.
type capable struct {
	deep
	remote.DirSyncer
}

func TestReadFromReturnsTheErrorOfItsReader(t *testing.T) {
	w, err := remote.Create(t.Context(), remotetest.NewCrash(), "f")
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Abort()) }()
	r, wr := io.Pipe()
	wr.CloseWithError(syscall.ECONNRESET)
	_, err = w.ReadFrom(r)
	require.ErrorIs(t, err, syscall.ECONNRESET)
	n, err := w.Write([]byte("more"))
	require.NoError(t, err)
	require.Equal(t, 4, n)
}

// sloppy writes less than it was asked to, and says so without an error.
type sloppy struct{ remote.Filesystem }

func (s sloppy) OpenFile(ctx context.Context, name string, flag int) (remote.File, error) {
	f, err := s.Filesystem.OpenFile(ctx, name, flag)
	return sloppyFile{f}, err
}

type sloppyFile struct{ remote.File }

func (s sloppyFile) WriteAt(p []byte, off int64) (int, error) {
	return s.File.WriteAt(p[:len(p)/2], off)
}

func TestAWriteThatIsShortIsNoSuccessWhateverItSays(t *testing.T) {
	for _, depth := range []int{1, 4} {
		crash := remotetest.NewCrash()
		fsys := deep{Filesystem: sloppy{crash}, depth: depth, size: 10}
		require.ErrorIs(t, remote.WriteFile(t.Context(), fsys, "f", make([]byte, 100)), io.ErrShortWrite)
		require.ErrorIs(t, publish(t.Context(), fsys, "f", make([]byte, 100), true), io.ErrShortWrite)
		_, err := crash.Stat(t.Context(), "f")
		require.ErrorIs(t, err, os.ErrNotExist)
		requireNoTemp(t, crash)
	}
}
