package xapi

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// RetryPolicy says how calls are repeated that the pool refused for the moment, or that nobody was there to hear. The zero value of each field means the default.
type RetryPolicy struct {
	// Attempts of one call in all; 1 never repeats. Default 8, which with the other defaults takes about a minute.
	Attempts int
	// Wait before the first repetition; it doubles each time. The pause is a random time between half of it and all of it. Default
	// 1 second.
	Wait time.Duration
	// MaxWait is what Wait grows to. Default 30 seconds.
	MaxWait time.Duration
}

func (p *RetryPolicy) setDefaults() {
	setDefault(&p.Attempts, 8)
	setDefault(&p.Wait, time.Second)
	setDefault(&p.MaxWait, 30*time.Second)
}

// pause is how long to wait after the given attempt, counted from 1.
func (p *RetryPolicy) pause(attempt int) time.Duration {
	wait := p.Wait
	for range attempt - 1 {
		if wait >= p.MaxWait {
			break
		}
		wait *= 2
	}
	wait = min(wait, p.MaxWait)
	return wait - rand.N(wait/2+1) // jitter
}

// persist makes attempts until one succeeds, fails for good, or must be the last; also when ctx would end before the next. Its error
// is that of the last attempt. An attempt says, too, whether something may have been done before it was refused.
func (c *Client) persist(ctx context.Context, method string, args []any, attempt func() (begun bool, err error)) error {
	first := time.Now()
	for n := 1; ; n++ {
		begun, err := attempt()
		if err == nil || n >= c.opts.Retry.Attempts || ctx.Err() != nil {
			return err
		}
		wait := c.opts.Retry.pause(n)
		var refused *Error
		switch {
		case errors.As(err, &refused):
			if !transient(method, begun, args, refused) {
				return err
			}
		case !unheard(method, begun, err) || time.Since(first)+wait > c.opts.StallTimeout:
			return err
		}
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
			return err
		}
		code := outcomeOf(err)
		c.log.InfoContext(ctx, "call to be repeated", "method", method, "code", code, "attempt", n, "wait", wait)
		c.opts.Metrics.retry(RetryMetric{Method: method, Code: code, Attempt: n, Wait: wait})
		if ended := pause(ctx, wait); ended != nil {
			return fmt.Errorf("%w (%w while waiting to repeat it)", err, ended)
		}
	}
}

// unheard reports whether the pool was not there to do a call, or to tell what a getter asked: a toolstack takes its time to restart, and
// a network to find another way. Logins are not for nobody to answer: whoever dials shall hear of a wrong address at once.
func unheard(method string, begun bool, err error) bool {
	if begun || method == loginMethod || !away(err) || errors.Is(err, ErrStalled) {
		return false
	}
	return errors.Is(err, ErrUnreachable) || idempotent(method)
}

// transient reports whether the same call may succeed later, and making it again does nothing twice: because it is a getter, or
// because the refusal proves that nothing was done.
func transient(method string, begun bool, args []any, refused *Error) bool {
	switch refused.Code {
	case ErrHostStillBooting.Code, ErrTooBusy.Code, ErrTooManyPendingTasks.Code:
		return !begun || idempotent(method) // else it may be a later step that was refused
	case ErrOtherOperationInProgress.Code:
		return !begun || idempotent(method) || lockedOut(args, refused)
	case ErrCannotContactHost.Code:
		return idempotent(method) // else it may have been reached before
	default:
		return false
	}
}

// lockedOut reports whether the object that is busy is the one the call was to begin with. If it is another, a step of the call was
// refused, after others perhaps.
func lockedOut(args []any, refused *Error) bool {
	if len(refused.Params) < 2 || len(args) == 0 {
		return false
	}
	return slices.Contains(refused.Params[:2], fmt.Sprint(args[0]))
}

// oneStep reports whether a call does one thing or nothing: it changes one field of one object, or it is about a task or an event. When
// such a call is refused, nothing was done.
func oneStep(method string) bool {
	class, name, _ := strings.Cut(method, ".")
	if class == "task" || class == "event" || class == "session" {
		return true
	}
	for _, prefix := range []string{"get_", "set_", "add_to_", "remove_from_", "add_tags", "remove_tags"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
