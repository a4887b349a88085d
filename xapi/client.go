package xapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// A Client is a login to one pool. It is safe for concurrent use; calls do not wait for each other. It logs in again, once for all
// callers, when the pool has dropped the session, and follows the pool to its master.
type Client struct {
	opts      Options
	log       *slog.Logger
	wire      wire // set by Dial
	rpc, data http.RoundTripper
	owned     []*hosts
	home      *url.URL // what Dial was given
	secrets   redactor
	calls     atomic.Int64

	mu       sync.Mutex
	current  *login
	replaced map[*login]struct{} // by current, but transfers still run by them
	renewal  *renewal            // nil when nobody is logging in
	routes   *routes             // for transfers, nil before the first
	closed   bool

	hosts     hostRecords // of the pool, nil while unknown
	hostsFrom string      // who told
	hostsRead time.Time
}

// Dial logs in to the pool at addr: http(s)://host[:port], or just a host, which means https. Any host of the pool will do: a slave
// names its master, and Dial follows. A refused password is ErrAuthenticationFailed, no connection is ErrUnreachable. Close the
// Client to log out.
//
// When ctx ends while a host has the request, Dial waits for its answer for Options.CancelTimeout more, to log out again.
func Dial(ctx context.Context, addr string, opts *Options) (*Client, error) {
	home, err := parseAddress(addr)
	if err != nil {
		return nil, err
	}
	c := &Client{opts: opts.withDefaults(), home: home, replaced: make(map[*login]struct{})}
	if err := c.opts.validate(); err != nil {
		return nil, err
	}
	c.log = c.opts.Logger
	c.secrets.learnPassword(c.opts.Password)
	c.wire = wireOf(c.opts.Protocol)
	c.rpc, c.data = c.opts.Transport, c.opts.Transport
	if c.opts.Transport == nil {
		config, err := c.opts.tlsConfig()
		if err != nil {
			return nil, err
		}
		rpc, data := newHosts(&c.opts, config, 0), newHosts(&c.opts, config, transferBuffer)
		c.rpc, c.data, c.owned = rpc, data, []*hosts{rpc, data}
	}
	err = c.connect(ctx)
	if err == nil && ctx.Err() != nil { // the answer came too late
		err = errors.Join(fmt.Errorf("xapi: %s: log in: %w", home.Host, context.Cause(ctx)), c.Close())
	}
	if err != nil {
		c.closeIdle()
		return nil, err
	}
	return c, nil
}

// connect logs in, and finds the protocol if it was left open: a pool that has no JSON-RPC says so in its own ways.
func (c *Client) connect(ctx context.Context) error {
	_, err := c.attach(ctx, nil)
	var other *statusError
	if err == nil || c.opts.Protocol != "" || !errors.As(err, &other) || !other.noSuchProtocol() {
		return err
	}
	c.wire = wireOf(XMLRPC)
	_, second := c.attach(ctx, nil)
	if errors.Is(second, ErrProtocol) { // neither: not a pool at all
		return err
	}
	return second
}

// Protocol is what the client and the pool speak.
func (c *Client) Protocol() Protocol { return c.wire.protocol() }

// String names the host and shows no secret.
func (c *Client) String() string { return "xapi client of " + c.Host() }

// Format prints String under every verb: what fmt finds in the fields of a struct would include the password.
func (c *Client) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// Host is the host name, and the port if there is one, of the host that the client talks to: the master of the pool.
func (c *Client) Host() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil {
		return c.home.Host
	}
	return c.current.host.Host
}

// Close logs out. Calls and transfers that are still under way fail; end them before. Closing again does nothing.
func (c *Client) Close() error {
	c.mu.Lock()
	last, replaced := c.current, c.replaced
	closed := c.closed
	c.closed, c.current, c.replaced = true, nil, make(map[*login]struct{})
	c.mu.Unlock()
	if closed {
		return nil
	}
	defer c.closeIdle()
	for at := range replaced {
		c.forget(context.Background(), at)
	}
	if last == nil {
		return nil
	}
	ctx, cancel := c.cleanup(context.Background())
	defer cancel()
	return c.logout(ctx, last)
}

func (c *Client) closeIdle() {
	for _, transport := range c.owned {
		transport.CloseIdleConnections()
	}
}

// dropIdle closes the connections to one host that are kept but not in use.
func (c *Client) dropIdle(address string) {
	for _, transport := range c.owned {
		transport.dropIdle(address)
	}
}
