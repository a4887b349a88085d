package xapi

import (
	"context"
	"errors"
)

var _ Caller = (*Client)(nil)

// Call makes one call, adding the session as first parameter, and decodes the answer into result, which may be nil to ignore it.
// Arguments are marshalled as JSON: a Ref, a record, a map, a string, a number. A refusal by the pool is an *Error. After
// ErrConnectionLost it is unknown whether the call was done; getters have been repeated then.
//
// The pool may let a call wait for hours until another operation ends; use CallAsync for everything that it queues. Ending ctx
// abandons the answer, not the work.
func (c *Client) Call(ctx context.Context, method string, result any, args ...any) error {
	if idempotent(method) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.opts.StallTimeout, ErrStalled)
		defer cancel()
	}
	at, err := c.attached(ctx)
	for logins := 0; err == nil; logins++ {
		params := append([]any{string(at.session)}, args...)
		err = c.post(ctx, at.host, method, params, result)
		if logins == maxLogins || !errors.Is(err, ErrSessionInvalid) && !errors.Is(err, ErrHostIsSlave) {
			return err
		}
		c.log.InfoContext(ctx, "session lost", "host", at.host.Host, "method", method)
		at, err = c.attach(ctx, at)
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
