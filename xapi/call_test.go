package xapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
)

// requireNoSecret fails when an error, printed in any way, shows a session or the password.
func requireNoSecret(t *testing.T, err error) {
	t.Helper()
	require.Error(t, err)
	for e := err; e != nil; e = errors.Unwrap(e) {
		for _, text := range []string{e.Error(), fmt.Sprintf("%+v", e), fmt.Sprintf("%#v", e)} {
			require.NotContains(t, text, sessionMark)
			require.NotContains(t, text, "session_id")
			require.NotContains(t, text, password)
		}
	}
}

func TestWrongPasswordNamesHostAndUser(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	_, err := xapi.Dial(t.Context(), s.URL, &xapi.Options{Username: "backup", Password: "not-the-password"})
	require.ErrorIs(t, err, xapi.ErrAuthenticationFailed)
	require.ErrorContains(t, err, strings.TrimPrefix(s.URL, "http://"))
	require.ErrorContains(t, err, "backup")
	require.NotContains(t, err.Error(), "not-the-password")
}

func TestNoConnectionIsErrUnreachableAndTheNetworksError(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := listener.Addr().String()
	require.NoError(t, listener.Close())
	_, err = xapi.Dial(t.Context(), "http://"+addr, &xapi.Options{Password: password})
	require.ErrorIs(t, err, xapi.ErrUnreachable)
	require.ErrorContains(t, err, addr)
	var op *net.OpError
	require.ErrorAs(t, err, &op)
}

func TestDialFollowsSlavesToTheMaster(t *testing.T) {
	t.Parallel()
	master := newServer(t)
	slave := newServer(t)
	slave.serve(answer(`{"jsonrpc":"2.0","error":{"code":1,"message":"HOST_IS_SLAVE","data":["` + strings.TrimPrefix(master.URL, "http://") + `"]},"id":1}`))
	c := slave.dial(t, nil)
	require.Equal(t, strings.TrimPrefix(master.URL, "http://"), c.Host())

	lost := newServer(t)
	lost.serve(answer(`{"jsonrpc":"2.0","error":["HOST_IS_SLAVE","` + strings.TrimPrefix(lost.URL, "http://") + `"],"id":0}`))
	_, err := xapi.Dial(t.Context(), lost.URL, &xapi.Options{Password: password})
	require.ErrorIs(t, err, xapi.ErrHostIsSlave)
}

// answer serves one fixed JSON text to everything.
func answer(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, text)
	})
}

func TestSessionExpiryCostsOneLoginEach(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.handle("pool.get_all", func([]any) (any, []string) { return []string{}, nil })
	c := s.dial(t, nil)
	for round := range 5 {
		s.mu.Lock()
		clear(s.sessions)
		s.mu.Unlock()
		var group sync.WaitGroup
		errs := make(chan error, 16)
		for range cap(errs) {
			group.Go(func() { errs <- c.Call(t.Context(), "pool.get_all", nil) })
		}
		group.Wait()
		for range cap(errs) {
			require.NoError(t, <-errs)
		}
		require.Equal(t, round+2, s.logins)
	}
}

func TestSessionExpiryEveryFewCallsIsNeverSeen(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.handle("pool.get_all", func([]any) (any, []string) { return []string{}, nil })
	c := s.dial(t, nil)
	s.mu.Lock()
	s.expireEvery = 7
	s.mu.Unlock()
	for range 100 {
		require.NoError(t, c.Call(t.Context(), "pool.get_all", nil))
	}
	s.mu.Lock()
	s.expireEvery = 1
	s.mu.Unlock()
	err := c.Call(t.Context(), "pool.get_all", nil)
	require.ErrorIs(t, err, xapi.ErrSessionInvalid)
	requireNoSecret(t, err)
}

func TestSharedLoginSurvivesTheCallerThatStartedIt(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	s.handle("pool.get_all", func([]any) (any, []string) { return []string{}, nil })
	s.mu.Lock()
	clear(s.sessions)
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, c.Call(ctx, "pool.get_all", nil), context.Canceled)
	require.NoError(t, c.Call(t.Context(), "pool.get_all", nil))
}

func TestCallAfterCloseFails(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	require.Empty(t, s.sessions)
	require.ErrorIs(t, c.Call(t.Context(), "pool.get_all", nil), xapi.ErrClosed)
}

func TestAnswersOfEveryShape(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	get := func(text string) (any, error) {
		s.serve(answer(text))
		var result any
		err := c.Call(t.Context(), "pool.get_all", &result)
		return result, err
	}
	for text, want := range map[string]any{
		`{"jsonrpc":"2.0","result":"x","id":1}`:                                    "x",
		`{"result":["a\"NaN","b"],"error":null,"id":1}`:                            []any{`a"NaN`, "b"},
		` {"id":0,"result":[NaN, Infinity,-Infinity,-1,"-Infinity",true]} ` + "\n": []any{nil, nil, nil, -1.0, "-Infinity", true},
	} {
		got, err := get(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got)
	}
	for _, text := range []string{
		`{"jsonrpc":"2.0","error":["VDI_IN_USE","OpaqueRef:1","destroy"],"id":0}`,
		`{"result":null,"error":["VDI_IN_USE","OpaqueRef:1","destroy"],"id":0}`,
		`{"jsonrpc":"2.0","error":{"code":1,"message":"VDI_IN_USE","data":["OpaqueRef:1","destroy"]},"id":0}`,
	} {
		_, err := get(text)
		require.ErrorIs(t, err, xapi.ErrVDIInUse, text)
		var refused *xapi.Error
		require.ErrorAs(t, err, &refused)
		require.Equal(t, []string{"OpaqueRef:1", "destroy"}, refused.Params)
		require.Equal(t, "pool.get_all", refused.Method)
	}
	for _, text := range []string{
		``, `null`, `[]`, `{}`, `{"id":1}`, `{"result":1}{}`, `{"result":1}x`, `{"result":`, `{"error":[],"id":1}`, `{"error":{},"id":1}`, `<html>`,
	} {
		_, err := get(text)
		require.Error(t, err, text)
		require.True(t, errors.Is(err, xapi.ErrProtocol) || errors.Is(err, xapi.ErrConnectionLost), "%s: %v", text, err)
	}
}

