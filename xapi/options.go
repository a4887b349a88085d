package xapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"time"
)

// Options of [Dial]. Nil, and the zero value of each field, mean the default; Password has none.
type Options struct {
	Username string // default root
	Password Secret

	// PasswordSource is asked before each login when it is set, instead of Password: for a vault, or a password that changes.
	PasswordSource func(ctx context.Context) (Secret, error)

	// Pins are the certificates, or keys, that hosts must show, by host name or address as it is dialled, without port. A host that has
	// pins proves itself by one of them and by nothing else: name, issuer and expiry of its certificate do not count. Hosts are
	// installed with certificates they have signed themselves, which makes this the usual way; see [FetchFingerprint]. Pin each host of
	// a pool: calls follow the pool to its master, and transfers to whichever host sees the disk. When the master is gone, hosts are asked
	// whose pin is by the address, host name or label that the pool has for them.
	Pins map[string][]Fingerprint

	// ExtraCAs are certificates of authorities in PEM form that are trusted beside the system's, or beside TLS.RootCAs.
	ExtraCAs []byte

	// TLS is what https connections start from; nil verifies against the system's certificate authorities.
	TLS *tls.Config

	// InsecureTLS accepts every certificate of a host without pins: whoever stands between reads the password.
	InsecureTLS bool

	// DialContext makes the network connections when it is set.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)

	// Transport makes all requests when it is set, and replaces all of the options on TLS and DialContext, which must be unset. It must
	// not follow redirects, and is not closed by Client.Close. When it is not an http.Transport, or wraps none, calls on stale
	// connections are not repeated.
	Transport http.RoundTripper

	// Originator tells the pool whose sessions these are; the pool limits the sessions of each originator to 500. Default xenbackup.
	Originator string
	UserAgent  string // default xenbackup

	// Protocol of the calls. By default Dial finds out: JSON-RPC, unless the pool does not know it.
	Protocol Protocol

	// TransferNetwork keeps disks and archives off the management network: the UUID of a network of the pool, or [PoolBackupNetwork]. A
	// transfer with a host that has no address on it is ErrNoTransferAddress. By default transfers go where calls go.
	TransferNetwork string

	Retry   RetryPolicy
	Metrics *Metrics     // nil counts nothing
	Logger  *slog.Logger // nil discards

	// StallTimeout ends a transfer that moves no byte, and a getter that gets no answer, for that long. While a task is awaited it
	// is also how long the pool may stay unreachable. Default 5 minutes.
	StallTimeout time.Duration

	// FirstByteTimeout limits the time before the first byte of an export: hosts read disks that are not VHDs once, entirely,
	// before they send anything. It also limits what an import takes after its last byte. Default 30 minutes.
	FirstByteTimeout time.Duration

	// PollInterval is the pause between looks at a task where the pool sends no events, and between attempts to reach a pool that
	// does not answer. Default 2 seconds.
	PollInterval time.Duration

	// CancelTimeout limits each step of cleaning up: cancelling a task, destroying it, logging out. Default 5 seconds.
	CancelTimeout time.Duration

	// MaxAnswer limits the answer of one call in bytes. Default 512 MiB.
	MaxAnswer int64
}

// withDefaults returns a copy; the caller's Options are never changed.
func (o *Options) withDefaults() Options {
	var opts Options
	if o != nil {
		opts = *o
	}
	setDefault(&opts.Username, "root")
	setDefault(&opts.Originator, "xenbackup")
	setDefault(&opts.UserAgent, "xenbackup")
	setDefault(&opts.Logger, slog.New(slog.DiscardHandler))
	setDefault(&opts.StallTimeout, 5*time.Minute)
	setDefault(&opts.FirstByteTimeout, 30*time.Minute)
	setDefault(&opts.PollInterval, 2*time.Second)
	setDefault(&opts.CancelTimeout, 5*time.Second)
	setDefault(&opts.MaxAnswer, 512<<20)
	opts.Retry.setDefaults()
	return opts
}

// validate finds contradictions, and brings the pins into their one spelling. o is a copy of the caller's.
func (o *Options) validate() error {
	if o.Transport != nil && (len(o.Pins) > 0 || len(o.ExtraCAs) > 0 || o.TLS != nil || o.InsecureTLS || o.DialContext != nil) {
		return errors.New("xapi: Options.Transport excludes Pins, ExtraCAs, TLS, InsecureTLS and DialContext")
	}
	if o.Protocol != "" && o.Protocol != JSONRPC && o.Protocol != XMLRPC {
		return fmt.Errorf("xapi: Options.Protocol: %q is unknown", o.Protocol)
	}
	o.Pins = maps.Clone(o.Pins)
	for host, pins := range o.Pins {
		if host == "" || len(pins) == 0 {
			return fmt.Errorf("xapi: Options.Pins: %q has no pin", host)
		}
		pins = slices.Clone(pins)
		for i := range pins {
			pin, err := ParseFingerprint(string(pins[i]))
			if err != nil {
				return fmt.Errorf("xapi: Options.Pins: %s: %w", host, err)
			}
			pins[i] = pin
		}
		o.Pins[host] = pins
	}
	return nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
