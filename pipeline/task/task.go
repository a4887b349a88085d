package task

import (
	"errors"
	"maps"
	"slices"
	"time"
)

// Task is a piece of a run: running until [Task.Succeed] or [Task.Fail] ends it.
// Its methods may be called concurrently, and change nothing once it has ended.
type Task struct {
	run    *Run
	parent *Task
	id     string
	name   string
	data   map[string]any
	start  time.Time

	// guarded by run.mu
	end         time.Time
	status      Status
	result      any
	err         error
	retried     bool
	done, total int64
	infos       []Message
	warnings    []Message
	children    []*Task
}

// Start begins a child. The data become the properties of the child; the map is
// copied.
func (t *Task) Start(name string, data map[string]any) *Task {
	c := &Task{
		run: t.run, parent: t, id: newID(), name: name, data: maps.Clone(data),
		start: time.Now(), status: Pending,
	}
	t.run.step(c, func(e *Event) bool {
		t.children = append(t.children, c)
		return c.started(e)
	})
	return c
}

func (t *Task) started(e *Event) bool {
	e.Kind, e.Data = EventStart, t.data
	return true
}

// Succeed ends the task with a result, which must be fit for encoding/json and
// not change any more. A child that failed makes the task fail all the same,
// one that was interrupted or skipped passes that on; a failed child counts for
// nothing when it said that it would be tried again ([Task.WillRetry]) and a
// later sibling of the same name and id succeeded.
func (t *Task) Succeed(result any) { t.finish(result, nil) }

// Fail ends the task with err: as [Skipped] for a [SkipError], as
// [Interrupted] when the work was cancelled, else as [Failure]. A nil err is
// success without a result.
func (t *Task) Fail(err error) {
	if err == nil {
		t.finish(nil, nil)
		return
	}
	t.finish(NewErrorResult(err), err)
}

// End is Fail for an error and Succeed with the result for none: the end of
// a function that returns both.
func (t *Task) End(result any, err error) {
	if err != nil {
		t.Fail(err)
		return
	}
	t.Succeed(result)
}

func (t *Task) finish(result any, err error) {
	t.run.step(t, func(e *Event) bool {
		if t.status != Pending {
			return false
		}
		t.end, t.result, t.err = e.Time, result, err
		t.status = fold(statusOf(err), t.children)
		e.Kind, e.Status, e.Result, e.Err = EventEnd, t.status, result, err
		return true
	})
}

// Info notes something worth knowing.
func (t *Task) Info(message string, data map[string]any) {
	t.note(EventInfo, &t.infos, Message{message, maps.Clone(data)})
}

// Warning notes something that somebody should look at although the work goes on.
func (t *Task) Warning(message string, data map[string]any) {
	t.note(EventWarning, &t.warnings, Message{message, maps.Clone(data)})
}

// WillRetry notes, as XO does, that the work is tried again in another task of
// the same name and id because of err: if that one succeeds, the failure of this
// one counts for nothing.
func (t *Task) WillRetry(attempt int, err error) {
	t.run.mu.Lock()
	t.retried = true
	t.run.mu.Unlock()
	t.Warning("Retry the VM backup due to an error", map[string]any{
		"attempt": attempt, "error": err.Error(), "isRetry": true,
	})
}

func (t *Task) note(kind Kind, to *[]Message, m Message) {
	t.run.step(t, func(e *Event) bool {
		if t.status != Pending {
			return false
		}
		*to = append(*to, m)
		e.Kind, e.Message, e.Data = kind, m.Message, m.Data
		return true
	})
}

// Progress says that done of total bytes are through; a total of 0 is unknown.
func (t *Task) Progress(done, total int64) {
	t.run.step(t, func(e *Event) bool {
		t.done, t.total = done, total
		e.Kind, e.Done, e.Total = EventProgress, done, total
		return t.status == Pending
	})
}

// Wait says that the task waits for a slot of the named limiter, until ended is called.
func (t *Task) Wait(limit string) (ended func()) {
	began := time.Now()
	tell := func(waited time.Duration) {
		t.run.step(t, func(e *Event) bool {
			e.Kind, e.Limit, e.Waited = EventWait, limit, waited
			return t.status == Pending
		})
	}
	tell(0)
	return func() { tell(max(1, time.Since(began))) }
}

// ID returns the task's id: unique, and sortable by start time.
func (t *Task) ID() string { return t.id }

// Name returns the task's name.
func (t *Task) Name() string { return t.name }

// Data returns the property key of the task, or nil.
func (t *Task) Data(key string) any { return t.data[key] }

// Status returns the status at this moment.
func (t *Task) Status() Status {
	t.run.mu.Lock()
	defer t.run.mu.Unlock()
	return t.status
}

// Err returns the error that ended the task, joined with those of its
// children, deepest last; nil when all of it succeeded or is still running.
func (t *Task) Err() error {
	t.run.mu.Lock()
	defer t.run.mu.Unlock()
	return t.errLocked()
}

func (t *Task) errLocked() error {
	if t.status == Success || t.status == Pending {
		return nil
	}
	errs := []error{t.err}
	for _, c := range t.children {
		if err := c.errLocked(); !errors.Is(t.err, err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Result returns what the task ended with; nil while it runs.
func (t *Task) Result() any {
	t.run.mu.Lock()
	defer t.run.mu.Unlock()
	return t.result
}

// Children returns the children so far, in the order of their start.
func (t *Task) Children() []*Task {
	t.run.mu.Lock()
	defer t.run.mu.Unlock()
	return slices.Clone(t.children)
}

// Warnings returns the warnings so far.
func (t *Task) Warnings() []Message {
	t.run.mu.Lock()
	defer t.run.mu.Unlock()
	return slices.Clone(t.warnings)
}

// Infos returns the infos so far.
func (t *Task) Infos() []Message {
	t.run.mu.Lock()
	defer t.run.mu.Unlock()
	return slices.Clone(t.infos)
}

// record copies the tree; the caller holds run.mu.
func (t *Task) record() *Record {
	r := &Record{
		ID: t.id, Message: t.name, Data: maps.Clone(t.data),
		Start: millis(t.start), End: millis(t.end), Status: t.status, Result: t.result,
		Infos: slices.Clone(t.infos), Warnings: slices.Clone(t.warnings),
	}
	if t.status == Pending && t.total > 0 {
		if r.Data == nil {
			r.Data = map[string]any{}
		}
		r.Data["progress"] = t.done * 100 / t.total
	}
	for _, c := range t.children {
		r.Tasks = append(r.Tasks, c.record())
	}
	return r
}
