package xapi

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"
)

// HostCertificate is what a host shows before anything is said to it.
type HostCertificate struct {
	Certificate Fingerprint // pin this one, or Key
	Key         Fingerprint
	Subject     string
	Issuer      string // the Subject again when the certificate is self-signed
	Names       []string
	NotBefore   time.Time
	NotAfter    time.Time
}

// FetchFingerprint returns the certificate that the host at addr shows now, without trusting it, and says nothing to it. It is for
// trust on first use: show the fingerprint to somebody who can compare it with the host's console, then put it into Options.Pins. Of
// opts, which may be nil, only DialContext counts; no proxy is used.
func FetchFingerprint(ctx context.Context, addr string, opts *Options) (*HostCertificate, error) {
	u, err := parseAddress(addr)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "https" {
		return nil, errors.New("xapi: fingerprint: only https hosts have one")
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	port := u.Port()
	if port == "" {
		port = "443"
	}
	conn, err := opts.dialer()(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, hostError(u.Host, ErrUnreachable, err)
	}
	defer func() { _ = conn.Close() }()                                                       // nothing was written
	peer := tls.Client(conn, &tls.Config{ServerName: u.Hostname(), InsecureSkipVerify: true}) // the caller decides about trust
	if err := peer.HandshakeContext(ctx); err != nil {
		return nil, hostError(u.Host, ErrUnreachable, err)
	}
	cert := peer.ConnectionState().PeerCertificates[0]
	shown := &HostCertificate{
		Certificate: certificateFingerprint(cert), Key: keyFingerprint(cert), Subject: cert.Subject.String(), Issuer: cert.Issuer.String(),
		Names: cert.DNSNames, NotBefore: cert.NotBefore, NotAfter: cert.NotAfter,
	}
	for _, ip := range cert.IPAddresses {
		shown.Names = append(shown.Names, ip.String())
	}
	return shown, nil
}
