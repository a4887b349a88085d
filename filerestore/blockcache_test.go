package filerestore

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// counted is a disk that counts what is asked of it.
type counted struct {
	raw   []byte
	bad   int64 // a byte that cannot be read; 0 is none
	mu    sync.Mutex
	reads int
}

func (c *counted) ReadAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	c.reads++
	c.mu.Unlock()
	if c.bad > 0 && off <= c.bad && c.bad < off+int64(len(p)) {
		return 0, errors.New("bad sector")
	}
	return bytes.NewReader(c.raw).ReadAt(p, off)
}

func newCounted(n int) *counted {
	c := &counted{raw: make([]byte, n)}
	r := rand.NewChaCha8([32]byte{})
	_, _ = r.Read(c.raw)
	return c
}

func (c *counted) cached(memory int64) *cachedDisk {
	return &cachedDisk{cache: newBlockCache(memory), r: c, size: int64(len(c.raw))}
}

func TestReadsThatFollowEachOtherAreFew(t *testing.T) {
	c := newCounted(8 << 20)
	d := c.cached(4 << 20)
	for off := int64(0); off < 8<<20; off += 4096 {
		p := make([]byte, 4096)
		_, err := d.ReadAt(p, off)
		require.NoError(t, err)
		require.True(t, bytes.Equal(c.raw[off:off+4096], p))
	}
	require.Less(t, c.reads, 16) // 64, 128, ... 1024 KiB, and 1 MiB each from then on
	before := c.reads
	for range 1000 {
		_, err := d.ReadAt(make([]byte, 100), 8<<20-4096)
		require.NoError(t, err)
	}
	require.Equal(t, before, c.reads, "what was read last is known")
}

func TestReadsHereAndThereAreRightAndBounded(t *testing.T) {
	c := newCounted(8<<20 - 777)
	d := c.cached(1 << 20)
	var readers sync.WaitGroup
	for seed := range uint64(4) {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(seed, 1))
			for range 500 {
				off := r.Int64N(int64(len(c.raw)) + 100)
				p := make([]byte, r.IntN(200<<10))
				n, err := d.ReadAt(p, off)
				want := c.raw[min(off, int64(len(c.raw))):min(off+int64(len(p)), int64(len(c.raw)))]
				if !bytes.Equal(want, p[:n]) || (n < len(p)) != errors.Is(err, io.EOF) {
					t.Errorf("%d of %d bytes at %d: %v", n, len(p), off, err)
				}
			}
		})
	}
	readers.Wait()
	require.Len(t, d.cache.ring, 16)
	require.Len(t, d.cache.index, 16)
}

func TestWhatIsBesideABadSectorIsRead(t *testing.T) {
	c := newCounted(1 << 20)
	c.bad = 100_000
	d := c.cached(1 << 20)
	p := make([]byte, 1000)
	_, err := d.ReadAt(p, 98_000)
	require.NoError(t, err)
	require.True(t, bytes.Equal(c.raw[98_000:99_000], p))
	_, err = d.ReadAt(p, 99_500)
	require.ErrorContains(t, err, "bad sector")
}
