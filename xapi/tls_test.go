package xapi_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
)

func TestTLSNeverFallsBack(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	secure := httptest.NewTLSServer(s.Config.Handler)
	t.Cleanup(secure.Close)

	_, err := xapi.Dial(t.Context(), secure.URL, &xapi.Options{Password: password})
	require.ErrorIs(t, err, xapi.ErrUnreachable)
	var unverified *tls.CertificateVerificationError
	require.ErrorAs(t, err, &unverified)
	require.Zero(t, s.logins)

	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	c, err := xapi.Dial(t.Context(), secure.URL, &xapi.Options{
		Password: password, TLS: &tls.Config{RootCAs: roots}, CancelTimeout: 100 * time.Millisecond,
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })

	s.mux.HandleFunc("GET /export_raw_vdi", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, s.URL+"/plain?"+r.URL.RawQuery, http.StatusFound)
	})
	visited := false
	s.mux.HandleFunc("GET /plain", func(http.ResponseWriter, *http.Request) { visited = true })
	_, err = c.ExportVDI(t.Context(), "OpaqueRef:vdi", nil)
	require.ErrorIs(t, err, xapi.ErrProtocol)
	requireNoSecret(t, err)
	require.False(t, visited)
}

func TestPlainHostsLeadToTLSButNotBack(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.settle(task(r), "success", "")
		_, _ = io.WriteString(w, "disk")
	}))
	t.Cleanup(secure.Close)
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	c := s.dial(t, func(o *xapi.Options) {
		o.TLS = &tls.Config{RootCAs: roots}
		o.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			if address == "127.0.0.1:443" {
				address = secure.Listener.Addr().String()
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		}
	})
	s.mux.HandleFunc("GET /export_raw_vdi", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://127.0.0.1/export_raw_vdi?"+r.URL.RawQuery, http.StatusFound)
	})
	d, err := c.ExportVDI(t.Context(), "OpaqueRef:vdi", nil)
	require.NoError(t, err)
	require.NoError(t, d.Finish(t.Context()))
}
