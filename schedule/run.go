package schedule

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"
)

const (
	// look is how often the clock is looked at: timers know nothing of its being set,
	// nor of a machine's sleep.
	look = 30 * time.Second
	// grace is how late something due may start without having been missed.
	grace = 2 * time.Minute
	// setBack is how far the clock may be set back without a second run of what was due
	// in that time; beyond it, the time before was wrong, and does not count.
	setBack = 3 * time.Hour
	// lastSave is how long the store may take when everything stops.
	lastSave = 10 * time.Second
)

// Run runs what is due until ctx is done or [Scheduler.Stop] is called, and returns
// when all that it has started has ended: with the cause of ctx, which ends the
// runs too, or nil when it was stopped. It fails at once when the store cannot be
// loaded, rather than forget what was missed. It may be called again afterwards.
func (s *Scheduler) Run(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	var runs sync.WaitGroup
	defer s.end()
	defer runs.Wait()
	for ctx.Err() == nil {
		wait := s.advance(ctx)
		if ctx.Err() != nil {
			break
		}
		for _, r := range s.takeReady() {
			runs.Go(func() { s.do(ctx, r) })
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-timer.C:
		}
		timer.Stop()
		if s.isStopping() {
			s.halt(ctx)
			return nil
		}
	}
	s.halt(ctx)
	return context.Cause(ctx)
}

// Stop lets Run start nothing more, and return when what runs has ended; sequences
// end after the part that runs. It does not wait, and does nothing before Run begins.
func (s *Scheduler) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == running {
		s.state = stopping
		s.poke()
	}
}

func (s *Scheduler) begin(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != idle {
		return ErrRunning
	}
	if s.store != nil {
		records, err := s.store.Load(ctx)
		if err != nil {
			return fmt.Errorf("schedule: load what was due last: %w", err)
		}
		s.records = map[string]Record{}
		maps.Copy(s.records, records)
	}
	s.state = running
	return nil
}

func (s *Scheduler) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = idle
}

func (s *Scheduler) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == stopping
}

// halt sends away who waits. What was due counts as missed when Run is called again.
func (s *Scheduler) halt(ctx context.Context) {
	s.mu.Lock()
	s.state = stopping
	dismissed := s.dismiss()
	for _, r := range dismissed {
		record, ok := s.records[r.fire.Entry]
		if before := r.fire.Due.Add(-1); ok && !r.fire.Due.IsZero() && record.Handled.After(before) {
			record.Handled = before
			s.records[r.fire.Entry], s.unsaved = record, true
		}
	}
	s.mu.Unlock()
	for _, r := range dismissed {
		s.observe(Event{Kind: EventSkipped, Fire: r.fire, Err: ErrStopped})
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastSave)
	defer cancel()
	if err := s.save(ctx); err != nil {
		s.observe(Event{Kind: EventUnsaved, Err: err})
	}
}

func (s *Scheduler) takeReady() []*run {
	s.mu.Lock()
	defer s.mu.Unlock()
	ready := s.ready
	s.ready = nil
	return ready
}

// do is a run, in its goroutine.
func (s *Scheduler) do(ctx context.Context, r *run) {
	s.observe(Event{Kind: EventStarted, Fire: r.fire})
	var err error
	if r.spec.Run != nil {
		err = r.spec.Run(ctx, r.fire)
	} else {
		err = s.sequence(ctx, r)
	}
	s.finish(r, err)
}

func (s *Scheduler) finish(r *run, err error) {
	s.mu.Lock()
	r.entry.last, r.entry.lastErr, r.entry.ended = r.fire, err, s.now().Round(0)
	s.release(r)
	s.mu.Unlock()
	s.observe(Event{Kind: EventEnded, Fire: r.fire, Err: err})
}

// sequence runs the parts one after the other.
func (s *Scheduler) sequence(ctx context.Context, r *run) error {
	for _, id := range r.spec.Sequence {
		if err := s.part(ctx, r, id); err != nil && (r.spec.Tolerate == nil || !r.spec.Tolerate(err)) {
			return fmt.Errorf("sequence %s: %s: %w", r.spec.ID, id, err)
		}
	}
	return nil
}

func (s *Scheduler) part(ctx context.Context, of *run, id string) error {
	s.mu.Lock()
	e := s.entries[id]
	var part *run
	if e != nil {
		part = &run{entry: e, spec: e.Entry, fire: Fire{Entry: id, Cause: InSequence, Sequence: of.spec.ID}, job: e.job()}
	}
	s.mu.Unlock()
	switch {
	case part == nil:
		return ErrUnknown
	case part.spec.Run == nil:
		return ErrNested
	case s.isStopping():
		return ErrStopped
	}
	if err := s.await(ctx, part); err != nil {
		return err
	}
	if s.isStopping() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.release(part)
		return ErrStopped
	}
	s.observe(Event{Kind: EventStarted, Fire: part.fire})
	err := part.spec.Run(ctx, part.fire)
	s.finish(part, err)
	return err
}
