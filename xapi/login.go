package xapi

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
)

// password comes from the source, if there is one.
func (c *Client) password(ctx context.Context) (Secret, error) {
	if c.opts.PasswordSource == nil {
		return c.opts.Password, nil
	}
	password, err := c.opts.PasswordSource(ctx)
	if err != nil {
		return "", fmt.Errorf("password: %w", err)
	}
	c.secrets.learnPassword(password)
	return password, nil
}

// logIn follows HOST_IS_SLAVE to the master.
func (c *Client) logIn(ctx context.Context, host *url.URL) (*login, error) {
	for hop := 0; ; hop++ {
		password, err := c.password(ctx)
		if err != nil {
			return nil, fmt.Errorf("xapi: log in to %s: %w", host.Host, c.secrets.wrap(err))
		}
		session, err := c.openSession(ctx, host, password)
		if err == nil {
			c.log.InfoContext(ctx, "logged in", "host", host.Host, "username", c.opts.Username, "protocol", string(c.wire.protocol()))
			return &login{host: host, session: session}, nil
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

const loginMethod = "session.login_with_password"

// openSession asks one host for a session. The version argument has been ignored for long, but its place must be filled.
func (c *Client) openSession(ctx context.Context, host *url.URL, password Secret) (Secret, error) {
	params := []any{c.opts.Username, string(password), "1.0", c.opts.Originator}
	var session string
	err := c.persist(ctx, loginMethod, nil, func() (bool, error) {
		longer, stop := c.linger(ctx)
		defer stop()
		longer, cancel := context.WithTimeoutCause(longer, c.opts.StallTimeout, ErrStalled) // the wrong password takes 5 s
		defer cancel()
		return false, c.post(longer, host, loginMethod, params, &session)
	})
	if err == nil && session == "" {
		err = hostError(host.Host, ErrProtocol, errors.New("empty session"))
	}
	if err != nil {
		return "", err
	}
	c.secrets.learn(Secret(session))
	return Secret(session), nil
}

// linger returns a context that ends with ctx as long as there is no connection, and Options.CancelTimeout later once the request may
// have left: an answer that nobody waits for would leave a session on the pool for a day.
func (c *Client) linger(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, stop := outlive(ctx, c.opts.CancelTimeout)
	longer, cancel := context.WithCancelCause(longer)
	var connected atomic.Bool
	connected.Store(len(c.owned) == 0) // another's Transport need not say
	longer = httptrace.WithClientTrace(longer, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	unhook := context.AfterFunc(ctx, func() {
		if !connected.Load() {
			cancel(context.Cause(ctx))
		}
	})
	return longer, func() {
		unhook()
		cancel(context.Canceled)
		stop()
	}
}
