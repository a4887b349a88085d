package xapitest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"time"
)

// newCertificate makes a certificate as the installer of a host does: signed by
// itself, for the names and addresses of the host, for ten years.
func newCertificate(name string, listening net.Addr) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("xapitest: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		return nil, fmt.Errorf("xapitest: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	names := []string{name, listening.String()}
	if host, _, err := net.SplitHostPort(listening.String()); err == nil {
		names[1] = host
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("xapitest: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// CertificatePEM returns the certificate that the master shows, nil without TLS.
func (p *Pool) CertificatePEM() []byte {
	c := p.doors[p.masterIndex()].certificate
	if c == nil {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// Fingerprint returns the SHA-256 of the master's certificate in lower-case hex,
// "" without TLS.
func (p *Pool) Fingerprint() string {
	c := p.doors[p.masterIndex()].certificate
	if c == nil {
		return ""
	}
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// Transport reaches the pool from this process: in memory where it listens on a
// [MemoryListener], and trusting the certificates of its hosts; nil, which stands
// for the default, where neither is needed.
func (p *Pool) Transport() http.RoundTripper {
	memory, _ := p.options.Listener.(*MemoryListener)
	roots := x509.NewCertPool()
	secure := false
	for _, d := range p.doors {
		if d.certificate != nil {
			roots.AddCert(d.certificate)
			secure = true
		}
	}
	if memory == nil && !secure {
		return nil
	}
	t := new(http.Transport)
	if memory != nil {
		t.DialContext = memory.DialContext
	}
	if secure {
		t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return t
}
