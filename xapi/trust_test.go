package xapi_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
)

// authority signs certificates for tests; a nil one lets them sign themselves, as hosts do.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	made := (*authority)(nil).issue(t, time.Hour, "authority")
	return &authority{made.Leaf, made.PrivateKey.(*ecdsa.PrivateKey)}
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// issue makes a certificate for names, the first of which is also its subject; valid that long, which may be negative.
func (a *authority) issue(t *testing.T, valid time.Duration, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: names[0]},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(valid),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: a == nil, BasicConstraintsValid: true,
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	parent, signer := template, key
	if a != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func fingerprintOf(cert tls.Certificate) xapi.Fingerprint {
	return xapi.Fingerprint(fmt.Sprintf("sha256:%x", sha256.Sum256(cert.Leaf.Raw)))
}

func keyFingerprintOf(cert tls.Certificate) xapi.Fingerprint {
	return xapi.Fingerprint(fmt.Sprintf("spki-sha256:%x", sha256.Sum256(cert.Leaf.RawSubjectPublicKeyInfo)))
}

// secureHost serves the scripted host with that certificate, and counts the requests that came through.
type secureHost struct {
	*httptest.Server
	mu       sync.Mutex
	requests int
}

func serveTLS(t *testing.T, cert tls.Certificate, h http.Handler) *secureHost {
	t.Helper()
	s := &secureHost{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests++
		s.mu.Unlock()
		h.ServeHTTP(w, r)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *secureHost) seen() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// wiretap passes bytes on and keeps those of the client.
type wiretap struct {
	net.Listener
	mu   sync.Mutex
	said bytes.Buffer
}

func newWiretap(t *testing.T) *wiretap {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	return &wiretap{Listener: listener}
}

func (w *wiretap) Accept() (net.Conn, error) {
	conn, err := w.Listener.Accept()
	return &tappedConn{conn, w}, err
}

type tappedConn struct {
	net.Conn
	tap *wiretap
}

func (c *tappedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.tap.mu.Lock()
	defer c.tap.mu.Unlock()
	c.tap.said.Write(p[:n])
	return n, err
}

func (w *wiretap) heard() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.said.String()
}

// TestNothingIsSaidBeforeTheHostIsProven dials hosts that are not what they should be. None may see a request.
func TestNothingIsSaidBeforeTheHostIsProven(t *testing.T) {
	t.Parallel()
	ca, foreign := newAuthority(t), newAuthority(t)
	good := ca.issue(t, time.Hour, "127.0.0.1")
	other := (*authority)(nil).issue(t, time.Hour, "127.0.0.1")
	for name, probe := range map[string]struct {
		shown tls.Certificate
		opts  xapi.Options
	}{
		"system authorities only": {good, xapi.Options{}},
		"wrong pin":               {other, xapi.Options{Pins: map[string][]xapi.Fingerprint{"127.0.0.1": {fingerprintOf(good)}}}},
		"wrong key pin":           {other, xapi.Options{Pins: map[string][]xapi.Fingerprint{"127.0.0.1": {keyFingerprintOf(good)}}}},
		"a pin beats authorities": {good, xapi.Options{ExtraCAs: ca.pem(), Pins: map[string][]xapi.Fingerprint{"127.0.0.1": {fingerprintOf(other)}}}},
		"a pin beats insecure":    {good, xapi.Options{InsecureTLS: true, Pins: map[string][]xapi.Fingerprint{"127.0.0.1": {fingerprintOf(other)}}}},
		"pin of another host":     {other, xapi.Options{Pins: map[string][]xapi.Fingerprint{"127.0.0.2": {fingerprintOf(other)}}}},
		"expired":                 {ca.issue(t, -time.Hour, "127.0.0.1"), xapi.Options{ExtraCAs: ca.pem()}},
		"other host's":            {ca.issue(t, time.Hour, "127.0.0.2", "other.example.org"), xapi.Options{ExtraCAs: ca.pem()}},
		"other authority's":       {foreign.issue(t, time.Hour, "127.0.0.1"), xapi.Options{ExtraCAs: ca.pem()}},
		"self-signed":             {other, xapi.Options{ExtraCAs: ca.pem()}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			secure := serveTLS(t, probe.shown, s.mux)
			opts := probe.opts
			opts.Password = password
			_, err := xapi.Dial(t.Context(), secure.URL, &opts)
			require.ErrorIs(t, err, xapi.ErrUntrusted)
			require.ErrorIs(t, err, xapi.ErrUnreachable)
			require.Zero(t, secure.seen())
			requireNoSecret(t, err)
			if pins := opts.Pins["127.0.0.1"]; pins != nil {
				var changed *xapi.FingerprintError
				require.ErrorAs(t, err, &changed)
				require.Equal(t, pins, changed.Want)
				want := fingerprintOf(probe.shown)
				if strings.HasPrefix(string(pins[0]), "spki") {
					want = keyFingerprintOf(probe.shown)
				}
				require.Equal(t, want, changed.Got)
				require.ErrorContains(t, err, string(changed.Got))
				require.ErrorContains(t, err, string(pins[0]))
			}
		})
	}
}

