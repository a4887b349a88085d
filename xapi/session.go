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
}

// renewal is a login under way, which all callers share.
type renewal struct {
	done      chan struct{}
	login     *login
	err       error
	abandoned bool // the caller that made it gave up: its error is not the others'
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
		return nil, errors.Join(mine.err, c.logout(ctx, orphan))
	}
	if mine.err == nil {
		c.learnHosts(ctx, mine.login)
	}
	return mine.login, mine.err
}

// password comes from the source, if there is one.
func (c *Client) password(ctx context.Context) (Secret, error) {
	if c.opts.PasswordSource == nil {
		return c.opts.Password, nil
	}
	password, err := c.opts.PasswordSource(ctx)
	if err != nil {
		return "", fmt.Errorf("password: %w", err)
	}
	c.secrets.learn(password)
	return password, nil
}

// logIn follows HOST_IS_SLAVE to the master. The version argument has been ignored for long, but its place must be filled.
func (c *Client) logIn(ctx context.Context, host *url.URL) (*login, error) {
	for hop := 0; ; hop++ {
		var session string
		password, err := c.password(ctx)
		if err != nil {
			return nil, fmt.Errorf("xapi: log in to %s: %w", host.Host, c.secrets.wrap(err))
		}
		params := []any{c.opts.Username, string(password), "1.0", c.opts.Originator}
		const method = "session.login_with_password"
		err = c.persist(ctx, method, nil, func() error {
			ctx, cancel := context.WithTimeoutCause(ctx, c.opts.StallTimeout, ErrStalled) // the wrong password takes 5 s
			defer cancel()
			return c.post(ctx, host, method, params, &session)
		})
		if err == nil && session == "" {
			err = hostError(host.Host, ErrProtocol, errors.New("empty session"))
		}
		if err == nil {
			c.secrets.learn(Secret(session))
			c.log.InfoContext(ctx, "logged in", "host", host.Host, "username", c.opts.Username, "protocol", string(c.wire.protocol()))
			return &login{host: host, session: Secret(session)}, nil
		}
		var refused *Error
		if !errors.As(err, &refused) {
			return nil, fmt.Errorf("log in: %w", err)
		}
		if !errors.Is(refused, ErrHostIsSlave) || len(refused.Params) == 0 || hop == maxHops {
			return nil, fmt.Errorf("log in to %s as %s: %w", host.Host, c.opts.Username, err)
		}
		next, err := masterURL(host, refused.Params[0])
		if err != nil {
			return nil, fmt.Errorf("log in to %s: %w", host.Host, c.secrets.wrap(err))
		}
		c.log.InfoContext(ctx, "following to the master", "slave", host.Host, "master", next.Host)
		host = next
	}
}
