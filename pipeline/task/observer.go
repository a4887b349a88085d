package task

import "time"

// Kind says what an [Event] reports.
type Kind string

// The kinds of events.
const (
	EventStart    Kind = "start"
	EventEnd      Kind = "end"
	EventInfo     Kind = "info"
	EventWarning  Kind = "warning"
	EventProgress Kind = "progress"
	// EventWait is that the task waits for a slot of a limiter, and again, with Waited,
	// that it does no more: it has one, or has given up. Logs do not keep it.
	EventWait Kind = "wait"
)

// Event is one step of a run. Which fields are set depends on its kind; ID,
// Parent, Run and Name always are (Parent is empty for the root).
type Event struct {
	Kind Kind
	Time time.Time

	Run    string // id of the root
	ID     string // id of the task
	Parent string // id of the task it belongs to
	Name   string // name of the task
	Job    Job    // of events of the root: whose run it is

	Data    map[string]any // start: properties of the task; info, warning: data of the message
	Message string         // info, warning
	Status  Status         // end
	Result  any            // end
	Err     error          // end, unless it succeeded by itself

	Done, Total int64 // progress, in bytes; Total is 0 when unknown

	Limit  string        // wait: what there are too few slots of, such as "snapshot"
	Waited time.Duration // wait: how long, at least 1 ns; 0 while it waits
}

// Observer hears of the steps of a run. Calls come one at a time per run, a
// task's start before anything else of it and before its children, and its end
// last. Observe runs on the goroutine that does the work: it must return
// soon, and must not change the run it hears of. Maps of an event are shared:
// read only.
type Observer interface {
	Observe(e Event)
}

// ObserverFunc is a function as an [Observer].
type ObserverFunc func(e Event)

// Observe calls f.
func (f ObserverFunc) Observe(e Event) { f(e) }
