package crypt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

func pattern(n int) []byte {
	p := make([]byte, n)
	_, _ = mathrand.NewChaCha8([32]byte{9}).Read(p)
	return p
}

func TestFilesOfAnyLengthReadBackInAnyOrder(t *testing.T) {
	content := pattern(shortFile + 2*heldBack + 12345)
	for _, a := range []Algorithm{ChaCha20Poly1305, AES256GCM} {
		f := newRepository(t, a)
		for i, size := range []int{0, 1, 4096, shortFile - 1, shortFile, shortFile + 1, len(content)} {
			name := fmt.Sprintf("file%d", i)
			writeFile(t, f, name, content[:size], 300_001)
			info, err := f.Stat(t.Context(), name)
			require.NoError(t, err)
			require.EqualValues(t, size, info.Size())

			file, err := f.OpenFile(t.Context(), name, os.O_RDONLY)
			require.NoError(t, err)
			got, err := io.ReadAll(io.NewSectionReader(file, 0, 1<<40)) // front to back
			require.NoError(t, err)
			require.True(t, bytes.Equal(got, content[:size]), "%s, %d bytes, in order", a, size)
			require.NoError(t, file.Close())
			_, err = file.ReadAt(make([]byte, 1), 0)
			require.ErrorIs(t, err, fs.ErrClosed)

			file, err = f.OpenFile(t.Context(), name, os.O_RDONLY)
			require.NoError(t, err)
			random := mathrand.New(mathrand.NewPCG(3, 4))
			var readers sync.WaitGroup
			for range 15 {
				off := random.Int64N(int64(size) + 1)
				p := make([]byte, random.IntN(100_000))
				readers.Go(func() { // at once, and anywhere
					n, err := file.ReadAt(p, off)
					if n < len(p) && !errors.Is(err, io.EOF) || !bytes.Equal(p[:n], content[off:off+int64(n)]) {
						t.Errorf("%s, %d bytes: %d read at %d: %v", a, size, n, off, err)
					}
				})
			}
			readers.Wait()
			require.NoError(t, file.Close())
		}
	}
}

func TestChangedOrCutFilesAreNeverRead(t *testing.T) {
	for _, a := range []Algorithm{ChaCha20Poly1305, AES256GCM} {
		f := newRepository(t, a)
		short, long := pattern(100), pattern(shortFile+heldBack)
		writeFile(t, f, "short", short, 30)
		writeFile(t, f, "long", long, 1<<20)

		stored, err := os.ReadFile(filepath.Join(f.dir, "short"))
		require.NoError(t, err)
		for i := range stored {
			flipped := bytes.Clone(stored)
			flipped[i] ^= 1
			requireTampered(t, f, flipped)
			requireTampered(t, f, stored[:i])
		}
		requireTampered(t, f, append(bytes.Clone(stored), 0))

		stored, err = os.ReadFile(filepath.Join(f.dir, "long"))
		require.NoError(t, err)
		for _, at := range []int{11, 12, len(stored) - heldBack, len(stored) - 1} {
			flipped := bytes.Clone(stored)
			flipped[at] ^= 0x80
			given := requireTampered(t, f, flipped)
			require.LessOrEqual(t, given, len(long)-heldBack, "the end is held back until the tag is checked")
		}
		requireTampered(t, f, stored[:len(stored)-1])
	}
}

// requireTampered stores a file and reads it in two ways; it returns how many bytes
// were given out by the first.
func requireTampered(t *testing.T, f repo, stored []byte) (given int) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(f.dir, "changed"), stored, 0o600))
	file, err := f.OpenFile(t.Context(), "changed", os.O_RDONLY)
	if len(stored) <= overhead { // who finds an empty file would read no further
		require.ErrorIs(t, err, ErrTampered)
		return 0
	}
	require.NoError(t, err)
	n, err := io.Copy(io.Discard, io.NewSectionReader(file, 0, 1<<40))
	require.ErrorIs(t, err, ErrTampered)
	_, err = file.ReadAt(make([]byte, 1), 0)
	require.ErrorIs(t, err, ErrTampered, "once seen, it stays")
	require.NoError(t, file.Close())

	file, err = f.OpenFile(t.Context(), "changed", os.O_RDONLY)
	require.NoError(t, err)
	_, err = file.ReadAt(make([]byte, 10), 10)
	require.ErrorIs(t, err, ErrTampered, "out of order")
	require.NoError(t, file.Close())
	return int(n)
}

