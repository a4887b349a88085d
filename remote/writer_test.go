package remote_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// publish is what the tests below fail and crash: a large piece and a rest, so
// that several writes are under way, over an older file or as a new one.
func publish(ctx context.Context, fsys remote.Filesystem, name string, content []byte, replace bool) error {
	w, err := remote.Create(ctx, fsys, name)
	if err != nil {
		return err
	}
	defer func() { _ = w.Abort() }()
	for piece := range bytes.SplitSeq(content, []byte("|")) {
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	if replace {
		return w.Commit()
	}
	return w.CommitNew()
}

func newContent() (written, want []byte) {
	piece := bytes.Repeat([]byte("new "), 300_000)
	written = bytes.Join([][]byte{piece, []byte("rest")}, []byte("|"))
	return written, bytes.ReplaceAll(written, []byte("|"), nil)
}

// The order that makes a crash harmless, for a reviewer to read.
func TestCommitSyncsTheDataBeforeItRenamesAndTheDirectoryAfter(t *testing.T) {
	crash := remotetest.NewCrash()
	trace := remotetest.NewTrace(crash)
	require.NoError(t, remote.MkdirAll(t.Context(), trace, "vm/vdis"))
	written, _ := newContent()
	require.NoError(t, publish(t.Context(), trace, "vm/vdis/a", written, true))
	require.ErrorIs(t, publish(t.Context(), trace, "vm/vdis/a", []byte("x"), false), fs.ErrExist)
	require.Empty(t, trace.Unsynced())
	require.NoError(t, remote.RemoveAll(t.Context(), trace, "vm"))
	want, err := os.ReadFile("testdata/commit.trace")
	require.NoError(t, err)
	if diff := cmp.Diff(string(want), trace.String()); diff != "" {
		t.Errorf("operations (-want +got):\n%s", diff)
	}
}

func TestWriterWritesAlignedPiecesAndCopiesNoLargeOnes(t *testing.T) {
	trace := remotetest.NewTrace(remotetest.NewCrash())
	faulty := remotetest.NewFaulty(trace)
	w, err := remote.Create(t.Context(), faulty, "f")
	require.NoError(t, err)
	const mib = 1 << 20
	large := make([]byte, 5*mib+1)
	for _, p := range [][]byte{large[:1], large[:mib], large[:5*mib], large[:3]} {
		n, err := w.Write(p)
		require.NoError(t, err)
		require.Equal(t, len(p), n)
	}
	require.Equal(t, int64(6*mib+4), w.Size())
	require.NoError(t, w.Commit())
	require.Contains(t, trace.String(), "write .f.<token>.tmp 0+6291460\n", "all of it, in order")
	require.LessOrEqual(t, faulty.Count(remotetest.Write), 7)
}

func TestPublishingThatFailsAnywhereLeavesTheOldFileAndNoTemporaryOne(t *testing.T) {
	written, want := newContent()
	for _, fault := range []error{syscall.EIO, syscall.ENOSPC, syscall.EROFS} {
		for n := 1; ; n++ {
			crash := remotetest.NewCrash()
			require.NoError(t, remote.WriteFile(t.Context(), crash, "f", []byte("old")))
			faulty := remotetest.NewFaulty(crash)
			faulty.FailAt(n, fault, remotetest.Create, remotetest.Write, remotetest.Sync, remotetest.Close, remotetest.Rename, remotetest.SyncDir)
			err := publish(t.Context(), faulty, "f", written, true)
			if faulty.Fired() == 0 {
				require.NoError(t, err)
				require.Greater(t, n, 6)
				break
			}
			require.ErrorIs(t, err, fault)
			got, err := remote.ReadFile(t.Context(), crash, "f", 1<<24)
			require.NoError(t, err)
			if !bytes.Equal(got, want) { // complete already when only the directory's sync failed
				require.Equal(t, "old", string(got), "operation %d", n)
			}
			requireNoTemp(t, crash)
		}
	}
}

func TestAPowerCutAnywhereLeavesTheOldFileOrTheNewOne(t *testing.T) {
	written, want := newContent()
	for n := 1; ; n++ {
		crash := remotetest.NewCrash()
		require.NoError(t, remote.WriteFile(t.Context(), crash, "f", []byte("old")))
		faulty := remotetest.NewFaulty(crash)
		faulty.FailFrom(n, syscall.EIO)
		err := publish(t.Context(), faulty, "f", written, true)
		for seed := range uint64(6) {
			after := crash.PowerCut(rand.New(rand.NewPCG(seed, uint64(n))))
			got, readErr := remote.ReadFile(t.Context(), after, "f", 1<<24)
			require.NoError(t, readErr)
			isNew := bytes.Equal(got, want)
			require.True(t, isNew || string(got) == "old", "operation %d, seed %d: torn, %d bytes", n, seed, len(got))
			require.True(t, isNew || err != nil, "operation %d, seed %d: committed and lost", n, seed)
		}
		if faulty.Fired() == 0 {
			break
		}
	}
}

func TestMkdirAllIsDurableWhenItReturns(t *testing.T) {
	crash := remotetest.NewCrash()
	require.NoError(t, remote.MkdirAll(t.Context(), crash, "a/b/c"))
	require.NoError(t, remote.WriteFile(t.Context(), crash, "a/b/c/f", []byte("x")))
	for seed := range uint64(50) {
		after := crash.PowerCut(rand.New(rand.NewPCG(seed, 0)))
		_, err := after.Stat(t.Context(), "a/b/c/f")
		require.NoError(t, err)
	}
	require.Error(t, remote.MkdirAll(t.Context(), crash, "a/b/c/f/d"), "a file is in the way")
}

func TestWriterEndsWithItsContextAndStillCleansUp(t *testing.T) {
	crash := remotetest.NewCrash()
	cause := errors.New("job cancelled")
	ctx, cancel := context.WithCancelCause(t.Context())
	w, err := remote.Create(ctx, crash, "f")
	require.NoError(t, err)
	_, err = w.Write([]byte("x"))
	require.NoError(t, err)
	cancel(cause)
	_, err = w.Write([]byte("y"))
	require.ErrorIs(t, err, cause)
	require.ErrorIs(t, w.Commit(), cause)
	require.NoError(t, w.Abort())
	requireNoTemp(t, crash)
	_, err = crash.Stat(t.Context(), "f")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestAbortAfterCommitDoesNothing(t *testing.T) {
	crash := remotetest.NewCrash()
	w, err := remote.Create(t.Context(), crash, "f")
	require.NoError(t, err)
	require.NoError(t, w.Commit())
	require.NoError(t, w.Abort())
	require.ErrorIs(t, w.Commit(), fs.ErrClosed)
	_, err = w.Write(nil)
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = crash.Stat(t.Context(), "f")
	require.NoError(t, err)
}

func TestCommitNewNeverReplacesWithoutTheCapabilityEither(t *testing.T) {
	plain := struct{ remote.Filesystem }{remotetest.NewCrash()}
	require.NoError(t, publish(t.Context(), plain, "f", []byte("first"), false))
	require.ErrorIs(t, publish(t.Context(), plain, "f", []byte("second"), false), fs.ErrExist)
	got, err := remote.ReadFile(t.Context(), plain, "f", 100)
	require.NoError(t, err)
	require.Equal(t, "first", string(got))
}

func TestReadFileRefusesWhatIsTooLargeAndReadsTheRest(t *testing.T) {
	crash := remotetest.NewCrash()
	require.NoError(t, remote.WriteFile(t.Context(), crash, "f", []byte("12345")))
	_, err := remote.ReadFile(t.Context(), crash, "f", 4)
	require.ErrorIs(t, err, remote.ErrTooLarge)
	got, err := remote.ReadFile(t.Context(), crash, "f", 5)
	require.NoError(t, err)
	require.Equal(t, "12345", string(got))
}

func TestIsTempKnowsTheNamesOfCreateAlone(t *testing.T) {
	for name, want := range map[string]bool{
		"a/.x.json.0123456789abcdef.tmp": true,
		".x.0123456789abcdef.tmp":        true,
		"x.0123456789abcdef.tmp":         false,
		".x.0123456789abcdeg.tmp":        false,
		".x.0123.tmp":                    false,
		".0123456789abcdef.tmp":          false,
		".x.vhd.merge.json":              false,
		"20261122T010000Z.json":          false,
	} {
		require.Equal(t, want, remote.IsTemp(name), name)
	}
}

func requireNoTemp(t *testing.T, fsys remote.Filesystem) {
	t.Helper()
	entries, err := fsys.ReadDir(t.Context(), ".")
	require.NoError(t, err)
	for _, e := range entries {
		require.False(t, remote.IsTemp(e.Name()), e.Name())
	}
}
