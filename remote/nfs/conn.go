package nfs

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

const (
	// fillGrace is how long a caller whose context has ended waits for the rest
	// of an answer that is being written to its buffer. After that the connection
	// is given up, for the buffer must not be touched once the caller has it back.
	fillGrace = 50 * time.Millisecond
	// sendSlice is how often a caller that cannot send, for the server takes
	// nothing, looks whether its context has ended.
	sendSlice = 50 * time.Millisecond
	// maxStray bounds an answer that nobody waits for any more.
	maxStray = maxIO + smallReply
)

// conn is one connection, shared by any number of calls. It is run by one
// goroutine that reads and one that watches; callers write.
type conn struct {
	nc      net.Conn
	peer    string
	timeout time.Duration
	probe   func() *call // a NULL call

	writing chan struct{} // held by who writes
	down    chan struct{} // closed when the connection has failed

	mu      sync.Mutex
	waiting map[uint32]*call // sent, not answered
	probed  *call            // the probe among them
	err     error            // why it failed
	heard   time.Time        // the last answer to one of our calls
	busy    time.Time        // since when something has been waiting
	fruit   bool             // some answer has come
}

func newConn(nc net.Conn, peer string, timeout time.Duration, probe func() *call) *conn {
	return &conn{
		nc: nc, peer: peer, timeout: timeout, probe: probe,
		writing: make(chan struct{}, 1), down: make(chan struct{}),
		waiting: map[uint32]*call{}, heard: time.Now(),
	}
}

// run reads answers until the connection fails, or is closed by fail.
func (c *conn) run() {
	var wg sync.WaitGroup
	wg.Go(c.watch)
	r := newRecords(c.nc)
	for {
		if err := c.receive(r); err != nil {
			c.fail(err)
			break
		}
	}
	wg.Wait()
}

func (c *conn) receive(r *records) error {
	if err := r.next(); err != nil {
		return err
	}
	var xid [4]byte
	if err := r.full(xid[:]); err != nil {
		return err
	}
	k := c.claim(xid)
	if k == nil { // its caller went away
		return r.skip(maxStray)
	}
	err := k.receive(r)
	k.finish(networkError(err))
	return err
}

// claim finds who waits for an answer. From then on the reader owns the call's
// buffers, until it has sent to done.
func (c *conn) claim(xid [4]byte) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := uint32(xid[0])<<24 | uint32(xid[1])<<16 | uint32(xid[2])<<8 | uint32(xid[3])
	k := c.waiting[id]
	if k != nil {
		delete(c.waiting, id)
		c.heard, c.fruit = time.Now(), true
	}
	if k == c.probed {
		c.probed = nil
	}
	return k
}

// networkError makes a failure of the connection a lostError; what the server
// did wrong stays what it is.
func networkError(err error) error {
	var lost *lostError
	if err == nil || errors.Is(err, ErrProtocol) || errors.As(err, &lost) {
		return err
	}
	return &lostError{err: err}
}

// fail ends the connection: calls that wait get err, and so does every later one.
func (c *conn) fail(err error) {
	err = networkError(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	close(c.down)
	_ = c.nc.Close() // nothing that was written counts before its answer
	for id, k := range c.waiting {
		delete(c.waiting, id)
		k.finish(err)
	}
}

func (c *conn) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// roundTrip sends a call and waits for its answer, which is in k afterwards. An
// error is a lostError, an ErrProtocol, or the cause of the end of ctx. Nothing
// touches k or its buffers once roundTrip has returned.
func (c *conn) roundTrip(ctx context.Context, k *call) error {
	if err := c.send(ctx, k); err != nil {
		return err
	}
	return c.wait(ctx, k)
}

// send sends a call. After an error nothing waits for its answer.
func (c *conn) send(ctx context.Context, k *call) error {
	k.again()
	select {
	case c.writing <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.down:
		return c.failure()
	}
	defer func() { <-c.writing }()
	if err := c.register(k); err != nil {
		return err
	}
	if err := c.write(ctx, k); err != nil {
		c.fail(err)
		<-k.done // by fail, or by an answer that nobody should have given
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return networkError(err)
	}
	return nil
}

func (c *conn) register(k *call) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	k.since = time.Now()
	if len(c.waiting) == 0 {
		c.busy = k.since
	}
	c.waiting[k.xid()] = k
	return nil
}

// write writes the message. When ctx ends in the middle, the rest cannot be
// written, and the connection is of no more use.
func (c *conn) write(ctx context.Context, k *call) error {
	for message := k.message(); ; {
		if err := c.nc.SetWriteDeadline(time.Now().Add(sendSlice)); err != nil {
			return err
		}
		_, err := message.WriteTo(c.nc)
		if !errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
			return err
		}
	}
}

// wait waits for the answer to a call that was sent.
func (c *conn) wait(ctx context.Context, k *call) error {
	select {
	case <-k.done:
		return k.err
	case <-ctx.Done():
	}
	if c.forget(k) {
		return context.Cause(ctx)
	}
	grace := time.NewTimer(fillGrace)
	defer grace.Stop()
	select {
	case <-k.done:
	case <-grace.C:
		c.fail(errCancelled)
		<-k.done
	}
	return context.Cause(ctx)
}

// forget takes a call back, unless its answer is coming in already.
func (c *conn) forget(k *call) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting[k.xid()] != k {
		return false
	}
	delete(c.waiting, k.xid())
	return true
}
