package xapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	// transferBuffer is the size of the buffers between a socket and a transfer, in bytes.
	transferBuffer = 256 << 10
	// connectTimeout limits the making of a connection, and the TLS handshake on it.
	connectTimeout = 30 * time.Second
)

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// hosts are the connections to the hosts of one pool. Each host has a transport of its own, because each proves itself by its own
// certificate.
type hosts struct {
	tls    *tls.Config // before what is particular to a host
	pins   map[string][]Fingerprint
	dial   dialFunc
	buffer int

	mu         sync.Mutex
	transports map[string]*http.Transport // by host and port
	identities map[string]string          // who must be there, by host and port; missing means the host of that name
}

// newHosts are the connections that opts asks for.
func newHosts(opts *Options, config *tls.Config, buffer int) *hosts {
	return &hosts{
		tls: config, pins: opts.Pins, dial: opts.dialer(), buffer: buffer,
		transports: map[string]*http.Transport{}, identities: map[string]string{},
	}
}

// RoundTrip implements http.RoundTripper.
func (h *hosts) RoundTrip(req *http.Request) (*http.Response, error) {
	return h.transport(req.URL.Host, req.URL.Hostname()).RoundTrip(req)
}

// CloseIdleConnections closes what is not in use.
func (h *hosts) CloseIdleConnections() {
	h.mu.Lock()
	all := slices.Collect(maps.Values(h.transports))
	h.mu.Unlock()
	for _, transport := range all { // without the lock: a silent peer of TLS is said goodbye to for seconds
		transport.CloseIdleConnections()
	}
}

// dropIdle closes what is not in use of the connections to one host: when it has fallen silent on one, the others, which look alive
// for as long, would each cost the same time.
func (h *hosts) dropIdle(address string) {
	h.mu.Lock()
	transport := h.transports[address]
	h.mu.Unlock()
	if transport != nil {
		transport.CloseIdleConnections()
	}
}

// identify says which host must prove itself at another of its addresses.
func (h *hosts) identify(address, name string) {
	if old := h.forget(address, name); old != nil {
		old.CloseIdleConnections()
	}
}

// forget takes another name for an address, and returns the transport that was made for the old one, if there is any.
func (h *hosts) forget(address, name string) *http.Transport {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.identities[address] == name {
		return nil
	}
	h.identities[address] = name
	old := h.transports[address]
	delete(h.transports, address)
	return old
}

// transport makes HTTP/1.1 connections, which is all that hosts speak. They never close an idle connection themselves;
// IdleConnTimeout is for what stands between. Peers that vanish are found by TCP keep-alive.
func (h *hosts) transport(address, name string) *http.Transport {
	h.mu.Lock()
	defer h.mu.Unlock()
	if transport := h.transports[address]; transport != nil {
		return transport
	}
	if identity := h.identities[address]; identity != "" {
		name = identity
	}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         h.dial,
		TLSClientConfig:     h.configFor(name),
		TLSHandshakeTimeout: connectTimeout,
		DisableCompression:  true,
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     90 * time.Second,
		ReadBufferSize:      h.buffer,
		WriteBufferSize:     h.buffer,
	}
	h.transports[address] = transport
	return transport
}

// configFor is how the host of that name proves itself: by its pins alone if it has any, else by its name in a certificate that a
// trusted authority signed.
func (h *hosts) configFor(name string) *tls.Config {
	config := h.tls.Clone()
	if config.ServerName == "" {
		config.ServerName = name
	}
	var pins []Fingerprint
	for host, fingerprints := range h.pins {
		if sameHost(host, name) {
			pins = append(pins, fingerprints...)
		}
	}
	if len(pins) == 0 {
		return config
	}
	verify := config.VerifyConnection
	config.InsecureSkipVerify = true // VerifyConnection is called nevertheless, also when a TLS session is resumed
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("no certificate")
		}
		if err := checkPins(name, state.PeerCertificates[0], pins); err != nil {
			return err
		}
		if verify != nil {
			return verify(state)
		}
		return nil
	}
	return config
}

// untrusted reports whether err says that a peer showed a certificate that does not do.
func untrusted(err error) bool {
	var pinned *FingerprintError
	var unverified *tls.CertificateVerificationError
	return errors.As(err, &pinned) || errors.As(err, &unverified)
}

// tlsConfig is the part of the TLS configuration that all hosts share.
func (o *Options) tlsConfig() (*tls.Config, error) {
	config := o.TLS.Clone()
	if config == nil {
		config = &tls.Config{}
	}
	if len(o.ExtraCAs) > 0 {
		roots, err := x509.SystemCertPool()
		if config.RootCAs != nil {
			roots, err = config.RootCAs.Clone(), nil
		}
		if err != nil {
			return nil, fmt.Errorf("xapi: Options.ExtraCAs: %w", err)
		}
		if !roots.AppendCertsFromPEM(o.ExtraCAs) {
			return nil, errors.New("xapi: Options.ExtraCAs: no certificate in PEM form")
		}
		config.RootCAs = roots
	}
	if o.InsecureTLS {
		config.InsecureSkipVerify = true // its name says so
	}
	return config, nil
}

// dialer is Options.DialContext or the network's. nil Options are allowed.
func (o *Options) dialer() dialFunc {
	if o != nil && o.DialContext != nil {
		return o.DialContext
	}
	return (&net.Dialer{Timeout: connectTimeout, KeepAlive: 15 * time.Second}).DialContext
}
