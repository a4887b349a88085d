package nfs

import (
	"context"
	"time"
)

// forsakenAfter is after how many times the timeout a call is given up that the
// server does not answer although it answers others. A sync of many GiB takes
// its time; a lost call would wait for ever.
const forsakenAfter = 10

// watch gives a connection up when nothing comes from the server for timeout
// while something waits for it. Before that, it asks for a sign of life with a
// NULL call, so that a server that is busy with a long operation is told from
// one that is dead. While nothing waits, the NULL calls keep the connection's
// state alive in what lies between.
func (c *conn) watch() {
	ticks := time.NewTicker(max(c.timeout/8, time.Millisecond))
	defer ticks.Stop()
	for {
		select {
		case <-c.down:
			return
		case now := <-ticks.C:
			if err := c.overdue(now); err != nil {
				c.fail(err)
				return
			}
			c.sendProbe(now)
		}
	}
}

func (c *conn) overdue(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		return nil
	}
	silentSince := c.heard
	if c.busy.After(silentSince) {
		silentSince = c.busy
	}
	if now.Sub(silentSince) >= c.timeout {
		return &lostError{err: errSilent, silent: true}
	}
	for _, k := range c.waiting {
		if now.Sub(k.since) >= forsakenAfter*c.timeout {
			return &lostError{err: errForsaken, silent: true}
		}
	}
	return nil
}

// sendProbe asks for a sign of life when there was none for half of the timeout.
// It waits for nothing: the answer is noted by the reader, and a connection that
// cannot be written to is overdue soon anyway.
func (c *conn) sendProbe(now time.Time) {
	c.mu.Lock()
	due := c.probed == nil && now.Sub(c.heard) >= c.timeout/2
	c.mu.Unlock()
	if !due {
		return
	}
	select {
	case c.writing <- struct{}{}:
	default:
		return // somebody is writing
	}
	defer func() { <-c.writing }()
	k := c.probe()
	if c.register(k) != nil {
		return
	}
	c.mu.Lock()
	c.probed = k
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout/2)
	defer cancel()
	if err := c.write(ctx, k); err != nil {
		c.fail(err)
	}
}