func TestAPortWithoutTLSHearsNoSecret(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	tap := newWiretap(t)
	plain := &httptest.Server{Listener: tap, Config: &http.Server{Handler: s.mux, ReadHeaderTimeout: time.Minute}}
	plain.Start()
	t.Cleanup(plain.Close)
	cert := (*authority)(nil).issue(t, time.Hour, "127.0.0.1")
	_, err := xapi.Dial(t.Context(), "https://"+tap.Addr().String(), &xapi.Options{
		Password: password, Pins: map[string][]xapi.Fingerprint{"127.0.0.1": {fingerprintOf(cert)}},
	})
	require.ErrorIs(t, err, xapi.ErrUnreachable)
	require.NotContains(t, tap.heard(), password)
	require.NotContains(t, tap.heard(), "POST")
	require.Zero(t, s.logins)
}

// TestAProxyThatOpensTLSHearsNoSecret: it shows a certificate of its own, for the right name, and passes all on.
func TestAProxyThatOpensTLSHearsNoSecret(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	genuine := (*authority)(nil).issue(t, time.Hour, "127.0.0.1")
	host := serveTLS(t, genuine, s.mux)
	forged := (*authority)(nil).issue(t, time.Hour, "127.0.0.1")
	middle := serveTLS(t, forged, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Error("the proxy reads a request")
		w.WriteHeader(http.StatusBadGateway)
	}))
	proxied := func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr == strings.TrimPrefix(host.URL, "https://") {
			addr = strings.TrimPrefix(middle.URL, "https://")
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	pins := map[string][]xapi.Fingerprint{"127.0.0.1": {fingerprintOf(genuine)}}
	_, err := xapi.Dial(t.Context(), host.URL, &xapi.Options{Password: password, Pins: pins, DialContext: proxied})
	require.ErrorIs(t, err, xapi.ErrUntrusted)
	require.Zero(t, middle.seen()+host.seen())

	c, err := xapi.Dial(t.Context(), host.URL, &xapi.Options{Password: password, Pins: pins})
	require.NoError(t, err)
	require.NoError(t, c.Close())
}

func TestTrustedHostsAreReached(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	signed := ca.issue(t, time.Hour, "127.0.0.1")
	own := (*authority)(nil).issue(t, -time.Hour, "pool.example.org") // neither valid nor for this address
	sum := sha256.Sum256(own.Leaf.RawSubjectPublicKeyInfo)
	digits := strings.ToUpper(strings.TrimPrefix(string(fingerprintOf(own)), "sha256:"))
	var colons []string
	for i := 0; i < len(digits); i += 2 {
		colons = append(colons, digits[i:i+2])
	}
	pinned := func(pin string) xapi.Options {
		return xapi.Options{Pins: map[string][]xapi.Fingerprint{"127.0.0.1": {fingerprintOf(signed), xapi.Fingerprint(pin)}}}
	}
	for name, probe := range map[string]struct {
		shown tls.Certificate
		opts  xapi.Options
	}{
		"extra authority": {signed, xapi.Options{ExtraCAs: ca.pem()}},
		"certificate pin": {own, pinned(string(fingerprintOf(own)))},
		"with colons":     {own, pinned(strings.Join(colons, ":"))},
		"key pin":         {own, pinned(string(keyFingerprintOf(own)))},
		"curl's key pin":  {own, pinned("sha256//" + base64.StdEncoding.EncodeToString(sum[:]))},
		"insecure":        {own, xapi.Options{InsecureTLS: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			opts := probe.opts
			opts.Password = password
			c, err := xapi.Dial(t.Context(), serveTLS(t, probe.shown, s.mux).URL, &opts)
			require.NoError(t, err)
			require.NoError(t, c.Close())
		})
	}
}

