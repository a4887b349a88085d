package nbd

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"sync"
	"time"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

// ClientOptions configures a client. nil and the zero value are the defaults.
type ClientOptions struct {
	// TLS makes the client require TLS, by STARTTLS; the server is verified as
	// the configuration says. nil means plain text.
	TLS *tls.Config

	// MaxInFlight is how many requests wait for their answers at a time; 0 = 16.
	MaxInFlight int

	// StallTimeout ends the connection with ErrStalled when answers are due and
	// not a byte comes for so long; 0 = 5 minutes, negative = wait for ever.
	StallTimeout time.Duration
}

// Defaults of ClientOptions.
const (
	defaultInFlight = 16
	defaultStall    = 5 * time.Minute
)

// Client reads one disk of a server. It implements [disk.Source]; its methods
// may be called concurrently.
type Client struct {
	conn    net.Conn
	in      *bufio.Reader
	info    *negotiation
	stall   time.Duration
	slots   chan struct{} // one for each request under way
	ended   chan struct{} // closed when nothing is received any more
	sending sync.Mutex    // one request at a time on the wire

	mu      sync.Mutex
	pending map[uint64]*request
	next    uint64 // cookie
	err     error  // why the connection is of no use; nil while it is
}

var _ disk.Source = (*Client)(nil)

// NewClient opens an export. It owns conn from now on, also when it fails: the
// connection is then closed. ctx bounds the opening alone.
//
// The errors to expect are [ErrUnknownExport], [ErrTLSRequired], [ErrTLSRefused],
// [ErrProtocol], [ErrClosed], and those of a TLS handshake.
func NewClient(ctx context.Context, conn net.Conn, export string, opts *ClientOptions) (*Client, error) {
	if opts == nil {
		opts = new(ClientOptions)
	}
	stall := opts.StallTimeout
	if stall == 0 {
		stall = defaultStall
	}
	n, err := openExport(ctx, conn, export, opts.TLS, stall)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	c := &Client{
		conn: n.conn, info: n, in: bufio.NewReaderSize(n.conn, readAhead), stall: stall,
		ended: make(chan struct{}), pending: make(map[uint64]*request),
	}
	slots := opts.MaxInFlight
	if slots <= 0 {
		slots = defaultInFlight
	}
	c.slots = make(chan struct{}, slots)
	go func() { // Close waits for it
		defer close(c.ended)
		c.fail(c.receive())
	}()
	return c, nil
}

func openExport(ctx context.Context, conn net.Conn, export string, config *tls.Config, stall time.Duration) (*negotiation, error) {
	if len(export) > maxString {
		return nil, fmt.Errorf("nbd: export name of %d bytes", len(export))
	}
	if stall > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, stall, ErrStalled)
		defer cancel()
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	n, err := negotiate(ctx, conn, export, config)
	if !stop() && ctx.Err() != nil {
		return nil, fmt.Errorf("nbd: open: %w", context.Cause(ctx))
	}
	if err != nil {
		return nil, err
	}
	if n.size > math.MaxInt64 {
		return nil, violation("a disk of %d bytes", n.size)
	}
	return n, nil
}

// Size returns the size of the disk in bytes.
func (c *Client) Size() int64 { return int64(c.info.size) } // checked when opened

// Secure says whether the connection is encrypted.
func (c *Client) Secure() bool { _, ok := c.conn.(*tls.Conn); return ok }

// CanStatus says whether the server tells zeros from data. If not, Extents
// takes all for data.
func (c *Client) CanStatus() bool { return c.info.status }

// CanMultiConn says whether the server promises that several connections to
// this export see the same content.
func (c *Client) CanMultiConn() bool { return c.info.flags&flagCanMultiConn != 0 }

// Close says goodbye and closes the connection. Requests under way fail with
// [ErrClosed]. The error is nil when the connection was still good.
func (c *Client) Close() error {
	c.mu.Lock()
	err := c.err
	c.mu.Unlock()
	if err == nil {
		_ = c.conn.SetWriteDeadline(time.Now().Add(time.Second))
		_ = c.send(cmdDisconnect, 0, c.cookie(), 0, 0) // a courtesy
	}
	c.fail(ErrClosed)
	<-c.ended
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

// fail ends the connection: the first reason is the one that all requests get.
func (c *Client) fail(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = ErrStalled
	}
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	err = c.err
	pending := c.pending
	c.pending = make(map[uint64]*request)
	c.mu.Unlock()
	_ = c.conn.Close()
	for _, r := range pending {
		r.finish(err)
	}
}

func (c *Client) cookie() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	return c.next
}

// start registers a request and sends it. It waits for a slot, which finish
// gives back.
func (c *Client) start(ctx context.Context, r *request) error {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	r.slots, r.done = c.slots, make(chan struct{})
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		<-c.slots
		return c.err
	}
	c.next++
	r.cookie = c.next
	c.pending[r.cookie] = r
	c.expect()
	c.mu.Unlock()
	if err := c.send(r.command, r.flags, r.cookie, r.off, r.length); err != nil {
		c.fail(lost(err)) // part of it may be out: nothing can follow
	}
	return nil
}

// expect moves the deadline of the next byte; c.mu is held.
func (c *Client) expect() {
	if c.stall < 0 {
		return
	}
	if len(c.pending) == 0 {
		_ = c.conn.SetReadDeadline(time.Time{})
		return
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(c.stall))
}

func (c *Client) send(command, flags uint16, cookie uint64, off int64, length uint32) error {
	var b [28]byte
	be := binary.BigEndian
	be.PutUint32(b[:], magicRequest)
	be.PutUint16(b[4:], flags)
	be.PutUint16(b[6:], command)
	be.PutUint64(b[8:], cookie)
	be.PutUint64(b[16:], uint64(off)) // never negative
	be.PutUint32(b[24:], length)
	c.sending.Lock()
	defer c.sending.Unlock()
	_, err := c.conn.Write(b[:])
	return err
}
