package xapi_test

import (
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
)

// told makes a host tell of another host of its pool.
func told(s *server, address, ref string) {
	s.handle("host.get_all_records", func([]any) (any, []string) {
		return map[string]any{ref: map[string]any{"address": address}}, nil
	})
}

func TestWithPinsOnlyPinnedHostsAreAskedForTheMaster(t *testing.T) {
	t.Parallel()
	home, foreign := newServer(t), newServer(t)
	certificate := newAuthority(t).issue(t, time.Hour, "localhost")
	there := serveTLS(t, newAuthority(t).issue(t, time.Hour, "elsewhere.example"), foreign.mux)
	here := serveTLS(t, certificate, home.mux)
	told(home, "127.0.0.1:"+port(t, there.URL), "OpaqueRef:ours")
	c, err := xapi.Dial(t.Context(), "https://localhost:"+port(t, here.URL), &xapi.Options{
		Retry:    xapi.RetryPolicy{Attempts: 1},
		Password: password, InsecureTLS: true, Pins: map[string][]xapi.Fingerprint{"localhost": {fingerprintOf(certificate)}},
	})
	require.NoError(t, err)
	here.CloseClientConnections()
	here.Close()
	require.ErrorIs(t, c.Call(t.Context(), "pool.get_all", nil), xapi.ErrUnreachable)
	require.Zero(t, foreign.logins)
}

func TestAHostOfAnotherPoolIsNotTakenForTheMaster(t *testing.T) {
	t.Parallel()
	for ref, want := range map[string]error{"OpaqueRef:ours": nil, "OpaqueRef:theirs": xapi.ErrUnreachable} {
		home, other := newServer(t), newServer(t)
		here, there := httptest.NewServer(home.mux), httptest.NewServer(other.mux)
		t.Cleanup(there.Close)
		told(home, "127.0.0.1:"+port(t, there.URL), "OpaqueRef:ours")
		told(other, "127.0.0.1:"+port(t, there.URL), ref)
		other.handle("VM.get_all", func([]any) (any, []string) { return []any{}, nil })
		c, err := xapi.Dial(t.Context(), here.URL, &xapi.Options{Password: password, Retry: xapi.RetryPolicy{Attempts: 1}})
		require.NoError(t, err)
		here.CloseClientConnections()
		here.Close()
		require.ErrorIs(t, c.Call(t.Context(), "VM.get_all", nil), want, ref)
	}
}

func port(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	return u.Port()
}
