package remotetest_test

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// broken changes one thing of a Filesystem that works.
type broken struct {
	remote.Filesystem
	readDir func(entries []fs.DirEntry) []fs.DirEntry
	rename  func(ctx context.Context, fsys remote.Filesystem, oldname, newname string) error
	remove  func(err error) error
	mkdir   func(err error) error
	file    func(f remote.File) remote.File
}

func (b broken) ReadDir(ctx context.Context, name string) ([]fs.DirEntry, error) {
	entries, err := b.Filesystem.ReadDir(ctx, name)
	if b.readDir != nil {
		entries = b.readDir(entries)
	}
	return entries, err
}

func (b broken) Rename(ctx context.Context, oldname, newname string) error {
	if b.rename != nil {
		return b.rename(ctx, b.Filesystem, oldname, newname)
	}
	return b.Filesystem.Rename(ctx, oldname, newname)
}

func (b broken) Remove(ctx context.Context, name string) error {
	err := b.Filesystem.Remove(ctx, name)
	if b.remove != nil {
		err = b.remove(err)
	}
	return err
}

func (b broken) Mkdir(ctx context.Context, name string) error {
	err := b.Filesystem.Mkdir(ctx, name)
	if b.mkdir != nil {
		err = b.mkdir(err)
	}
	return err
}

func (b broken) OpenFile(ctx context.Context, name string, flag int) (remote.File, error) {
	f, err := b.Filesystem.OpenFile(ctx, name, flag)
	if err == nil && b.file != nil {
		f = b.file(f)
	}
	return f, err
}

type fileWithout struct {
	remote.File
	eof, truncate bool
}

func (f fileWithout) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	if f.eof {
		err = nil
	}
	return n, err
}

func (f fileWithout) Truncate(size int64) error {
	if f.truncate {
		return nil
	}
	return f.File.Truncate(size)
}

func TestTheSuiteFindsWhatIsBroken(t *testing.T) {
	for what, b := range map[string]broken{
		"a listing that is not sorted": {readDir: func(e []fs.DirEntry) []fs.DirEntry {
			for i, j := 0, len(e)-1; i < j; i, j = i+1, j-1 {
				e[i], e[j] = e[j], e[i]
			}
			return e
		}},
		"a listing that lacks an entry":  {readDir: func(e []fs.DirEntry) []fs.DirEntry { return e[:max(len(e)-1, 0)] }},
		"a rename that does not replace": {rename: remote.RenameNoReplace},
		"a directory not empty that exists": {remove: func(err error) error {
			if errors.Is(err, remote.ErrNotEmpty) {
				return &fs.PathError{Op: "remove", Path: "d", Err: syscall.ENOTEMPTY}
			}
			return err
		}},
		"a mkdir that any number win": {mkdir: func(err error) error {
			if errors.Is(err, fs.ErrExist) {
				return nil
			}
			return err
		}},
		"a short read without an error": {file: func(f remote.File) remote.File { return fileWithout{File: f, eof: true} }},
		"a truncate that does nothing":  {file: func(f remote.File) remote.File { return fileWithout{File: f, truncate: true} }},
	} {
		t.Run(what, func(t *testing.T) {
			b.Filesystem = remotetest.NewCrash()
			require.Error(t, remotetest.Test(t.Context(), b))
		})
	}
}

func TestFaultyFailsExactlyWhatItWasTold(t *testing.T) {
	ctx := t.Context()
	faulty := remotetest.NewFaulty(remotetest.NewCrash())
	faulty.FailAt(2, syscall.EIO, remotetest.Mkdir)
	require.NoError(t, faulty.Mkdir(ctx, "a"))
	_, err := faulty.Stat(ctx, "a")
	require.NoError(t, err)
	require.ErrorIs(t, faulty.Mkdir(ctx, "b"), syscall.EIO)
	require.NoError(t, faulty.Mkdir(ctx, "b"), "it had not taken place")
	require.Equal(t, 1, faulty.Fired())
	require.Equal(t, 3, faulty.Count(remotetest.Mkdir))
	require.Equal(t, 4, faulty.Count())

	faulty.FailFrom(1, syscall.EIO)
	for range 3 {
		_, err := faulty.Stat(ctx, "a")
		require.ErrorIs(t, err, syscall.EIO)
	}
	faulty.Heal()
	_, err = faulty.Stat(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, 3, faulty.Fired())
}

