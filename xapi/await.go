package xapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// eventWait is how long one event.from may hang before the pool answers with nothing.
const eventWait = 30 * time.Second

// taskWatch looks at one task until it is settled.
type taskWatch struct {
	client *Client
	task   Ref[Task]
	token  string // of the event stream
	misses int    // event.from got no answer
	poll   bool   // events do not work: the pool refused them, or something in between ends long waits
}

// A pool that has news of a task all the time, as in a flood of events, is looked at no more often than every floodPause, but for
// maxQuick times in a row.
const (
	floodPause = 100 * time.Millisecond
	maxQuick   = 4
)

// maxMisses is after how many calls without an answer event.from is given up for a task.
const maxMisses = 3

// await returns the record of a task that is no longer pending. A pool that cannot be reached is tried again until it has been
// silent for Options.StallTimeout: a task of hours must not be lost to a second of network trouble. A task that the pool does not know
// any more is ErrConnectionLost: as ErrHandleInvalid it would say that the object of the call is gone.
func (c *Client) await(ctx context.Context, task Ref[Task]) (*Task, error) {
	begin := time.Now()
	record, err := c.awaitTask(ctx, task)
	if errors.Is(err, ErrHandleInvalid) {
		err = hostError(c.Host(), ErrConnectionLost, errors.New("the pool has forgotten the task and its outcome"))
	}
	c.opts.Metrics.task(TaskMetric{Outcome: outcomeOf(err), Took: time.Since(begin)})
	return record, err
}

func (c *Client) awaitTask(ctx context.Context, task Ref[Task]) (*Task, error) {
	watch := &taskWatch{client: c, task: task}
	heard, quick := time.Now(), 0
	for {
		begin := time.Now()
		record, err := watch.look(ctx)
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("xapi: task: %w", context.Cause(ctx))
		case err == nil && settled(record):
			return record, nil
		case err == nil:
			heard = time.Now()
			if quick++; heard.Sub(begin) > floodPause {
				quick = 0
			}
			if quick > maxQuick && pause(ctx, floodPause) != nil {
				return nil, fmt.Errorf("xapi: task: %w", context.Cause(ctx))
			}
			continue
		case !passing(err) || errors.Is(err, ErrUntrusted) || time.Since(heard) > c.opts.StallTimeout:
			return nil, fmt.Errorf("wait for task: %w", err)
		}
		if err := pause(ctx, c.opts.PollInterval); err != nil {
			return nil, fmt.Errorf("xapi: task: %w", err)
		}
	}
}

func settled(t *Task) bool {
	return t.Status == "success" || t.Status == "failure" || t.Status == "cancelled"
}

// passing reports whether an error of a getter says something about the moment only.
func passing(err error) bool {
	for _, kind := range []error{
		ErrUnreachable, ErrConnectionLost, ErrProtocol, ErrStalled, ErrHostStillBooting, ErrCannotContactHost, ErrTooBusy, ErrTooManyPendingTasks,
	} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// look returns the task's record once it may have changed. Looks are spaced by the pool, which holds event.from back until there
// is news, or else by PollInterval.
func (w *taskWatch) look(ctx context.Context) (*Task, error) {
	var err error
	if !w.poll {
		var record *Task
		var refused *Error
		record, err = w.news(ctx)
		switch {
		case record != nil:
			w.misses = 0
			return record, nil
		case errors.As(err, &refused):
			w.poll = true
		case err != nil:
			w.misses++
			w.poll = w.misses == maxMisses
		}
	}
	if err == nil { // there was no news, or there is none to be had
		if err := pause(ctx, w.client.opts.PollInterval); err != nil {
			return nil, err
		}
	}
	return Get(ctx, once{w.client}, w.task)
}

// news waits for an event of the task and returns its record; nil when there was none in time.
func (w *taskWatch) news(ctx context.Context) (*Task, error) {
	wait := min(eventWait, w.client.opts.StallTimeout/2)
	ctx, cancel := context.WithTimeoutCause(ctx, 2*wait, ErrStalled)
	defer cancel()
	var batch struct {
		Token  string `json:"token"`
		Events []struct {
			Ref      Ref[Task]       `json:"ref"`
			Snapshot json.RawMessage `json:"snapshot"`
		} `json:"events"`
	}
	// Older servers insist on a number with a fraction.
	seconds := wait.Round(100*time.Millisecond).Seconds() + 0.05
	if err := w.client.callOnce(ctx, "event.from", &batch, []any{[]string{"task/" + string(w.task)}, w.token, seconds}); err != nil {
		return nil, err
	}
	w.token = batch.Token
	for _, event := range batch.Events {
		if event.Ref != w.task || len(event.Snapshot) == 0 {
			continue
		}
		record := new(Task)
		if err := json.Unmarshal(event.Snapshot, record); err != nil {
			return nil, hostError(w.client.Host(), ErrProtocol, err)
		}
		return record, nil
	}
	return nil, nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
