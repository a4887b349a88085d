package xapi

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Options of [Dial]. Nil, and the zero value of each field, mean the default; Password has none.
type Options struct {
	Username string // default root
	Password Secret

	// TLS configures https connections; nil verifies against the system's certificate authorities. Hosts are installed with
	// self-signed certificates: put theirs into RootCAs. It is not used when Transport is set.
	TLS *tls.Config

	// Transport makes all requests when it is set. It must not follow redirects, and is not closed by Client.Close. When it is
	// not an http.Transport, or wraps none, calls on stale connections are not repeated.
	Transport http.RoundTripper

	// Originator tells the pool whose sessions these are; the pool limits the sessions of each originator to 500. Default xenbackup.
	Originator string
	UserAgent  string // default xenbackup

	// Protocol of the calls. By default Dial finds out: JSON-RPC, unless the pool does not know it.
	Protocol Protocol

	Logger *slog.Logger // nil discards

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
	return opts
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// transferBuffer is the size of the buffers between a socket and a transfer, in bytes.
const transferBuffer = 256 << 10

// newTransport makes HTTP/1.1 connections, which is all that hosts speak. They never close an idle connection themselves;
// IdleConnTimeout is for what stands between. Peers that vanish are found by TCP keep-alive.
func newTransport(config *tls.Config, buffer int) *http.Transport {
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 15 * time.Second}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		TLSClientConfig:     config.Clone(),
		TLSHandshakeTimeout: 30 * time.Second,
		DisableCompression:  true,
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     90 * time.Second,
		ReadBufferSize:      buffer,
		WriteBufferSize:     buffer,
	}
}
