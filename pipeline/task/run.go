package task

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"iter"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Job says whose run a [Run] is.
type Job struct {
	ID, Name   string
	ScheduleID string
}

// Run is the root of a tree of tasks, and a task itself. Its id is the run id.
type Run struct {
	*Task
	Job Job

	observer Observer
	emitMu   sync.Mutex // one step at a time; taken before mu
	mu       sync.Mutex // all mutable state of all tasks
}

// NewRun starts a run named "backup run". The data are XO's: mode, reportWhen.
// The observer may be nil.
func NewRun(job Job, data map[string]any, observer Observer) *Run {
	r := &Run{Job: job, observer: observer}
	r.Task = &Task{run: r, id: newID(), name: "backup run", data: maps.Clone(data), start: time.Now(), status: Pending}
	r.step(r.Task, r.started)
	return r
}

// All yields the run and all tasks of it, parents before their children, as they
// are when the iteration starts.
func (r *Run) All() iter.Seq[*Task] {
	return func(yield func(*Task) bool) { walk(r.Task, yield) }
}

func walk(t *Task, yield func(*Task) bool) bool {
	if !yield(t) {
		return false
	}
	for _, c := range t.Children() {
		if !walk(c, yield) {
			return false
		}
	}
	return true
}

// Record returns the run as XO's API shows it, a copy that changes no more.
func (r *Run) Record() *Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec := r.record()
	rec.Message = "backup" // what XO calls the root once consolidated
	rec.JobID, rec.JobName, rec.ScheduleID = r.Job.ID, r.Job.Name, r.Job.ScheduleID
	return rec
}

// MarshalJSON returns the JSON of [Run.Record].
func (r *Run) MarshalJSON() ([]byte, error) { return json.Marshal(r.Record()) }

// step changes t and tells the observer, so that events come in the order of the
// changes. change runs with mu held; it returns false when there is nothing to tell.
func (r *Run) step(t *Task, change func(e *Event) bool) {
	r.emitMu.Lock()
	defer r.emitMu.Unlock()
	e := Event{Time: time.Now(), Run: r.id, ID: t.id, Name: t.name}
	if t.parent != nil {
		e.Parent = t.parent.id
	} else {
		e.Job = r.Job
	}
	r.mu.Lock()
	tell := change(&e)
	r.mu.Unlock()
	if tell && r.observer != nil {
		r.observer.Observe(e)
	}
}

// newID returns an id as XO makes them: the time in milliseconds in base 36,
// padded so that ids sort by it, a dash and something random.
func newID() string {
	ms := strconv.FormatInt(time.Now().UnixMilli(), 36)
	return strings.Repeat("0", max(0, 9-len(ms))) + ms + "-" + strings.ToLower(rand.Text()[:12])
}

func as[T any](err error) (T, bool) {
	var target T
	ok := errors.As(err, &target)
	return target, ok
}
