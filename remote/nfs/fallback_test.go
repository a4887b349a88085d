package nfs

import (
	"context"
	"net"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
)

func TestAServerWithoutReadDirPlusIsListedByName(t *testing.T) {
	bubble(t, func(t stage, s *script, f *FS) {
		s.set(procReadDirPlus, failing(errNotSupp))
		s.set(procReadDir, ok(func(e *encoder) { e.testNames(true, ".", "b", "a", "gone") }))
		honest := newScript().answers[[2]uint32{programNFS, procLookup}]
		s.set(procLookup, func(args *decoder, e *encoder) fate {
			args.handle()
			if string(args.opaque(maxName)) == "gone" {
				return failing(errNoEnt)(args, e)
			}
			return honest(args, e)
		})
		for range 2 {
			entries, err := f.client.list(t.Context(), f.root)
			require.NoError(t, err)
			require.Len(t, entries, 2)
			require.Equal(t, "a", entries[0].name)
			require.Equal(t, int64(fileSize), entries[1].a.size)
		}
		require.Equal(t, 1, s.count(procReadDirPlus), "asked once")
	})
}

// TestAServerThatComesBackOnAnotherPortIsFound: the portmapper knows it.
func TestAServerThatComesBackOnAnotherPortIsFound(t *testing.T) {
	s := newScript()
	var port atomic.Uint32
	port.Store(4000)
	s.answers[[2]uint32{programPortmap, procGetPort}] = func(_ *decoder, e *encoder) fate {
		e.uint32(port.Load())
		return send
	}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		_, asked, err := net.SplitHostPort(address)
		if err == nil && asked != strconv.Itoa(portPortmap) && asked != strconv.FormatUint(uint64(port.Load()), 10) {
			return nil, syscall.ECONNREFUSED
		}
		return s.dial(ctx, network, address)
	}
	f, err := Open(t.Context(), "server", "/export", &Options{Options: remote.Options{DialContext: dial}})
	require.NoError(t, err)
	defer func() {
		require.NoError(t, f.Close())
		s.hangUpAll(nil)
		s.served.Wait()
	}()
	port.Store(5000)
	s.hangUpAll(nil)
	_, err = f.Stat(t.Context(), "x")
	require.NoError(t, err)
}
