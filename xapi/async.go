package xapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/xenbackup/xenbackup/internal/xmlvalue"
)

// CallAsync makes a call that may take long as a task of the pool (Async.<method>), waits for the task, decodes its result into
// result, which may be nil, and destroys the task. A task that fails is an *Error with the task's code; one that succeeds without the
// reference that result is for is ErrProtocol, one that vanishes with its outcome ErrConnectionLost. Calls that the pool refuses for the moment are made again as Call says, a task that has
// failed only when that proves that nothing was done.
//
// When ctx ends, the task is cancelled, and CallAsync returns the cause of ctx within twice Options.CancelTimeout. Operations that
// cannot be cancelled may finish all the same: if that is seen in this time, their result is returned and the error is nil, so that
// what was made can be removed.
func (c *Client) CallAsync(ctx context.Context, method string, result any, args ...any) error {
	if ctx.Err() != nil {
		return fmt.Errorf("xapi: %s: %w", method, context.Cause(ctx))
	}
	return c.persist(ctx, method, args, func() (bool, error) { return c.callTask(ctx, method, result, args) })
}

// callTask is one attempt of CallAsync. It says whether the task was made: a pool that refuses to make it has done nothing.
func (c *Client) callTask(ctx context.Context, method string, result any, args []any) (begun bool, err error) {
	// Started under a context that outlives ctx: a start that is cut off would leave a task nobody knows.
	grace, stop := outlive(ctx, c.opts.CancelTimeout)
	defer stop()
	var task Ref[Task]
	if err := c.callOnce(grace, "Async."+method, &task, args); err != nil {
		return false, err
	}
	record, err := c.await(ctx, task)
	if err != nil {
		c.cancelTask(ctx, task)
		if ctx.Err() != nil {
			record, _ = c.await(grace, task) // the error of ctx is the one to report
		}
	}
	c.destroyTask(ctx, task)
	if record == nil {
		return true, fmt.Errorf("%s: %w", method, err)
	}
	if outcome := c.outcome(method, record, result); err == nil || outcome == nil {
		return true, outcome
	}
	return true, fmt.Errorf("%s: %w", method, err)
}

// outlive returns a context that ends, with the cause of ctx, the given time after ctx.
func outlive(ctx context.Context, extra time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	timer := time.AfterFunc(time.Duration(1<<63-1), func() { cancel(context.Cause(ctx)) })
	stop := context.AfterFunc(ctx, func() { timer.Reset(extra) })
	return longer, func() {
		stop()
		timer.Stop()
		cancel(context.Canceled)
	}
}

// cleanup returns a context for tidying after ctx ended.
func (c *Client) cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.WithoutCancel(ctx), c.opts.CancelTimeout, ErrStalled)
}

// cancelTask asks the pool to stop; a task that cannot be cancelled, or is over, is none of the caller's worries.
func (c *Client) cancelTask(ctx context.Context, task Ref[Task]) {
	ctx, cancel := c.cleanup(ctx)
	defer cancel()
	if err := c.Call(ctx, "task.cancel", nil, task); err != nil {
		c.log.InfoContext(ctx, "task not cancelled", "error", err)
	}
}

// destroyTask forgets a task. On one that is pending the pool remembers the wish and fulfils it when the task ends.
func (c *Client) destroyTask(ctx context.Context, task Ref[Task]) {
	ctx, cancel := c.cleanup(ctx)
	defer cancel()
	if err := c.Call(ctx, "task.destroy", nil, task); err != nil && !errors.Is(err, ErrHandleInvalid) {
		c.log.InfoContext(ctx, "task not destroyed", "error", err)
	}
}

// outcome turns a settled task into a result or an *Error. A cancelled task usually has no error_info.
func (c *Client) outcome(method string, t *Task, result any) error {
	if t.Status == "success" {
		if err := decodeTaskResult(t.Result, result); err != nil {
			return fmt.Errorf("xapi: %s: %w: task result: %w", method, ErrProtocol, c.secrets.wrap(err))
		}
		return nil
	}
	info := t.ErrorInfo
	if t.Status == "cancelled" {
		info = append([]string{ErrTaskCancelled.Code}, info[min(1, len(info)):]...)
	}
	if len(info) == 0 {
		info = []string{ErrInternal.Code, "task failed without saying why"}
	}
	return c.secrets.newError(method, info[0], info[1:])
}

// decodeTaskResult reads XML-RPC value text; nothing at all is void, which is no reference, and very old servers wrote plain text.
// XML-RPC as xapi writes it has no integers, so a string is tried as one where the caller wants one.
func decodeTaskResult(text string, result any) error {
	if result == nil {
		return nil
	}
	if text == "" {
		if _, wanted := result.(interface{ IsNull() bool }); wanted {
			return errors.New("no reference")
		}
		return nil
	}
	if !strings.HasPrefix(strings.TrimSpace(text), "<") {
		raw, _ := json.Marshal(text) // a string always marshals
		return json.Unmarshal(raw, result)
	}
	raw, err := xmlvalue.JSON([]byte(text))
	if err != nil {
		return err
	}
	return unmarshalNumber(raw, result)
}
