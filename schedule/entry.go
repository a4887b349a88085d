package schedule

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Timetable tells when something is due. [*Cron] is one.
type Timetable interface {
	// Next is the first time after t, or the zero time when there is none.
	Next(t time.Time) time.Time
}

// Overlap is what becomes of an entry that is due while its job runs.
type Overlap int

const (
	// Skip leaves it out; [EventSkipped] says so.
	Skip Overlap = iota
	// Queue lets it wait for its turn. While it waits, further times are skipped.
	Queue
)

// Entry is something that a [Scheduler] runs: when it is due, by hand, or as a part
// of a sequence.
type Entry struct {
	ID string
	// When it is due; nil is never by itself.
	When Timetable
	// Run does it, and ends soon once ctx is done.
	Run func(ctx context.Context, fire Fire) error
	// Sequence, instead of Run, has the ids of entries to run one after the other, each
	// when its job is free, whether enabled or not. The first that fails ends it.
	Sequence []string
	// Tolerate tells of which errors of its parts a sequence takes no notice; nil is none.
	Tolerate func(err error) bool
	// Job names what must not run twice at a time: entries of the same job exclude each
	// other. "" is the entry alone. A sequence has none.
	Job      string
	Disabled bool
	Overlap  Overlap
	// CatchUp is how long ago a missed time may be to be made up for, by one run for
	// all that were missed; 0 makes up for none.
	CatchUp time.Duration
}

func (e *Entry) check() error {
	switch {
	case e.ID == "":
		return errors.New("schedule: entry without an id")
	case (e.Run == nil) == (len(e.Sequence) == 0):
		return fmt.Errorf("schedule: entry %s: either Run or a sequence is needed", e.ID)
	case len(e.Sequence) > 0 && e.Job != "":
		return fmt.Errorf("schedule: entry %s: a sequence has no job of its own", e.ID)
	case e.CatchUp < 0:
		return fmt.Errorf("schedule: entry %s: catch-up within %v", e.ID, e.CatchUp)
	}
	return nil
}

// spec is the timetable in words: a change of it is seen after a restart too.
func (e *Entry) spec() string {
	text, _ := e.When.(fmt.Stringer)
	if text == nil {
		return ""
	}
	if zoned, ok := e.When.(interface{ Zone() *time.Location }); ok {
		return text.String() + " " + zoned.Zone().String()
	}
	return text.String()
}

// job is what excludes it; those of entries without a name are apart from names.
func (e *Entry) job() jobKey {
	if e.Job != "" {
		return jobKey{named: true, name: e.Job}
	}
	return jobKey{name: e.ID}
}

type jobKey struct {
	named bool
	name  string
}

// Cause is why something runs.
type Cause int

const (
	// Scheduled is for one that is due.
	Scheduled Cause = iota
	// CaughtUp is for one that was due some time ago, and missed.
	CaughtUp
	// ByHand is for [Scheduler.RunNow].
	ByHand
	// InSequence is for a part of one.
	InSequence
)

// Fire is one run of an entry, or one that was to be.
type Fire struct {
	Entry    string
	Cause    Cause
	Due      time.Time // when it was due; zero by hand and in a sequence
	Sequence string    // the entry that it is a part of
}

// EventKind is what has happened.
type EventKind int

const (
	// EventStarted is the begin of a run.
	EventStarted EventKind = iota
	// EventEnded is its end; Err is what it returned.
	EventEnded
	// EventSkipped is for one that does not run; Err is [ErrBusy], or [ErrStopped]: then
	// what was due counts as missed.
	EventSkipped
	// EventMissed is for one that was due, and perhaps more often since, while the
	// scheduler or the machine did not run; that is not made up for.
	EventMissed
	// EventClock is for a clock that was set back by so much that the entry starts anew
	// from now.
	EventClock
	// EventUnsaved is for a store that failed with Err. After a restart, what has run may
	// count as missed. Fire is empty.
	EventUnsaved
)

// Event is something that has happened to an entry.
type Event struct {
	Kind EventKind
	Fire Fire
	Err  error
}

// What a [Scheduler] refuses.
var (
	ErrBusy    = errors.New("schedule: the job is running or waiting already")
	ErrUnknown = errors.New("schedule: no such entry")
	ErrNested  = errors.New("schedule: a sequence within a sequence")
	ErrRunning = errors.New("schedule: the scheduler runs already")
	ErrStopped = errors.New("schedule: the scheduler stops")
)
