package remote_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/fstest"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// deep is a Filesystem that likes several operations at once.
type deep struct {
	remote.Filesystem
	depth, size int
	syncEvery   int64
}

func (d deep) Properties() remote.Properties {
	p := d.Filesystem.Properties()
	p.PipelineDepth, p.IOSize, p.SyncEvery = d.depth, d.size, d.syncEvery
	return p
}

func content(n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(i*7 + i>>8)
	}
	return out
}

func TestReaderReadsTheWholeFileAtEveryDepth(t *testing.T) {
	crash := remotetest.NewCrash()
	for _, size := range []int{0, 1, 99, 100, 101, 1234} {
		want := content(size)
		require.NoError(t, remote.WriteFile(t.Context(), crash, "f", want))
		for _, depth := range []int{0, 1, 2, 5} {
			fsys := deep{Filesystem: crash, depth: depth, size: 100}
			r, err := remote.OpenReader(t.Context(), fsys, "f")
			require.NoError(t, err)
			require.Equal(t, int64(size), r.Remaining())
			require.NoError(t, iotest.TestReader(r, want))
			require.Zero(t, r.Remaining())
			require.NoError(t, r.Close())
			_, err = r.Read(make([]byte, 1))
			require.Error(t, err)

			r, err = remote.OpenReader(t.Context(), fsys, "f")
			require.NoError(t, err)
			var got bytes.Buffer
			n, err := io.Copy(&got, r)
			require.NoError(t, err)
			require.Equal(t, int64(size), n)
			require.Equal(t, string(want), got.String())
			require.NoError(t, r.Close())
		}
	}
}

func TestReaderKeepsNoMoreInMemoryThanTheDepth(t *testing.T) {
	src := &countingReaderAt{data: content(1000)}
	r := remote.NewReader(src, 0, 1000, remote.Properties{PipelineDepth: 3, IOSize: 100})
	_, err := io.ReadFull(r, make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.Equal(t, int64(3), src.calls.Load())
}

type countingReaderAt struct {
	data  []byte
	calls atomic.Int64
}

func (c *countingReaderAt) ReadAt(p []byte, off int64) (int, error) {
	c.calls.Add(1)
	return bytes.NewReader(c.data).ReadAt(p, off)
}

func TestReaderGivesWhatCameBeforeAnErrorAndThenTheError(t *testing.T) {
	for _, depth := range []int{1, 4} {
		crash := remotetest.NewCrash()
		require.NoError(t, remote.WriteFile(t.Context(), crash, "f", content(1000)))
		faulty := remotetest.NewFaulty(crash)
		r, err := remote.OpenReader(t.Context(), deep{Filesystem: faulty, depth: depth, size: 100}, "f")
		require.NoError(t, err)
		got := make([]byte, 100)
		_, err = io.ReadFull(r, got)
		require.NoError(t, err)
		faulty.FailFrom(1, syscall.EIO, remotetest.Read)
		rest, err := io.ReadAll(r)
		require.ErrorIs(t, err, syscall.EIO)
		require.Equal(t, string(content(1000)[100:100+len(rest)]), string(rest))
		require.NoError(t, r.Close())

		f, err := crash.OpenFile(t.Context(), "f", 0)
		require.NoError(t, err)
		short := remote.NewReader(f, 900, 200, remote.Properties{PipelineDepth: depth, IOSize: 64})
		rest, err = io.ReadAll(short)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.Len(t, rest, 100)
		require.NoError(t, short.Close())
		require.NoError(t, f.Close())
	}
}

func TestFSIsAnFSOfTheStandardLibrary(t *testing.T) {
	crash := remotetest.NewCrash()
	require.NoError(t, remote.MkdirAll(t.Context(), crash, "a/b"))
	require.NoError(t, remote.WriteFile(t.Context(), crash, "a/b/f", content(3000)))
	require.NoError(t, remote.WriteFile(t.Context(), crash, "g", nil))
	for _, depth := range []int{1, 3} {
		require.NoError(t, fstest.TestFS(remote.FS(t.Context(), deep{Filesystem: crash, depth: depth, size: 512}), "a/b/f", "g"))
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	fsys := remote.FS(ctx, crash)
	cause := errors.New("gone")
	cancel(cause)
	_, err := fsys.Open("g")
	require.ErrorIs(t, err, cause)
}

func TestWalkVisitsInOrderAndSkips(t *testing.T) {
	crash := remotetest.NewCrash()
	for _, dir := range []string{"b/x", "a", "c"} {
		require.NoError(t, remote.MkdirAll(t.Context(), crash, dir))
	}
	var got []string
	err := remote.Walk(t.Context(), crash, ".", func(name string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		got = append(got, name)
		if name == "b" {
			return fs.SkipDir
		}
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, []string{".", "a", "b", "c"}, got)
}

// boasting is a server that tells any length.
type boasting struct{ remote.Filesystem }

func (b boasting) OpenFile(ctx context.Context, name string, flag int) (remote.File, error) {
	f, err := b.Filesystem.OpenFile(ctx, name, flag)
	return boastingFile{f}, err
}

type boastingFile struct{ remote.File }

func (b boastingFile) Stat() (fs.FileInfo, error) {
	info, err := b.File.Stat()
	return boastingInfo{info}, err
}

type boastingInfo struct{ fs.FileInfo }

func (boastingInfo) Size() int64 { return 1 << 61 }

func TestALengthThatAServerClaimsCostsNoMemory(t *testing.T) {
	crash := remotetest.NewCrash()
	require.NoError(t, remote.WriteFile(t.Context(), crash, "f", []byte("x")))
	fsys := boasting{crash}
	_, err := fs.ReadFile(remote.FS(t.Context(), fsys), "f")
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	_, err = remote.ReadFile(t.Context(), fsys, "f", 1<<20)
	require.ErrorIs(t, err, remote.ErrTooLarge)
}
