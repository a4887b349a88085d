package nbd_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xapi/nbd"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// memory is a disk of which every other 64 KiB are zeros.
type memory struct {
	data   []byte
	bad    int64 // reads of this byte fail; 0 = none
	closed *atomic.Int32
}

func newMemory(size int) *memory {
	m := &memory{data: make([]byte, size), closed: new(atomic.Int32)}
	random := rand.NewChaCha8([32]byte{1})
	for off := 0; off < size; off += 128 * kib {
		_, _ = random.Read(m.data[off:min(off+64*kib, size)]) // never fails
	}
	return m
}

func (m *memory) Size() int64 { return int64(len(m.data)) }

func (m *memory) Close() error { m.closed.Add(1); return nil }

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	if m.bad > 0 && off <= m.bad && m.bad < off+int64(len(p)) {
		return 0, errors.New("bad sector")
	}
	return bytes.NewReader(m.data).ReadAt(p, off)
}

func (m *memory) Extents(_ context.Context, off, n int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		for end := min(off+n, m.Size()); off < end; {
			e := disk.Extent{Off: off, Len: min(end, off/(64*kib)*64*kib+64*kib) - off, Kind: disk.Data}
			if off/(64*kib)%2 == 1 {
				e.Kind = disk.Zero
			}
			if !yield(e, nil) {
				return
			}
			off += e.Len
		}
	}
}

// server serves m as "disk".
func server(m *memory) *nbd.Server {
	return &nbd.Server{Open: func(_ context.Context, name string) (disk.Source, error) {
		if name != "disk" {
			return nil, errors.New("no such disk")
		}
		return m, nil
	}}
}

// connect serves one connection in memory and returns the client's end.
func connect(t *testing.T, s *nbd.Server) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- s.Serve(t.Context(), theirs) }()
	t.Cleanup(func() {
		_ = ours.Close()
		if err := <-served; err != nil {
			t.Logf("server: %v", err) // what the client did is what the test is about
		}
	})
	return ours
}

// listen serves on a free port until the test ends.
func listen(t *testing.T, s *nbd.Server) string {
	t.Helper()
	var lc net.ListenConfig
	listener, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.ServeListener(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return listener.Addr().String()
}

func open(t *testing.T, conn net.Conn, opts *nbd.ClientOptions) *nbd.Client {
	t.Helper()
	c, err := nbd.NewClient(t.Context(), conn, "disk", opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// all reads the whole disk in one call.
func all(t *testing.T, c *nbd.Client) []byte {
	t.Helper()
	b := make([]byte, c.Size())
	n, err := c.ReadAt(b, 0)
	require.NoError(t, err)
	require.Len(t, b, n)
	return b
}

func extents(t *testing.T, s disk.Source, off, n int64) (list []disk.Extent) {
	t.Helper()
	for e, err := range s.Extents(t.Context(), off, n) {
		require.NoError(t, err)
		list = append(list, e)
	}
	return list
}

var _ io.Closer = (*memory)(nil)
