package smb

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
)

const streamSize = 256 << 20

// BenchmarkStream moves a large file, on a share that is signed and on one that is
// encrypted, and lets smbclient do the same on the same server in between. vs_C is
// our throughput divided by its.
func BenchmarkStream(b *testing.B) {
	s := testenv.StartSamba(b)
	for _, share := range []string{"data", "enc"} {
		name := map[string]string{"data": "signed", "enc": "encrypted"}[share]
		protection := map[string]string{"data": "sign", "enc": "encrypt"}[share]
		fsys := mount(b, s, share, 0)
		local := filepath.Join(b.TempDir(), "f")
		require.NoError(b, os.WriteFile(local, noise(streamSize), 0o600))
		b.Run(name+"/put", func(b *testing.B) {
			compare(b, func() error { return put(b.Context(), fsys, local) }, func() error {
				_, err := s.Client(share, "put "+local+" g", "--client-protection="+protection)
				return err
			})
		})
		b.Run(name+"/get", func(b *testing.B) {
			compare(b, func() error { return get(b.Context(), fsys) }, func() error {
				_, err := s.Client(share, "get f /dev/null", "--client-protection="+protection)
				return err
			})
		})
	}
}

func noise(size int) []byte {
	p := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(p)
	return p
}

// compare runs ours and theirs in turn.
func compare(b *testing.B, ours, theirs func() error) {
	b.Helper()
	b.SetBytes(streamSize)
	b.ReportAllocs()
	var us, them time.Duration
	for b.Loop() {
		start := time.Now()
		require.NoError(b, ours())
		us += time.Since(start)
		b.StopTimer()
		start = time.Now()
		require.NoError(b, theirs())
		them += time.Since(start)
		b.StartTimer()
	}
	b.ReportMetric(them.Seconds()/us.Seconds(), "vs_C")
}

// put writes the local file as f, at full depth, as remote.Writer does.
func put(ctx context.Context, fsys *FS, local string) error {
	in, err := os.Open(local)
	if err != nil {
		return err
	}
	defer in.Close()
	w, err := remote.Create(ctx, fsys, "f")
	if err != nil {
		return err
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{in}, make([]byte, 2<<20)); err != nil {
		return err
	}
	return w.Commit()
}

func get(ctx context.Context, fsys *FS) error {
	r, err := remote.OpenReader(ctx, fsys, "f")
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, make([]byte, 1<<20))
	return err
}

// BenchmarkRandomRead reads 4 KiB at random over a relay that adds 2 ms.
func BenchmarkRandomRead(b *testing.B) {
	s := testenv.StartSamba(b)
	const size = 64 << 20
	require.NoError(b, os.WriteFile(filepath.Join(s.Dir("data"), "f"), noise(size), 0o666))
	far := *s
	far.Port = startRelay(b, s.Address(), 2*time.Millisecond).port()
	file, err := mount(b, &far, "enc", 0).OpenFile(b.Context(), "f", os.O_RDONLY)
	require.NoError(b, err)
	defer file.Close()
	for _, inFlight := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("depth=%d", inFlight), func(b *testing.B) {
			b.SetBytes(4096)
			var next atomic.Int64
			var all sync.WaitGroup
			for range inFlight {
				all.Go(func() {
					p := make([]byte, 4096)
					for next.Add(1) <= int64(b.N) {
						if _, err := file.ReadAt(p, rand.Int64N(size/4096)*4096); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
		})
	}
}