func TestAnEmptyFileIsProvenToBeOne(t *testing.T) {
	f := newRepository(t, ChaCha20Poly1305)
	require.NoError(t, remote.WriteFile(t.Context(), f, "empty", nil))
	stored, err := os.ReadFile(filepath.Join(f.dir, "empty"))
	require.NoError(t, err)
	read := func(stored []byte) error {
		require.NoError(t, os.WriteFile(filepath.Join(f.dir, "changed"), stored, 0o600))
		r, err := remote.OpenReader(t.Context(), f, "changed")
		if err != nil {
			return err
		}
		_, err = io.ReadAll(r)
		return errors.Join(err, r.Close())
	}
	require.NoError(t, read(stored))
	require.ErrorIs(t, read(nil), ErrTampered)
	require.ErrorIs(t, read(stored[:overhead-1]), ErrTampered)
	stored[0] ^= 1
	require.ErrorIs(t, read(stored), ErrTampered)
}

// metered counts the bytes that are read.
type metered struct {
	remote.Filesystem
	read int
}

func (m *metered) OpenFile(ctx context.Context, name string, flag int) (remote.File, error) {
	f, err := m.Filesystem.OpenFile(ctx, name, flag)
	return meteredFile{f, &m.read}, err
}

type meteredFile struct {
	remote.File
	read *int
}

func (m meteredFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := m.File.ReadAt(p, off)
	*m.read += n
	return n, err
}

// Who read a byte a second time, after the check, would believe what a storage
// says then.
func TestWhatIsReadInOrderIsReadOnce(t *testing.T) {
	f := newRepository(t, ChaCha20Poly1305)
	content := pattern(shortFile + heldBack + 12345)
	writeFile(t, f, "long", content, 1<<20)
	below := f.below
	for _, piece := range []int{100_000, 3 << 20, len(content) + 1} {
		meter := &metered{Filesystem: below}
		f.below = meter
		r, err := remote.OpenReader(t.Context(), f, "long")
		require.NoError(t, err)
		var got bytes.Buffer
		_, err = io.CopyBuffer(&got, struct{ io.Reader }{r}, make([]byte, piece))
		require.NoError(t, err)
		require.NoError(t, r.Close())
		require.True(t, bytes.Equal(got.Bytes(), content), "pieces of %d bytes", piece)
		require.Equal(t, len(content)+overhead, meter.read, "pieces of %d bytes", piece)
	}
}

func TestFilesAreWrittenOnceAndInOrder(t *testing.T) {
	f := newRepository(t, ChaCha20Poly1305)
	file, err := f.OpenFile(t.Context(), "disk.vhd", os.O_RDWR|os.O_CREATE|os.O_EXCL)
	require.NoError(t, err)
	_, err = file.WriteAt([]byte("abc"), 3)
	require.ErrorIs(t, err, ErrInPlace, "a gap")
	require.ErrorIs(t, err, errors.ErrUnsupported)
	_, err = file.WriteAt([]byte("abc"), 0)
	require.NoError(t, err)
	_, err = file.WriteAt([]byte("abc"), 0)
	require.ErrorIs(t, err, ErrInPlace, "what is written stays")
	require.ErrorIs(t, file.Truncate(1), ErrInPlace)
	require.NoError(t, file.Truncate(3))
	_, err = file.ReadAt(make([]byte, 1), 0)
	require.ErrorIs(t, err, ErrInPlace)
	require.NoError(t, file.Sync())
	require.NoError(t, file.Sync(), "twice is no harm")
	_, err = file.WriteAt([]byte("d"), 3)
	require.ErrorIs(t, err, ErrInPlace, "after the tag")
	require.NoError(t, file.Close())

	_, err = f.OpenFile(t.Context(), "disk.vhd", os.O_RDWR)
	require.ErrorIs(t, err, ErrInPlace)
	require.Equal(t, "abc", string(readFile(t, f, "disk.vhd")))
	file, err = f.OpenFile(t.Context(), "disk.vhd", os.O_RDWR|os.O_TRUNC)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	require.Empty(t, readFile(t, f, "disk.vhd"), "an empty file is a message too")
}

func TestTheSameContentNeverLooksTheSame(t *testing.T) {
	f := newRepository(t, ChaCha20Poly1305)
	for _, name := range []string{"a", "b"} {
		require.NoError(t, remote.WriteFile(t.Context(), f, name, make([]byte, 100)))
	}
	a, err := os.ReadFile(filepath.Join(f.dir, "a"))
	require.NoError(t, err)
	b, err := os.ReadFile(filepath.Join(f.dir, "b"))
	require.NoError(t, err)
	require.NotEqual(t, a[:nonceSize], b[:nonceSize])
	require.NotEqual(t, a[nonceSize:], b[nonceSize:])
}

