package nbd_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"io/fs"
	"net"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xapi/nbd"
)

// certificate borrows the test certificate of package httptest.
func certificate(t *testing.T) (forServer, forClient *tls.Config) {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return &tls.Config{Certificates: s.TLS.Certificates, MinVersion: tls.VersionTLS12},
		&tls.Config{RootCAs: pool, ServerName: "example.com", MinVersion: tls.VersionTLS12}
}

// variants are the servers that a client meets.
func variants(t *testing.T, run func(t *testing.T, s *nbd.Server, m *memory, opts *nbd.ClientOptions)) {
	t.Helper()
	forServer, forClient := certificate(t)
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		for age, legacy := range map[string]bool{"current": false, "legacy": true} {
			t.Run(name+"/"+age, func(t *testing.T) {
				t.Parallel()
				m := newMemory(5*mib + 512)
				s, opts := server(m), &nbd.ClientOptions{MaxInFlight: 3}
				s.Legacy = legacy
				if secure {
					s.TLS, opts.TLS = forServer, forClient
				}
				run(t, s, m, opts)
			})
		}
	}
}

func TestClientReadsWhatIsServed(t *testing.T) {
	t.Parallel()
	variants(t, func(t *testing.T, s *nbd.Server, m *memory, opts *nbd.ClientOptions) {
		t.Helper()
		c := open(t, connect(t, s), opts)
		require.Equal(t, m.Size(), c.Size())
		require.Equal(t, opts.TLS != nil, c.Secure())
		require.True(t, bytes.Equal(m.data, all(t, c)))
		for _, r := range [][2]int64{{0, 1}, {511, 2}, {1, 3 * mib}, {m.Size() - 1, 1}, {m.Size() - 513, 513}, {700, 0}, {1000, 24}} {
			got := make([]byte, r[1])
			n, err := c.ReadAt(got, r[0])
			require.NoError(t, err)
			require.EqualValues(t, r[1], n)
			require.True(t, bytes.Equal(m.data[r[0]:r[0]+r[1]], got), "at %d", r[0])
		}
		n, err := c.ReadAt(make([]byte, 100), m.Size()-30)
		require.Equal(t, 30, n)
		require.ErrorIs(t, err, io.EOF)
		_, err = c.ReadAt(make([]byte, 1), m.Size())
		require.ErrorIs(t, err, io.EOF)
		require.NoError(t, c.Close())
		require.NoError(t, c.Close(), "again")
		_, err = c.ReadAt(make([]byte, 1), 0)
		require.ErrorIs(t, err, nbd.ErrClosed)
	})
}

func TestClientIsUsedConcurrently(t *testing.T) {
	t.Parallel()
	m := newMemory(5 * mib)
	c := open(t, connect(t, server(m)), &nbd.ClientOptions{MaxInFlight: 4})
	var readers sync.WaitGroup
	for i := range 16 {
		readers.Go(func() {
			off := i * 311 * kib
			got := make([]byte, 300*kib)
			if _, err := c.ReadAt(got, int64(off)); err != nil || !bytes.Equal(m.data[off:off+len(got)], got) {
				t.Errorf("at %d: %v", off, err)
			}
		})
	}
	readers.Wait()
}

func TestExtentsTellZerosFromData(t *testing.T) {
	t.Parallel()
	m := newMemory(256 * kib)
	c := open(t, connect(t, server(m)), nil)
	require.True(t, c.CanStatus())
	want := []disk.Extent{
		{Off: 60 * kib, Len: 4 * kib, Kind: disk.Data}, {Off: 64 * kib, Len: 64 * kib, Kind: disk.Zero}, {Off: 128 * kib, Len: kib, Kind: disk.Data},
	}
	if diff := cmp.Diff(want, extents(t, c, 60*kib, 69*kib)); diff != "" {
		t.Error(diff)
	}
	require.Len(t, extents(t, c, 0, 1<<40), 4)
	require.Empty(t, extents(t, c, 1<<20, 1))

	s := server(m)
	s.Legacy = true
	c = open(t, connect(t, s), nil)
	require.False(t, c.CanStatus())
	if diff := cmp.Diff([]disk.Extent{{Off: 5, Len: 256*kib - 5, Kind: disk.Data}}, extents(t, c, 5, 1<<40)); diff != "" {
		t.Error(diff)
	}
}

