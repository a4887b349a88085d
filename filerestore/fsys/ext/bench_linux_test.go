package ext_test

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// The benchmarks read what Linux reads through a loop mount, in the same run
// and from the same image, which is in the page cache. Linux mounts it anew
// each time, as the reader opens it anew; x_kernel is how many times faster
// the reader is.

func BenchmarkSequentialRead(b *testing.B) {
	requireLoop(b)
	const size = 512 << 20
	image := filepath.Join(b.TempDir(), "image")
	mkfs(b, image, 640<<20, "-t", "ext4")
	at, unmount := mount(b, image, "rw")
	tree{b, at}.pieces("file", size, seq(size, 1<<20), fill(1<<20))
	unmount()
	b.SetBytes(size)
	compare(b, image, func(dir string) {
		f, err := os.Open(filepath.Join(dir, "file"))
		require.NoError(b, err)
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 256<<10))
		require.NoError(b, err)
		require.NoError(b, f.Close())
	}, func() {
		f, err := open(b, image).Open("file")
		require.NoError(b, err)
		n, err := io.Copy(struct{ io.Writer }{io.Discard}, f)
		require.NoError(b, err)
		require.Equal(b, int64(size), n)
	})
}

func BenchmarkWalkAndStat(b *testing.B) {
	requireLoop(b)
	const entries = 25000
	image := filepath.Join(b.TempDir(), "image")
	mkfs(b, image, 256<<20, "-t", "ext4", "-N", "40000")
	at, unmount := mount(b, image, "rw")
	plant(b, at, entries, 100)
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
	}, func() {
		n := 0
		vol := open(b, image)
		for _, err := range fsys.Walk(b.Context(), vol, vol.Root(), nil) {
			require.NoError(b, err)
			n++
		}
		require.Greater(b, n, entries)
	})
	b.ReportMetric(float64(entries*b.N)/b.Elapsed().Seconds(), "entries/s")
}

// BenchmarkWalkMillion reports the largest heap during a walk of a million files.
func BenchmarkWalkMillion(b *testing.B) {
	requireLoop(b)
	const entries = 1_000_000
	image := filepath.Join(b.TempDir(), "image")
	mkfs(b, image, 2<<30, "-t", "ext4", "-N", "1100000", "-E", "lazy_itable_init=0")
	at, unmount := mount(b, image, "rw,nobarrier")
	plant(b, at, entries, 10_000)
	unmount()
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	peak := uint64(0)
	for b.Loop() {
		n := 0
		vol := open(b, image)
		for _, err := range fsys.Walk(b.Context(), vol, vol.Root(), nil) {
			if err != nil {
				b.Fatal(err)
			}
			if n++; n%5000 == 0 {
				runtime.ReadMemStats(&now)
				peak = max(peak, now.HeapInuse-min(before.HeapInuse, now.HeapInuse))
			}
		}
		if n < entries {
			b.Fatal(n, vol.Warnings()) // in use, where another mount namespace still has it
		}
	}
	b.ReportMetric(float64(peak)/(1<<20), "peak_MiB")
	b.ReportMetric(float64(entries*b.N)/b.Elapsed().Seconds(), "entries/s")
}

// compare times reader, and beside it kernel on a fresh mount.
func compare(b *testing.B, image string, kernel func(dir string), reader func()) {
	b.Helper()
	warm(b, image)
	var theirs time.Duration
	for b.Loop() {
		b.StopTimer()
		dir, unmount := mount(b, image, "ro")
		start := time.Now()
		kernel(dir)
		theirs += time.Since(start)
		unmount()
		b.StartTimer()
		reader()
	}
	b.ReportMetric(theirs.Seconds()/b.Elapsed().Seconds(), "x_kernel")
}

// warm brings an image into the page cache.
func warm(b *testing.B, image string) {
	b.Helper()
	f, err := os.Open(image)
	require.NoError(b, err)
	_, err = io.Copy(io.Discard, f)
	require.NoError(b, err)
	require.NoError(b, f.Close())
}

// plant makes files in directories of perDir each.
func plant(b *testing.B, dir string, files, perDir int) {
	b.Helper()
	for i := range files {
		if i%perDir == 0 {
			require.NoError(b, os.Mkdir(filepath.Join(dir, fmt.Sprintf("dir-%d", i/perDir)), 0o755))
		}
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("dir-%d/file-%d", i/perDir, i)))
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

func seq(size, step int64) []int64 {
	var list []int64
	for off := int64(0); off < size; off += step {
		list = append(list, off)
	}
	return list
}

func fill(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i * 7 >> 3)
	}
	return p
}
