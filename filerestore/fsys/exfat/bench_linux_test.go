package exfat_test

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/exfat"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/testvolume"
)

// The benchmarks read what exfat-fuse reads through a mount, in the same run
// and from the same image; x_fuse is how many times faster the reader is. It is
// mounted anew each time, as the reader opens the volume anew.

func BenchmarkSequentialRead(b *testing.B) {
	requireFUSE(b)
	const size = 128 << 20
	image := filepath.Join(b.TempDir(), "image")
	mkfs(b, image, 160<<20)
	dir, unmount := mount(b, image, "rw")
	testvolume.File(b, dir, "file", size)
	unmount()
	b.SetBytes(size)
	compare(b, image, func(dir string) {
		f, err := os.Open(filepath.Join(dir, "file"))
		require.NoError(b, err)
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 256<<10))
		require.NoError(b, err)
		require.NoError(b, f.Close())
	}, func(vol *exfat.FS) {
		f, err := vol.Open("file")
		require.NoError(b, err)
		n, err := io.Copy(struct{ io.Writer }{io.Discard}, f)
		require.NoError(b, err)
		require.Equal(b, int64(size), n)
	})
}

func BenchmarkWalkAndStat(b *testing.B) {
	requireFUSE(b)
	const entries = 2000
	image := filepath.Join(b.TempDir(), "image")
	mkfs(b, image, 32<<20)
	dir, unmount := mount(b, image, "rw")
	testvolume.Plant(b, dir, entries)
	unmount()
	compare(b, image, func(dir string) {
		n := 0
		require.NoError(b, filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
			if err == nil {
				_, err = e.Info()
			}
			n++
			return err
		}))
		require.Greater(b, n, entries)
	}, func(vol *exfat.FS) {
		n := 0
		for _, err := range fsys.Walk(b.Context(), vol, vol.Root(), nil) {
			require.NoError(b, err)
			n++
		}
		require.Greater(b, n, entries)
	})
	b.ReportMetric(float64(entries*b.N)/b.Elapsed().Seconds(), "entries/s")
}

// compare times reader, and beside it the mount.
func compare(b *testing.B, image string, mounted func(dir string), reader func(*exfat.FS)) {
	b.Helper()
	f, err := os.Open(image)
	require.NoError(b, err)
	b.Cleanup(func() { _ = f.Close() })
	size, err := io.Copy(io.Discard, f) // into the page cache
	require.NoError(b, err)
	var theirs time.Duration
	for b.Loop() {
		b.StopTimer()
		dir, unmount := mount(b, image, "ro")
		start := time.Now()
		mounted(dir)
		theirs += time.Since(start)
		unmount()
		b.StartTimer()
		vol, err := exfat.Open(b.Context(), f, size, nil)
		require.NoError(b, err)
		reader(vol)
	}
	b.ReportMetric(theirs.Seconds()/b.Elapsed().Seconds(), "x_fuse")
}
