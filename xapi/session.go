package xapi

import (
	"context"
	"errors"
	"fmt"
	"net/url"
)

const (
	maxHops   = 3 // to the master at login, and along the redirects of a transfer
	maxLogins = 3 // for one call that keeps meeting an invalid session
)

// login is one session on one host; a new session is a new login, so that its address tells whether it is still the current one.
type login struct {
	host    *url.URL
	session Secret

	// Under the lock of the client.
	transfers int  // that run by this session
	replaced  bool // by another login, though the pool may know this session still
}

// renewal is a login under way, which all callers share.
type renewal struct {
	done      chan struct{}
	login     *login
	err       error
	abandoned bool // the caller that made it gave up: its error is not the others'
}

// attached returns the current login, making one if there is none.
func (c *Client) attached(ctx context.Context) (*login, error) {
	c.mu.Lock()
	at := c.current
	c.mu.Unlock()
	if at != nil {
		return at, nil
	}
	return c.attach(ctx, nil)
}

// attach returns the current login, making one when there is none or when it still is the given stale one.
func (c *Client) attach(ctx context.Context, stale *login) (*login, error) {
	for {
		c.mu.Lock()
		switch {
		case c.closed:
			c.mu.Unlock()
			return nil, fmt.Errorf("xapi: %s: client %w", c.home.Host, ErrClosed)
		case c.current != stale:
			defer c.mu.Unlock()
			return c.current, nil
		case c.renewal == nil:
			mine := &renewal{done: make(chan struct{})}
			c.renewal = mine
			c.mu.Unlock()
			return c.renew(ctx, mine, stale)
		}
		theirs := c.renewal
		c.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("xapi: %s: %w", c.home.Host, context.Cause(ctx))
		case <-theirs.done:
		}
		if theirs.err == nil || !theirs.abandoned {
			return theirs.login, theirs.err
		}
	}
}

func (c *Client) renew(ctx context.Context, mine *renewal, stale *login) (*login, error) {
	host := c.home
	if stale != nil {
		host = stale.host
	}
	mine.login, mine.err = c.logInAnywhere(ctx, host)
	mine.abandoned = ctx.Err() != nil
	c.mu.Lock()
	orphan := mine.login
	if mine.err == nil && c.closed {
		mine.login, mine.err = nil, fmt.Errorf("xapi: %s: client %w", c.home.Host, ErrClosed)
	} else if mine.err == nil {
		c.current, orphan = mine.login, nil
	}
	c.renewal = nil
	c.mu.Unlock()
	close(mine.done)
	if orphan != nil {
		c.forget(ctx, orphan)
		c.closeIdle() // Close was before
		return nil, mine.err
	}
	if mine.err == nil {
		c.learnHosts(ctx, mine.login)
	}
	return mine.login, mine.err
}

// hold keeps the session of a login alive until release: a transfer runs by it.
func (c *Client) hold(at *login) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at.transfers++
}

// release undoes one hold. A session that was replaced meanwhile ends with its last transfer.
func (c *Client) release(ctx context.Context, at *login) {
	c.mu.Lock()
	at.transfers--
	over := at.replaced && at.transfers == 0 && !c.closed // Close has ended it otherwise
	if at.transfers == 0 {
		delete(c.replaced, at)
	}
	c.mu.Unlock()
	if over {
		c.forget(ctx, at)
	}
}

// replace is for a login that another has taken the place of on the same host, whose session the pool may know still. It ends now, or
// when the last transfer by it has.
func (c *Client) replace(ctx context.Context, at *login) {
	c.mu.Lock()
	before := at.replaced
	at.replaced = true
	if at.transfers > 0 {
		c.replaced[at] = struct{}{}
	}
	over := !before && at.transfers == 0
	c.mu.Unlock()
	if over {
		c.forget(ctx, at)
	}
}

// forget logs out where nobody waits for the outcome; ctx may have ended.
func (c *Client) forget(ctx context.Context, at *login) {
	ctx, cancel := c.cleanup(ctx)
	defer cancel()
	if err := c.logout(ctx, at); err != nil {
		c.log.InfoContext(ctx, "session not ended", "host", at.host.Host, "error", err)
	}
}

// logout ends a session. One that has ended already is no error.
func (c *Client) logout(ctx context.Context, l *login) error {
	err := c.post(ctx, l.host, "session.logout", []any{string(l.session)}, nil)
	if err != nil && !errors.Is(err, ErrSessionInvalid) {
		return fmt.Errorf("log out: %w", err)
	}
	return nil
}
