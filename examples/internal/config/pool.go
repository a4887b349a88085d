package config

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/xenbackup/xenbackup/xapi"
)

// Pool is a pool of hosts.
type Pool struct {
	URL      string  `yaml:"url"` // of any host of it
	Username string  `yaml:"username"`
	Password *Secret `yaml:"password"`

	// Fingerprint is of the certificate of the host in URL; Fingerprints of all, by
	// host. See xapi.ParseFingerprint.
	Fingerprint  string            `yaml:"fingerprint"`
	Fingerprints map[string]string `yaml:"fingerprints"`
	CA           string            `yaml:"ca"` // a file of certificates in PEM form
	Insecure     bool              `yaml:"insecure"`

	// Network is the UUID of the one that disks are read over, or "backup" for the pool's own.
	Network string `yaml:"network"`

	pins map[string][]xapi.Fingerprint
	cas  []byte
}

func (j *judge) pools(c *Config, folder string) {
	if len(c.Pools) == 0 {
		j.wrong("needed: at least one pool, with url and password", "pools")
	}
	for name, p := range c.Pools {
		where := []string{"pools", name}
		if !j.named(name, p == nil, "pools") {
			continue
		}
		host := j.address(p, where)
		if p.Password == nil {
			j.wrong("needed: password: {env: NAME} or {file: PATH}", where...)
		} else {
			p.Password.File = from(folder, p.Password.File)
			j.secret(p.Password, append(where, "password")...)
		}
		j.trust(p, host, folder, where)
	}
}

// address checks the URL and returns its host.
func (j *judge) address(p *Pool, where []string) string {
	where = append(where, "url")
	text := p.URL
	if text == "" {
		j.wrong("needed: https://HOST, any host of the pool", where...)
		return ""
	}
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		j.wrong("not the URL of a host: https://HOST[:PORT]", where...) // unquoted: it may hold a password
		return ""
	case u.User != nil:
		j.wrong("username and password do not belong into the URL: they have keys of their own", where...)
	case u.Scheme == "http":
		j.warn("http sends the password for all on the way to read", where...)
	}
	return u.Hostname()
}

func (j *judge) trust(p *Pool, host, folder string, where []string) {
	p.pins = map[string][]xapi.Fingerprint{}
	pin := func(host, text string, where ...string) {
		f, err := xapi.ParseFingerprint(text)
		if err != nil {
			j.wrong(err.Error(), where...)
			return
		}
		p.pins[host] = append(p.pins[host], f)
	}
	if p.Fingerprint != "" {
		pin(host, p.Fingerprint, append(where, "fingerprint")...)
	}
	for host, text := range p.Fingerprints {
		pin(host, text, append(where, "fingerprints", host)...)
	}
	if p.CA != "" {
		var err error
		if p.cas, err = os.ReadFile(from(folder, p.CA)); err != nil {
			j.wrong(err.Error(), append(where, "ca")...)
		} else if !x509.NewCertPool().AppendCertsFromPEM(p.cas) {
			j.wrong("holds no certificate in PEM form", append(where, "ca")...)
		}
	}
	if p.Insecure {
		j.warn("whoever stands between can read the password: use fingerprint instead", append(where, "insecure")...)
	}
	if p.Network != "" && p.Network != "backup" && !uuids.MatchString(p.Network) {
		j.wrong(fmt.Sprintf("%q is neither the UUID of a network nor \"backup\"", p.Network), append(where, "network")...)
	}
}

var uuids = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// Options are what it takes to log in to the pool. The password is read each time.
func (p *Pool) Options(metrics *xapi.Metrics, log *slog.Logger) *xapi.Options {
	network := p.Network
	if network == "backup" {
		network = xapi.PoolBackupNetwork
	}
	return &xapi.Options{
		Username: p.Username,
		PasswordSource: func(context.Context) (xapi.Secret, error) {
			if p.Password == nil {
				return "", errors.New("no password")
			}
			text, err := p.Password.read()
			return xapi.Secret(text), err
		},
		Pins: p.pins, ExtraCAs: p.cas, InsecureTLS: p.Insecure,
		TransferNetwork: network, Originator: "xenbackupd", UserAgent: "xenbackupd",
		Metrics: metrics, Logger: log,
	}
}
