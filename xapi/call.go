package xapi

import (
	"context"
	"errors"
)

var _ Caller = (*Client)(nil)

// Call makes one call, adding the session as first parameter, and decodes the answer into result, which may be nil to ignore it.
// Arguments are marshalled as JSON: a Ref, a record, a map, a string, a number. A refusal by the pool is an *Error. After
// ErrConnectionLost it is unknown whether the call was done; getters have been repeated then. What the pool refuses for the moment, or
// nobody was there to hear, is repeated as Options.Retry says, as long as that cannot do anything twice. When the master cannot be
// reached, the other hosts of the pool are asked where it is.
//
// The pool may let a call wait for hours until another operation ends; use CallAsync for everything that it queues. Ending ctx
// abandons the answer, not the work.
func (c *Client) Call(ctx context.Context, method string, result any, args ...any) error {
	return c.persist(ctx, method, args, func() (bool, error) {
		err := c.callOnce(ctx, method, result, args)
		return !oneStep(method) && !errors.Is(err, ErrUnreachable), err
	})
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
		if err == nil || logins == maxLogins {
			return err
		}
		at, err = c.follow(ctx, at, err, idempotent(method))
	}
	return err
}

// once makes calls that are not repeated, but on another session: for those who try again by themselves.
type once struct{ *Client }

// Call implements Caller.
func (c once) Call(ctx context.Context, method string, result any, args ...any) error {
	return c.callOnce(ctx, method, result, args)
}
