package xapi

import (
	"context"
	"errors"
)

var _ Caller = (*Client)(nil)

// Call makes one call, adding the session as first parameter, and decodes the answer into result, which may be nil to ignore it.
// Arguments are marshalled as JSON: a Ref, a record, a map, a string, a number. A refusal by the pool is an *Error. After
// ErrConnectionLost it is unknown whether the call was done; getters have been repeated then. What the pool refuses for the moment is
// repeated as Options.Retry says, as long as that cannot do anything twice. When the master cannot be reached, the other hosts of the
// pool are asked where it is.
//
// The pool may let a call wait for hours until another operation ends; use CallAsync for everything that it queues. Ending ctx
// abandons the answer, not the work.
func (c *Client) Call(ctx context.Context, method string, result any, args ...any) error {
	return c.persist(ctx, method, args, func() error { return c.callOnce(ctx, method, result, args) })
}

// callOnce makes a call until the pool has said something about it.
func (c *Client) callOnce(ctx context.Context, method string, result any, args []any) error {
	if idempotent(method) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.opts.StallTimeout, ErrStalled)
		defer cancel()
	}
	at, err := c.attached(ctx)
	for logins := 0; err == nil; logins++ {
		params := append([]any{string(at.session)}, args...)
		err = c.post(ctx, at.host, method, params, result)
		switch {
		case err == nil || logins == maxLogins:
			return err
		case errors.Is(err, ErrSessionInvalid), errors.Is(err, ErrHostIsSlave):
			c.log.InfoContext(ctx, "session lost", "host", at.host.Host, "method", method)
			at, err = c.attach(ctx, at)
		case c.adrift(at.host, err):
			next, lost := c.attach(ctx, at)
			if lost != nil {
				return err
			}
			if next.host.Host == at.host.Host { // it was away for a moment only, and still knows the session
				_ = c.logout(ctx, at)
			}
			at, err = next, nil
		default:
			return err
		}
	}
	return err
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
