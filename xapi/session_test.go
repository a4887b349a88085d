package xapi_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
)

func (s *server) openSessions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.sessions))
}

// lateLogins answers logins only when told, after the client has given up perhaps.
func (s *server) lateLogins(asked chan<- struct{}, answer <-chan struct{}) {
	s.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		if bytes.Contains(body, []byte("login_with_password")) {
			asked <- struct{}{}
			<-answer
		}
		s.mux.ServeHTTP(w, r)
	}))
}

func TestALoginThatIsCutOffLeavesNoSession(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	asked, answer := make(chan struct{}), make(chan struct{})
	s.lateLogins(asked, answer)
	stopped := errors.New("the job was stopped")
	for _, dialled := range []bool{false, true} {
		var c *xapi.Client
		if dialled {
			s.serve(nil)
			c = s.dial(t, nil)
			s.mu.Lock()
			clear(s.sessions)
			s.mu.Unlock()
			s.lateLogins(asked, answer)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		failed := make(chan error, 1)
		go func() {
			var err error
			if dialled {
				err = c.Call(ctx, "VM.get_all", nil)
			} else {
				_, err = xapi.Dial(ctx, s.URL, &xapi.Options{Password: password})
			}
			failed <- err
		}()
		<-asked
		cancel(stopped)
		answer <- struct{}{}
		require.ErrorIs(t, <-failed, stopped)
		if dialled {
			require.Len(t, s.openSessions(), 1) // kept for the next call
			require.NoError(t, c.Close())
		}
		require.Empty(t, s.openSessions())
	}
}

func TestDialGivesUpOnAHostThatIsSilent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		silent := func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			go func() {
				_, _ = io.Copy(io.Discard, there) // accepts, and never answers
				_ = there.Close()
			}()
			return here, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		_, err := xapi.Dial(ctx, "http://pool", &xapi.Options{Password: password, DialContext: silent})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Minute+5*time.Second, time.Since(began)) // Options.CancelTimeout

		// nothing was said, so there is nothing to wait for
		deaf := func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}
		ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began = time.Now()
		_, err = xapi.Dial(ctx, "http://pool", &xapi.Options{Password: password, DialContext: deaf})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 10*time.Second, time.Since(began))
	})
}

// While the pool is looked for elsewhere, transfers may go on: the session they run by must not be ended.
func TestFailoverLeavesRunningTransfersTheirSession(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	told(s, "127.0.0.9", "OpaqueRef:other")
	s.handle("pool.get_all", func([]any) (any, []string) { return []string{}, nil })
	proceed := make(chan struct{})
	s.mux.HandleFunc("GET /export_raw_vdi", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "di")
		_ = http.NewResponseController(w).Flush()
		<-proceed
		_, _ = io.WriteString(w, "sk")
		s.settle(task(r), "success", "")
	})
	var refuse atomic.Int32
	network := s.Client().Transport
	c := s.dial(t, func(o *xapi.Options) {
		o.Transport = transport(func(r *http.Request) (*http.Response, error) {
			if refuse.Add(-1) >= 0 {
				return nil, refusedConnection(t, s)
			}
			return network.RoundTrip(r)
		})
	})
	d, err := c.ExportVDI(t.Context(), "OpaqueRef:vdi", nil)
	require.NoError(t, err)
	first := s.openSessions()
	require.Len(t, first, 1)

	refuse.Store(1)
	require.NoError(t, c.Call(t.Context(), "pool.get_all", nil))
	require.Len(t, s.openSessions(), 2)
	require.Contains(t, s.openSessions(), first[0])
	refuse.Store(1)
	require.NoError(t, c.Call(t.Context(), "pool.get_all", nil))
	require.Len(t, s.openSessions(), 2) // nothing ran by the second one
	close(proceed)
	require.NoError(t, d.Finish(t.Context()))
	require.Len(t, s.openSessions(), 1)
	require.NotContains(t, s.openSessions(), first[0])
	require.NoError(t, c.Close())
	require.Empty(t, s.openSessions())
}

func TestCloseEndsTheSessionsOfAbandonedTransfersToo(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	told(s, "127.0.0.9", "OpaqueRef:other")
	s.handle("pool.get_all", func([]any) (any, []string) { return []string{}, nil })
	s.mux.HandleFunc("GET /export_raw_vdi", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "di")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	var refuse atomic.Int32
	network := s.Client().Transport
	c := s.dial(t, func(o *xapi.Options) {
		o.Transport = transport(func(r *http.Request) (*http.Response, error) {
			if refuse.Add(-1) >= 0 {
				return nil, refusedConnection(t, s)
			}
			return network.RoundTrip(r)
		})
	})
	d, err := c.ExportVDI(t.Context(), "OpaqueRef:vdi", nil)
	require.NoError(t, err)
	refuse.Store(1)
	require.NoError(t, c.Call(t.Context(), "pool.get_all", nil))
	require.NoError(t, c.Close())
	require.Empty(t, s.openSessions())
	require.NoError(t, d.Close())
}
