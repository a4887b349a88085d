package schedule

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"
)

// Scheduler runs entries when they are due; see the package's manual. Its methods
// may be called by several goroutines, also before and while it runs, and by what
// it runs. It starts no goroutine outside of [Scheduler.Run].
type Scheduler struct {
	store   Store
	now     func() time.Time
	observe func(Event)
	wake    chan struct{} // something has changed: look again

	mu      sync.Mutex
	state   state
	entries map[string]*entry
	records map[string]Record
	unsaved bool
	lines   map[jobKey]*line
	ready   []*run // to be started by Run, their jobs taken
}

type state int

const (
	idle state = iota
	running
	stopping
)

// entry is what is known of an [Entry].
type entry struct {
	Entry
	text    string // its spec
	next    time.Time
	nextOf  time.Time // what next is the next of
	runs    int
	waits   int
	last    Fire
	lastErr error
	ended   time.Time
}

// Options of a [Scheduler]; nil is the zero value.
type Options struct {
	// Store remembers what was due across restarts; nil forgets it.
	Store Store
	// Observer is told what happens, by several goroutines. It must not block, nor call
	// the scheduler.
	Observer func(Event)
	// Now is the clock; nil is that of the machine.
	Now func() time.Time
}

// NewScheduler makes one without entries.
func NewScheduler(opts *Options) *Scheduler {
	if opts == nil {
		opts = &Options{}
	}
	s := &Scheduler{
		store: opts.Store, now: opts.Now, observe: opts.Observer,
		wake:    make(chan struct{}, 1),
		entries: map[string]*entry{}, records: map[string]Record{}, lines: map[jobKey]*line{},
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.observe == nil {
		s.observe = func(Event) {}
	}
	return s
}

// Set adds an entry, or replaces that of the same id. One that is new, or has
// another timetable, or is enabled again, is due from now on; what it would have
// been due before is not missed. A run that is under way goes on.
func (s *Scheduler) Set(e Entry) error {
	if err := e.check(); err != nil {
		return err
	}
	e.Sequence = slices.Clone(e.Sequence)
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.entries[e.ID]
	if old == nil {
		old = &entry{}
		s.entries[e.ID] = old
	}
	old.Entry, old.text, old.nextOf = e, e.spec(), time.Time{}
	s.poke()
	return nil
}

// Remove forgets an entry, and, while the scheduler runs, what the store knows of it;
// a run of it that is under way, or waits, goes on. One that is not there is no error.
func (s *Scheduler) Remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.records[id]; ok {
		delete(s.records, id)
		s.unsaved = true
	}
	delete(s.entries, id)
	s.poke()
}

// SetEnabled lets an entry be due, or not, until it is set again. What it would have
// been due meanwhile is not missed.
func (s *Scheduler) SetEnabled(id string, enabled bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[id]
	if e == nil {
		return ErrUnknown
	}
	e.Disabled = !enabled
	s.poke()
	return nil
}

// RunNow runs an entry by hand, enabled or not, and does not wait for its end. While
// its job runs it is [ErrBusy], or, with the policy [Queue], it waits its turn. Before
// the scheduler runs, it begins with it; while it stops, it is [ErrStopped].
func (s *Scheduler) RunNow(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[id]
	if e == nil {
		return ErrUnknown
	}
	s.poke()
	return s.admit(e, Fire{Entry: id, Cause: ByHand})
}

// Status is how an entry stands.
type Status struct {
	ID      string
	Enabled bool
	Next    time.Time // due next; zero when disabled, never, or the scheduler does not run
	Running bool
	Waiting bool
	Last    Fire      // of the last run that has ended
	Ended   time.Time // when it did; zero is never since the scheduler was made
	LastErr error     // what it returned
}

// Status lists all entries, by id.
func (s *Scheduler) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Status
	for _, id := range slices.Sorted(maps.Keys(s.entries)) {
		e := s.entries[id]
		st := Status{ID: id, Enabled: !e.Disabled, Running: e.runs > 0, Waiting: e.waits > 0, Last: e.last, Ended: e.ended, LastErr: e.lastErr}
		if s.state == running && !e.Disabled && e.When != nil {
			st.Next = e.next
		}
		all = append(all, st)
	}
	return all
}

// poke makes Run look again.
func (s *Scheduler) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// byDue sorts what is due by time, then id.
func byDue(a, b Fire) int { return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(a.Entry, b.Entry)) }
