package vhd_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// TestNothingIsFlattenedOntoItself: that would empty the source first.
func TestNothingIsFlattenedOntoItself(t *testing.T) {
	name := filepath.Join(t.TempDir(), "disk.vhd")
	d := noise(1, 3<<20, 0)
	var b bytes.Buffer
	writeStream(t, &b, d, layoutOf(t, d, vhd.Repository))
	require.NoError(t, os.WriteFile(name, b.Bytes(), 0o600))
	open := func() *os.File {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	src, dst := open(), open()
	image, err := vhd.Open(src, int64(b.Len()), nil)
	require.NoError(t, err)
	w, err := vhd.OpenRW(src, int64(b.Len()), nil)
	require.NoError(t, err)
	for _, s := range []disk.Source{image, w, vhd.NewRaw(src, int64(b.Len()))} {
		for _, f := range []*os.File{dst, src} {
			_, err = vhd.FlattenRaw(t.Context(), f, s, nil)
			require.ErrorIs(t, err, vhd.ErrUnsupported)
			_, err = vhd.Flatten(t.Context(), f, s, vhd.Layout{Type: vhd.Dynamic, UUID: uuidOf(2)}, nil)
			require.ErrorIs(t, err, vhd.ErrUnsupported)
		}
	}
	after, err := os.ReadFile(name)
	require.NoError(t, err)
	require.True(t, bytes.Equal(b.Bytes(), after))
}

// TestADifferencingImageAloneIsNotFlattened: its holes are not zeros.
func TestADifferencingImageAloneIsNotFlattened(t *testing.T) {
	f := &memFile{}
	w := create(t, f, vhd.Layout{Type: vhd.Differencing, Size: 4 << 20, UUID: uuidOf(2), ParentUUID: uuidOf(1), ParentName: "p.vhd"})
	_, err := w.WriteAt(bytes.Repeat([]byte{1}, 2<<20), 0)
	require.NoError(t, err)
	require.NoError(t, w.Sync())
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { root.Close() })
	dir, ok := vhd.OSDir(root).(vhd.DirMaker)
	require.True(t, ok)
	image, err := vhd.Open(f, int64(len(f.data)), nil)
	require.NoError(t, err)
	for name, src := range map[string]disk.Source{"rw.vhd": w, "image.vhd": image} {
		l := vhd.Layout{Type: vhd.Dynamic, UUID: uuidOf(3)}
		_, err = vhd.FlattenRaw(t.Context(), &memFile{}, src, nil)
		require.ErrorIs(t, err, vhd.ErrParentNeeded, name)
		_, err = vhd.Flatten(t.Context(), &memFile{}, src, l, nil)
		require.ErrorIs(t, err, vhd.ErrParentNeeded, name)
		err = vhd.FlattenDirectory(t.Context(), dir, name, src, l, vhd.FilterNone, nil)
		require.ErrorIs(t, err, vhd.ErrParentNeeded, name)
	}
}

// fewWriter takes n bytes, and then what a careless writer may return.
type fewWriter struct {
	n   int
	err error
}

func (w *fewWriter) Write(p []byte) (int, error) {
	if n := min(len(p), w.n); n < len(p) {
		w.n = 0
		return n, w.err
	}
	w.n -= len(p)
	return len(p), nil
}

func TestAnExportThatIsNotTakenWholeFails(t *testing.T) {
	d := noise(1, 3<<20, 0, 1)
	l := layoutOf(t, d, vhd.Host)
	for _, err := range []error{nil, io.EOF, io.ErrClosedPipe} {
		for _, n := range []int64{0, 1000, 3 << 20, l.StreamSize() - 1} {
			e, newErr := vhd.NewExport(t.Context(), d, l)
			require.NoError(t, newErr)
			written, got := e.WriteTo(&fewWriter{int(n), err})
			require.Error(t, got, "%v after %d", err, n)
			require.Equal(t, n, written)
		}
	}
}

// TestAnExportEndsWithItsLastByte: who has read as much as was announced reads no
// more, and a pipe then blocks whoever writes, be it nothing.
func TestAnExportEndsWithItsLastByte(t *testing.T) {
	d := noise(1, 3<<20, 0)
	e, err := vhd.NewExport(t.Context(), d, layoutOf(t, d, vhd.Host))
	require.NoError(t, err)
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := e.WriteTo(w)
		done <- err
	}()
	_, err = io.CopyN(io.Discard, r, e.Size())
	require.NoError(t, err)
	require.NoError(t, <-done)
}