func TestFetchFingerprintSaysNothing(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	cert := (*authority)(nil).issue(t, time.Hour, "pool.example.org", "127.0.0.1")
	secure := serveTLS(t, cert, s.mux)
	shown, err := xapi.FetchFingerprint(t.Context(), secure.URL, nil)
	require.NoError(t, err)
	require.Equal(t, fingerprintOf(cert), shown.Certificate)
	require.Equal(t, keyFingerprintOf(cert), shown.Key)
	require.Equal(t, "CN=pool.example.org", shown.Subject)
	require.Equal(t, []string{"pool.example.org", "127.0.0.1"}, shown.Names)
	require.Zero(t, secure.seen())

	c, err := xapi.Dial(t.Context(), secure.URL, &xapi.Options{
		Password: password, Pins: map[string][]xapi.Fingerprint{"127.0.0.1": {shown.Key}},
	})
	require.NoError(t, err)
	require.NoError(t, c.Close())

	_, err = xapi.FetchFingerprint(t.Context(), s.URL, nil)
	require.ErrorContains(t, err, "https")
	_, err = xapi.FetchFingerprint(t.Context(), strings.Replace(s.URL, "http:", "https:", 1), nil)
	require.ErrorIs(t, err, xapi.ErrUnreachable)
}

// TestEachHostProvesItself: neither the master behind a slave nor the host behind a redirect is trusted for the one that named it.
func TestEachHostProvesItself(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.handle("host.get_all_records", func([]any) (any, []string) {
		return map[string]any{"OpaqueRef:h": map[string]any{"address": "localhost"}}, nil
	})
	here, there := (*authority)(nil).issue(t, time.Hour, "a"), (*authority)(nil).issue(t, time.Hour, "b")
	first, second := serveTLS(t, here, s.mux), serveTLS(t, there, s.mux)
	target := "https://localhost:" + port(t, first.URL)
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasPrefix(address, "localhost:") {
			address = second.Listener.Addr().String()
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	s.mux.HandleFunc("GET /export_raw_vdi", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Host, "127") {
			http.Redirect(w, r, target+"/export_raw_vdi?"+r.URL.RawQuery, http.StatusFound)
			return
		}
		s.settle(task(r), "success", "")
		_, _ = io.WriteString(w, "disk")
	})
	slave := serveTLS(t, here, answer(`{"jsonrpc":"2.0","error":{"code":1,"message":"HOST_IS_SLAVE","data":["localhost"]},"id":1}`))
	for _, known := range []bool{false, true} {
		opts := &xapi.Options{
			Password: password, CancelTimeout: time.Second, DialContext: dial, Pins: map[string][]xapi.Fingerprint{"127.0.0.1": {fingerprintOf(here)}},
		}
		if known {
			opts.Pins["localhost"] = []xapi.Fingerprint{fingerprintOf(there)}
		}
		c, err := xapi.Dial(t.Context(), first.URL, opts)
		require.NoError(t, err)
		d, err := c.ExportVDI(t.Context(), "OpaqueRef:vdi", nil)
		if !known {
			require.ErrorIs(t, err, xapi.ErrUntrusted)
			requireNoSecret(t, err)
			require.Zero(t, second.seen())
		} else {
			require.NoError(t, err)
			require.NoError(t, d.Finish(t.Context()))
		}
		require.NoError(t, c.Close())

		c, err = xapi.Dial(t.Context(), slave.URL, opts)
		if !known {
			require.ErrorIs(t, err, xapi.ErrUntrusted)
			require.Zero(t, second.seen())
			continue
		}
		require.NoError(t, err)
		require.NoError(t, c.Close())
	}
}

func TestContradictoryOptionsAreRefused(t *testing.T) {
	t.Parallel()
	for _, opts := range []*xapi.Options{
		{Transport: http.DefaultTransport, InsecureTLS: true},
		{Transport: http.DefaultTransport, Pins: map[string][]xapi.Fingerprint{"h": {"x"}}},
		{Pins: map[string][]xapi.Fingerprint{"h": {"not a fingerprint"}}},
		{Pins: map[string][]xapi.Fingerprint{"h": {}}},
		{ExtraCAs: []byte("not a certificate")},
		{Protocol: "soap"},
	} {
		_, err := xapi.Dial(t.Context(), "http://127.0.0.1:1", opts)
		require.ErrorContains(t, err, "Options.")
	}
}
