package xapi

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// A Fingerprint names a certificate, or the public key in it, by its SHA-256: "sha256:" or "spki-sha256:" and 64 hexadecimal digits.
// A key's survives the renewal of a certificate that keeps the key.
type Fingerprint string

const (
	certificatePrefix = "sha256:"
	keyPrefix         = "spki-sha256:"
	curlPrefix        = "sha256//" // of a key, in base64
)

// ErrUntrusted is returned when the peer did not prove to be the host, so nothing was said to it, no password and no session: a certificate that
// is expired, for another name, not signed by a trusted authority, or another than the pinned one, which is a [FingerprintError].
// It is ErrUnreachable too.
var ErrUntrusted = fmt.Errorf("%w: not proven to be the host", ErrUnreachable)

// FingerprintError says that a host did not show the certificate that Options.Pins wants. Either it was renewed, or somebody stands
// between.
type FingerprintError struct {
	Host string
	Want []Fingerprint
	Got  Fingerprint // in the form of the first wanted one
}

// Error names both.
func (e *FingerprintError) Error() string {
	want := make([]string, len(e.Want))
	for i, f := range e.Want {
		want[i] = string(f)
	}
	return fmt.Sprintf("certificate of %s is %s, pinned is %s", e.Host, e.Got, strings.Join(want, " or "))
}

// ParseFingerprint reads 64 hexadecimal digits in either case, with or without colons between bytes, as host certificates are shown
// by openssl and by the pool, optionally behind "sha256:" or "spki-sha256:"; or "sha256//" and the base64 of a key's, as curl has it.
func ParseFingerprint(text string) (Fingerprint, error) {
	text = strings.TrimSpace(text)
	prefix, digits := certificatePrefix, text
	if encoded, ok := strings.CutPrefix(text, curlPrefix); ok {
		sum, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || len(sum) != sha256.Size {
			return "", errors.New("xapi: fingerprint: not the base64 of a SHA-256")
		}
		return Fingerprint(keyPrefix + hex.EncodeToString(sum)), nil
	}
	switch lower := strings.ToLower(text); {
	case strings.HasPrefix(lower, keyPrefix):
		prefix, digits = keyPrefix, text[len(keyPrefix):]
	case strings.HasPrefix(lower, certificatePrefix):
		digits = text[len(certificatePrefix):]
	}
	sum, err := hex.DecodeString(strings.ReplaceAll(digits, ":", ""))
	if err != nil || len(sum) != sha256.Size {
		return "", errors.New("xapi: fingerprint: not a SHA-256 in hexadecimal digits")
	}
	return Fingerprint(prefix + hex.EncodeToString(sum)), nil
}

func certificateFingerprint(cert *x509.Certificate) Fingerprint {
	return Fingerprint(fmt.Sprintf("%s%x", certificatePrefix, sha256.Sum256(cert.Raw)))
}

func keyFingerprint(cert *x509.Certificate) Fingerprint {
	return Fingerprint(fmt.Sprintf("%s%x", keyPrefix, sha256.Sum256(cert.RawSubjectPublicKeyInfo)))
}

// checkPins is nil when cert is one of pins, which are parsed.
func checkPins(host string, cert *x509.Certificate, pins []Fingerprint) error {
	for _, pin := range pins {
		if pin == certificateFingerprint(cert) || pin == keyFingerprint(cert) {
			return nil
		}
	}
	got := certificateFingerprint(cert)
	if strings.HasPrefix(string(pins[0]), keyPrefix) {
		got = keyFingerprint(cert)
	}
	return &FingerprintError{Host: host, Want: pins, Got: got}
}
