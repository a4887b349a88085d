//go:build unix

package nfs_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/nfs"
)

const benchSize = 256 << 20

// cpu is what this process, or its children, have used of the processor.
func cpu(b *testing.B, who int) time.Duration {
	b.Helper()
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(who, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// measure reports MB/s and processor seconds per GiB of moving benchSize bytes.
func measure(b *testing.B, who int, move func()) {
	b.Helper()
	b.SetBytes(benchSize)
	before := cpu(b, who)
	for b.Loop() {
		move()
	}
	used := cpu(b, who) - before
	b.ReportMetric(used.Seconds()/float64(b.N)*float64(1<<30)/benchSize, "cpu-s/GiB")
}

// BenchmarkBesideLibnfs moves a file of 256 MiB in both directions on the same
// server: with the programs of libnfs, which move 1 MiB at a time; with this package
// in the same way, and eight at a time, which gains nothing where there is no
// network to wait for; and as backups and restores do.
func BenchmarkBesideLibnfs(b *testing.B) {
	g, opts := ganesha(b)
	copier, cat := testenv.Require(b, "nfs-cp"), testenv.Require(b, "nfs-cat")
	fsys := open(b, testenv.ExportData, opts)
	source := filepath.Join(b.TempDir(), "source")
	content := make([]byte, benchSize)
	rand.NewChaCha8([32]byte{}).Read(content) //nolint:errcheck // never fails
	require.NoError(b, os.WriteFile(source, content, 0o600))
	url := func(name string) string { return g.LibnfsURL(testenv.ExportData + "/" + name) }
	run := func(name string, args ...string) {
		out, err := exec.CommandContext(b.Context(), name, args...).CombinedOutput()
		require.NoError(b, err, "%s", out)
	}
	for name, piece := range map[string]int{"1MiB": 1 << 20, "pipelined": 8 << 20} {
		b.Run("write/xenbackup-"+name, func(b *testing.B) {
			b.ReportAllocs()
			measure(b, syscall.RUSAGE_SELF, func() { writeFile(b, fsys, "ours", content, piece) })
		})
		b.Run("read/xenbackup-"+name, func(b *testing.B) {
			b.ReportAllocs()
			buf := make([]byte, piece)
			measure(b, syscall.RUSAGE_SELF, func() { readFile(b, fsys, "ours", buf) })
		})
	}
	b.Run("write/nfs-cp", func(b *testing.B) {
		measure(b, syscall.RUSAGE_CHILDREN, func() {
			_ = fsys.Remove(b.Context(), "theirs")
			run(copier, source, url("theirs"))
		})
	})
	b.Run("write/remote.Create", func(b *testing.B) {
		measure(b, syscall.RUSAGE_SELF, func() { commitFile(b, fsys, "ours", content) })
	})
	b.Run("read/remote.OpenReader", func(b *testing.B) {
		buf := make([]byte, 1<<20)
		measure(b, syscall.RUSAGE_SELF, func() { readAhead(b, fsys, "ours", buf) })
	})
	b.Run("read/nfs-cat", func(b *testing.B) {
		measure(b, syscall.RUSAGE_CHILDREN, func() { run("sh", "-c", cat+` "$0" >/dev/null`, url("ours")) })
	})
}

// writeFile writes a file, so much at a time, and syncs it.
func writeFile(b *testing.B, fsys *nfs.FS, name string, content []byte, piece int) {
	b.Helper()
	err := fsys.Remove(b.Context(), name)
	require.True(b, err == nil || errors.Is(err, os.ErrNotExist), err)
	f, err := fsys.OpenFile(b.Context(), name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	require.NoError(b, err)
	for off := 0; off < len(content); off += piece {
		_, err = f.WriteAt(content[off:off+piece], int64(off))
		require.NoError(b, err)
	}
	require.NoError(b, f.Sync())
	require.NoError(b, f.Close())
}

// readFile reads a file, a buffer at a time.
func readFile(b *testing.B, fsys *nfs.FS, name string, buf []byte) {
	b.Helper()
	f, err := fsys.OpenFile(b.Context(), name, os.O_RDONLY)
	require.NoError(b, err)
	for off := 0; off < benchSize; off += len(buf) {
		_, err := f.ReadAt(buf, int64(off))
		require.NoError(b, err)
	}
	require.NoError(b, f.Close())
}

// commitFile publishes a file, in the blocks that a backup is made of.
func commitFile(b *testing.B, fsys *nfs.FS, name string, content []byte) {
	b.Helper()
	w, err := remote.Create(b.Context(), fsys, name)
	require.NoError(b, err)
	const block = 2 << 20
	for off := 0; off < len(content); off += block {
		_, err := w.Write(content[off : off+block])
		require.NoError(b, err)
	}
	require.NoError(b, w.Commit())
}

// readAhead reads a file as a restore does.
func readAhead(b *testing.B, fsys *nfs.FS, name string, buf []byte) {
	b.Helper()
	r, err := remote.OpenReader(b.Context(), fsys, name)
	require.NoError(b, err)
	total := 0
	for {
		n, err := r.Read(buf)
		total += n
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(b, err)
	}
	require.Equal(b, benchSize, total)
	require.NoError(b, r.Close())
}

// BenchmarkRandomRead reads 4 KiB at random places over a network that takes 2 ms.
func BenchmarkRandomRead(b *testing.B) {
	g, opts := ganesha(b)
	opts.Port = newRelay(b, g.Port, 2*time.Millisecond).port
	fsys := open(b, testenv.ExportData, opts)
	require.NoError(b, remote.WriteFile(b.Context(), fsys, "f", make([]byte, 16<<20)))
	f, err := fsys.OpenFile(b.Context(), "f", os.O_RDONLY)
	require.NoError(b, err)
	defer f.Close()
	for name, depth := range map[string]int{"depth1": 1, "depth16": 16} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var next atomic.Int64
			var wg sync.WaitGroup
			for range depth {
				wg.Go(func() {
					buf := make([]byte, 4096)
					for next.Add(1) <= int64(b.N) {
						if _, err := f.ReadAt(buf, rand.Int64N(16<<20-4096)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reads/s")
		})
	}
}