func TestFaultyDelaysUntilTheCallerLosesPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faulty := remotetest.NewFaulty(remotetest.NewCrash())
		faulty.DelayAt(1, time.Hour, remotetest.Mkdir)
		start := time.Now()
		require.NoError(t, faulty.Mkdir(t.Context(), "a"))
		require.Equal(t, time.Hour, time.Since(start))
		require.NoError(t, faulty.Mkdir(t.Context(), "b"))
		require.Equal(t, time.Hour, time.Since(start))
		faulty.DelayFrom(1, time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := faulty.Stat(ctx, "a")
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestFaultyCallsJustBeforeAnOperation(t *testing.T) {
	crash := remotetest.NewCrash()
	faulty := remotetest.NewFaulty(crash)
	called := 0
	faulty.CallAt(2, func() {
		called++
		_, err := crash.Stat(t.Context(), "b")
		require.ErrorIs(t, err, fs.ErrNotExist)
	}, remotetest.Mkdir)
	for _, name := range []string{"a", "b", "c"} {
		require.NoError(t, faulty.Mkdir(t.Context(), name))
	}
	require.Equal(t, 1, called)
}

func TestAStorageThatLiesAboutSyncLosesWhatWasCommitted(t *testing.T) {
	crash := remotetest.NewCrash()
	faulty := remotetest.NewFaulty(crash)
	faulty.LieFrom(1, remotetest.Sync, remotetest.SyncDir)
	require.NoError(t, remote.WriteFile(t.Context(), faulty, "f", []byte("content")))
	lost := 0
	rng := rand.New(rand.NewPCG(1, 1))
	for range 100 {
		if got, err := remote.ReadFile(t.Context(), crash.PowerCut(rng), "f", 100); err != nil || string(got) != "content" {
			lost++
		}
	}
	require.Positive(t, lost)
	faulty.LieFrom(1, remotetest.Write)
	f, err := faulty.OpenFile(t.Context(), "f", os.O_RDWR)
	require.NoError(t, err)
	n, err := f.WriteAt([]byte("CONTENT"), 0)
	require.NoError(t, err)
	require.Equal(t, 7, n)
	require.NoError(t, f.Close())
	got, err := remote.ReadFile(t.Context(), faulty, "f", 100)
	require.NoError(t, err)
	require.Equal(t, "content", string(got))
}

func TestTraceKnowsWhatIsNotSynced(t *testing.T) {
	ctx := t.Context()
	trace := remotetest.NewTrace(remotetest.NewCrash())
	require.NoError(t, remote.MkdirAll(ctx, trace, "d/e"))
	require.NoError(t, remote.WriteFile(ctx, trace, "d/e/f", []byte("x")))
	require.Empty(t, trace.Unsynced(), "what the helpers leave")

	require.NoError(t, trace.Mkdir(ctx, "g"))
	f, err := trace.OpenFile(ctx, "careless.tmp", remotetest.CreateNew)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, trace.Rename(ctx, "careless.tmp", "g/careless"))
	want := []string{
		"g/careless: . was not synced since it got this name",
		"g/careless: g was not synced since it got this name",
		"g/careless: renamed before its content was synced",
		"g/careless: written since it was last synced",
		"g: . was not synced since it got this name",
	}
	if diff := cmp.Diff(want, trace.Unsynced()); diff != "" {
		t.Errorf("unsynced (-want +got):\n%s", diff)
	}
	require.NoError(t, trace.Rename(ctx, "g", "h"))
	require.NoError(t, trace.SyncDir(ctx, "."))
	want = []string{
		"g/careless: renamed before its content was synced",
		"h/careless: h was not synced since it got this name",
		"h/careless: written since it was last synced",
	}
	if diff := cmp.Diff(want, trace.Unsynced()); diff != "" {
		t.Errorf("unsynced (-want +got):\n%s", diff)
	}
	trace.Reset()
	require.Empty(t, trace.Unsynced())
}