func TestChecksumsStayInClear(t *testing.T) {
	f := newRepository(t, ChaCha20Poly1305)
	require.NoError(t, remote.WriteFile(t.Context(), f, "x.xva.checksum", []byte("sum")))
	stored, err := os.ReadFile(filepath.Join(f.dir, "x.xva.checksum"))
	require.NoError(t, err)
	require.Equal(t, "sum", string(stored), "also when it was written under a temporary name")
	require.ErrorIs(t, f.Rename(t.Context(), "x.xva.checksum", "x"), fs.ErrInvalid)

	require.NoError(t, remote.WriteFile(t.Context(), f, "secret", []byte("content")))
	entries, err := f.ReadDir(t.Context(), ".")
	require.NoError(t, err)
	sizes := map[string]int64{}
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		sizes[e.Name()] = info.Size()
	}
	require.EqualValues(t, 3, sizes["x.xva.checksum"])
	require.EqualValues(t, 7, sizes["secret"])
}

// Whatever fails, a file is there as a whole or not at all, and the error is told.
func TestEveryFailureOfStorageIsReported(t *testing.T) {
	content := pattern(shortFile + 100)
	for _, size := range []int{10, len(content)} {
		for n := 1; ; n++ {
			f := newRepository(t, ChaCha20Poly1305)
			faulty := remotetest.NewFaulty(f.below)
			f.below = faulty
			faulty.FailFrom(n, remote.ErrNoSpace, remotetest.Mutating()...)
			err := remote.WriteFile(t.Context(), f, "name", content[:size])
			failed := err != nil
			faulty.Heal()
			got, readErr := remote.ReadFile(t.Context(), f, "name", 1<<30)
			if readErr == nil {
				require.True(t, bytes.Equal(got, content[:size]), "operation %d", n)
			} else {
				require.ErrorIs(t, readErr, fs.ErrNotExist, "operation %d", n)
				require.ErrorIs(t, err, remote.ErrNoSpace, "operation %d", n)
			}
			if !failed {
				require.Greater(t, n, 4)
				break
			}
		}
	}
}

func TestReadErrorsAreNotTampering(t *testing.T) {
	f := newRepository(t, ChaCha20Poly1305)
	writeFile(t, f, "long", pattern(shortFile+1), 1<<20)
	faulty := remotetest.NewFaulty(f.below)
	f.below = faulty
	file, err := f.OpenFile(t.Context(), "long", os.O_RDONLY)
	require.NoError(t, err)
	faulty.FailAt(3, remote.ErrUnavailable, remotetest.Read)
	section := io.NewSectionReader(file, 0, 1<<40)
	_, err = io.ReadAll(section)
	require.ErrorIs(t, err, remote.ErrUnavailable)
	require.NotErrorIs(t, err, ErrTampered)
	got, err := io.ReadAll(io.NewSectionReader(file, 0, 1<<40))
	require.NoError(t, err, "a passing failure passes")
	require.Len(t, got, shortFile+1)
	require.NoError(t, file.Close())
}

func TestAFileEndsWithItsContextThoughItIsInMemory(t *testing.T) {
	f := newRepository(t, ChaCha20Poly1305)
	require.NoError(t, remote.WriteFile(t.Context(), f, "short", []byte("content")))
	cause := errors.New("the caller went away")
	ctx, cancel := context.WithCancelCause(t.Context())
	w, err := f.OpenFile(ctx, "new", os.O_RDWR|os.O_CREATE|os.O_EXCL)
	require.NoError(t, err)
	r, err := f.OpenFile(ctx, "short", os.O_RDONLY)
	require.NoError(t, err)
	_, err = r.ReadAt(make([]byte, 7), 0)
	require.NoError(t, err)
	cancel(cause)
	_, err = r.ReadAt(make([]byte, 7), 0)
	require.ErrorIs(t, err, cause)
	require.NoError(t, r.Close())
	_, err = w.WriteAt([]byte("x"), 0)
	require.ErrorIs(t, err, cause)
	require.ErrorIs(t, w.Truncate(0), cause)
	require.ErrorIs(t, w.Sync(), cause)
	require.NoError(t, w.Close())
}

func TestCancelStopsWriting(t *testing.T) {
	f := newRepository(t, ChaCha20Poly1305)
	ctx, cancel := context.WithCancel(t.Context())
	file, err := f.OpenFile(ctx, "x", os.O_RDWR|os.O_CREATE|os.O_EXCL)
	require.NoError(t, err)
	cancel()
	_, err = file.WriteAt(make([]byte, shortFile+1), 0)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, file.Sync(), context.Canceled)
	require.NoError(t, file.Close())
}