func TestRefusalsHaveNames(t *testing.T) {
	t.Parallel()
	forServer, forClient := certificate(t)
	m := newMemory(mib)
	for name, test := range map[string]struct {
		export         string
		server, client *tls.Config
		legacy         bool
		want           error
	}{
		"unknown export":        {export: "other", want: nbd.ErrUnknownExport},
		"legacy unknown export": {export: "other", legacy: true, want: nbd.ErrUnknownExport},
		"TLS wanted":            {export: "disk", server: forServer, want: nbd.ErrTLSRequired},
		"TLS not had":           {export: "disk", client: forClient, want: nbd.ErrTLSRefused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := server(m)
			s.TLS, s.Legacy = test.server, test.legacy
			_, err := nbd.NewClient(t.Context(), connect(t, s), test.export, &nbd.ClientOptions{TLS: test.client})
			require.ErrorIs(t, err, test.want)
		})
	}
	s := server(m)
	s.TLS = forServer
	wrong := forClient.Clone()
	wrong.ServerName = "other.example"
	_, err := nbd.NewClient(t.Context(), connect(t, s), "disk", &nbd.ClientOptions{TLS: wrong})
	require.ErrorAs(t, err, new(*tls.CertificateVerificationError))
}

func TestFailedReadLeavesTheConnectionGood(t *testing.T) {
	t.Parallel()
	for _, legacy := range []bool{false, true} {
		m := newMemory(4 * mib)
		m.bad = 3 * mib
		s := server(m)
		s.Legacy = legacy
		c := open(t, connect(t, s), nil)
		_, err := c.ReadAt(make([]byte, 4*mib), 0)
		failed := new(nbd.CommandError)
		require.ErrorAs(t, err, &failed)
		require.EqualValues(t, 5, failed.Code)
		got := make([]byte, mib)
		_, err = c.ReadAt(got, 0)
		require.NoError(t, err)
		require.True(t, bytes.Equal(m.data[:mib], got))
		require.NoError(t, c.Close())
	}
}

func TestServerClosesWhatItOpened(t *testing.T) {
	t.Parallel()
	m := newMemory(mib)
	ours, theirs := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- server(m).Serve(t.Context(), theirs) }()
	c, err := nbd.NewClient(t.Context(), ours, "disk", nil)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, <-served)
	require.EqualValues(t, 1, m.closed.Load())
}

// mute opens the export and then swallows all requests.
func mute(t *testing.T) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	go func() {
		defer func() { _ = theirs.Close() }()
		_, _ = theirs.Write([]byte("NBDMAGICIHAVEOPT\x00\x00"))
		_, _ = io.ReadFull(theirs, make([]byte, 4+16+4))
		_, _ = theirs.Write(append([]byte{0, 0, 0, 0, 0, 16, 0, 0, 0, 3}, make([]byte, 124)...))
		_, _ = io.Copy(io.Discard, theirs)
	}()
	return ours
}

func TestStalledServerIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, mute(t), &nbd.ClientOptions{StallTimeout: time.Minute})
		start := time.Now()
		time.AfterFunc(time.Hour, func() {})
		<-time.After(time.Hour) // nothing is due: no stall
		_, err := c.ReadAt(make([]byte, 512), 0)
		require.ErrorIs(t, err, nbd.ErrStalled)
		require.Equal(t, time.Hour+time.Minute, time.Since(start))
		require.ErrorIs(t, c.Close(), nbd.ErrStalled)
	})
}

func TestContextEndsAReadAndNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, mute(t), &nbd.ClientOptions{MaxInFlight: 2, StallTimeout: -1})
		ctx, cancel := context.WithCancel(t.Context())
		other := make(chan error, 1)
		go func() {
			_, err := c.ReadAt(make([]byte, 512), 0)
			other <- err
		}()
		ended := make(chan error, 1)
		go func() {
			_, err := c.ReadAtContext(ctx, make([]byte, 4*mib), 0)
			ended <- err
		}()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		synctest.Wait()
		require.Empty(t, other)
		require.NoError(t, c.Close())
		require.ErrorIs(t, <-other, nbd.ErrClosed)
	})
}

func TestOpeningEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer func() { _ = theirs.Close() }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := nbd.NewClient(ctx, ours, "disk", nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestCommandErrorsHaveNamesOfPackageFS(t *testing.T) {
	t.Parallel()
	require.ErrorIs(t, &nbd.CommandError{Code: 1}, fs.ErrPermission)
	require.ErrorIs(t, &nbd.CommandError{Code: 22}, fs.ErrInvalid)
}