func TestAFullDiskWritesTheFirstHalf(t *testing.T) {
	ctx := t.Context()
	faulty := remotetest.NewFaulty(remotetest.NewCrash())
	f, err := faulty.OpenFile(ctx, "f", remotetest.CreateNew)
	require.NoError(t, err)
	faulty.FailFrom(1, syscall.ENOSPC, remotetest.Write)
	n, err := f.WriteAt([]byte("12345678"), 0)
	require.ErrorIs(t, err, remote.ErrNoSpace)
	require.Equal(t, 4, n)
	require.NoError(t, f.Close())
	got, err := remote.ReadFile(ctx, faulty, "f", 100)
	require.NoError(t, err)
	require.Equal(t, "1234", string(got))
}

func TestTraceTellsFailuresAndCoalescesWhatContinues(t *testing.T) {
	ctx := t.Context()
	trace := remotetest.NewTrace(remotetest.NewCrash())
	f, err := trace.OpenFile(ctx, "f", remotetest.CreateNew)
	require.NoError(t, err)
	for _, off := range []int64{0, 4, 8, 100} {
		_, err = f.WriteAt([]byte("1234"), off)
		require.NoError(t, err)
	}
	require.NoError(t, f.Truncate(7))
	require.Error(t, trace.Remove(ctx, "none"))
	want := []string{"create f", "write f 0+12", "write f 100+4", "truncate f 7", "remove none: failed"}
	if diff := cmp.Diff(want, trace.Lines()); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestAPowerCutTearsAtSectorsAndKeepsWhatWasSynced(t *testing.T) {
	ctx := t.Context()
	crash := remotetest.NewCrash()
	f, err := crash.OpenFile(ctx, "f", remotetest.CreateNew)
	require.NoError(t, err)
	synced, unsynced := fill(2048, 'a'), fill(1024, 'b')
	_, err = f.WriteAt(synced, 0)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, crash.SyncDir(ctx, "."))
	_, err = f.WriteAt(unsynced, 512)
	require.NoError(t, err)
	seen := map[string]bool{}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		got, err := remote.ReadFile(ctx, crash.PowerCut(rng), "f", 4096)
		require.NoError(t, err)
		require.Len(t, got, 2048)
		var state strings.Builder
		for off := 0; off < 2048; off += 512 {
			require.Equal(t, fill(512, got[off]), got[off:off+512], "a sector is written as a whole")
			state.WriteString(string(got[off]))
		}
		seen[state.String()] = true
	}
	require.Equal(t, map[string]bool{"aaaa": true, "abaa": true, "aaba": true, "abba": true}, seen)
	got, err := remote.ReadFile(ctx, crash, "f", 4096)
	require.NoError(t, err)
	require.Equal(t, byte('b'), got[512], "the original goes on")
}

// A rename is one change: the file has one of its names, and never two or none.
func TestAPowerCutNeverDoublesOrLosesWhatIsRenamed(t *testing.T) {
	ctx := t.Context()
	crash := remotetest.NewCrash()
	require.NoError(t, remote.MkdirAll(ctx, crash, "d"))
	require.NoError(t, remote.WriteFile(ctx, crash, "a", []byte("x")))
	require.NoError(t, crash.Rename(ctx, "a", "b"))
	require.NoError(t, crash.Rename(ctx, "b", "d/c"))
	seen := map[string]bool{}
	rng := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		after := crash.PowerCut(rng)
		var found []string
		for _, name := range []string{"a", "b", "d/c"} {
			if _, err := after.Stat(ctx, name); err == nil {
				found = append(found, name)
			}
		}
		require.Len(t, found, 1)
		seen[found[0]] = true
	}
	require.Len(t, seen, 3)
	require.NoError(t, crash.SyncDir(ctx, "d"))
	_, err := crash.PowerCut(rng).Stat(ctx, "d/c")
	require.NoError(t, err, "syncing either directory makes the rename durable")
	_, err = crash.OpenFile(ctx, "a", os.O_RDONLY)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func fill(n int, b byte) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = b
	}
	return out
}