func TestIntegersStayExact(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	s.serve(answer(`{"jsonrpc":"2.0","result":9007199254740993,"id":1}`))
	var size int64
	require.NoError(t, c.Call(t.Context(), "VDI.get_virtual_size", &size, "OpaqueRef:1"))
	require.Equal(t, int64(9007199254740993), size)
}

func TestUnexpectedAnswersAreQuotedWithoutSecrets(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	s.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = fmt.Fprintf(w, "<html>Internal   Error %s %s %s</html>", body, password, strings.Repeat("x", 10_000))
	}))
	err := c.Call(t.Context(), "pool.get_all", nil)
	require.ErrorIs(t, err, xapi.ErrProtocol)
	require.ErrorContains(t, err, "500")
	require.ErrorContains(t, err, "Internal Error")
	require.Less(t, len(err.Error()), 600)
	requireNoSecret(t, err)
}

func TestAnswerCutAnywhereIsAnError(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	text := `{"jsonrpc":"2.0","result":{"OpaqueRef:1":{"uuid":"u","name_label":"a \" b","tags":["x"]}},"id":1}`
	for n := range len(text) {
		s.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", fmt.Sprint(len(text)))
			_, _ = io.WriteString(w, text[:n])
		}))
		_, err := xapi.All[xapi.VDI](t.Context(), c)
		require.ErrorIs(t, err, xapi.ErrConnectionLost, "cut at %d", n)
	}
}

func TestAnswerLargerThanMaxAnswerIsRefused(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, func(o *xapi.Options) { o.MaxAnswer = 1000 })
	s.serve(answer(`{"jsonrpc":"2.0","result":"` + strings.Repeat("x", 2000) + `","id":1}`))
	require.ErrorIs(t, c.Call(t.Context(), "pool.get_all", nil), xapi.ErrProtocol)
}

func TestRequestLargerThanPoolsAcceptIsNotSent(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	err := c.Call(t.Context(), "VM.set_name_description", nil, strings.Repeat("x", 300<<10))
	require.ErrorIs(t, err, xapi.ErrRequestTooLarge)
	require.Zero(t, s.called("VM.set_name_description"))
}

func TestSilentPoolEndsAGetterWithErrStalled(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, func(o *xapi.Options) { o.StallTimeout, o.CancelTimeout = 50*time.Millisecond, 50*time.Millisecond })
	s.serve(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	err := c.Call(t.Context(), "pool.get_all", nil)
	require.ErrorIs(t, err, xapi.ErrStalled)
	requireNoSecret(t, err)
}

func TestDeadKeptConnectionIsRetriedForGettersOnly(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	var mu sync.Mutex
	seen := map[string]int{}
	c := s.dial(t, nil)
	s.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		method := "VM.start"
		if strings.Contains(string(body), "get_all") {
			method = "get"
		}
		mu.Lock()
		seen[method]++
		n := seen[method]
		mu.Unlock()
		if n == 1 { // read the request, then die: the client cannot know what was done
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_ = conn.Close()
			}
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","result":[],"id":1}`)
	}))
	require.NoError(t, c.Call(t.Context(), "pool.get_all", nil))
	mu.Lock()
	require.Equal(t, 2, seen["get"])
	mu.Unlock()
	err := c.Call(t.Context(), "VM.start", nil)
	require.ErrorIs(t, err, xapi.ErrConnectionLost)
	mu.Lock()
	require.Equal(t, 1, seen["VM.start"])
	mu.Unlock()
	requireNoSecret(t, err)
}

func TestLogsHoldNoSecret(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	var log strings.Builder
	c := s.dial(t, func(o *xapi.Options) {
		o.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	s.mu.Lock()
	clear(s.sessions)
	s.mu.Unlock()
	require.Error(t, c.Call(t.Context(), "pool.none", nil))
	require.NoError(t, c.Close())
	require.Contains(t, log.String(), "logged in")
	require.NotContains(t, log.String(), sessionMark)
	require.NotContains(t, log.String(), password)
}

// A failure is kept, item by item, which takes many times the memory of its text.
func TestAnEndlessFailureIsNotAFailure(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	s.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"error":["X"`+strings.Repeat(",0", 1<<20)+`]}`)
	}))
	err := c.Call(t.Context(), "VM.get_all", nil)
	require.ErrorIs(t, err, xapi.ErrProtocol)
	require.Less(t, len(err.Error()), 1000)
}
