package schedule

import (
	"context"
	"maps"
	"slices"
	"time"
)

// advance admits what is due, and says how long nothing will be.
func (s *Scheduler) advance(ctx context.Context) (wait time.Duration) {
	s.mu.Lock()
	now := s.now().Round(0) // without the monotonic clock: it is the wall's that counts
	wait = look
	var due []Fire
	var events []Event
	for _, id := range slices.Sorted(maps.Keys(s.entries)) {
		e := s.entries[id]
		if e.When == nil {
			continue
		}
		events = append(events, s.settle(e, now)...)
		if e.Disabled {
			continue
		}
		if fire, missed := e.look(s.records[id].Handled, now); !fire.Due.IsZero() || !missed.IsZero() {
			s.handled(e, now, fire)
			if !fire.Due.IsZero() {
				due = append(due, fire)
			}
			if !missed.IsZero() {
				events = append(events, Event{Kind: EventMissed, Fire: Fire{Entry: id, Due: missed}})
			}
		}
		if next := e.nextAfter(s.records[id].Handled); !next.IsZero() {
			wait = min(wait, next.Sub(now))
		}
	}
	s.mu.Unlock()

	// Saved before the runs begin: after a crash, none counts as missed.
	if err := s.save(ctx); err != nil {
		events = append(events, Event{Kind: EventUnsaved, Err: err})
	}
	slices.SortFunc(due, byDue)
	for _, fire := range due {
		s.mu.Lock()
		e, err := s.entries[fire.Entry], ErrUnknown
		if e != nil {
			err = s.admit(e, fire)
		}
		s.mu.Unlock()
		if err != nil {
			events = append(events, Event{Kind: EventSkipped, Fire: fire, Err: err})
		}
	}
	for _, event := range events {
		s.observe(event)
	}
	return wait
}

// save saves what has changed; what cannot be is tried again with the next look.
func (s *Scheduler) save(ctx context.Context) error {
	s.mu.Lock()
	if !s.unsaved || s.store == nil {
		s.mu.Unlock()
		return nil
	}
	s.unsaved = false
	records := maps.Clone(s.records)
	s.mu.Unlock()
	err := s.store.Save(ctx, records)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.unsaved = true
	}
	return err
}

// settle starts the entry anew when it is new, changed or enabled again, or when the
// clock was set back too far.
func (s *Scheduler) settle(e *entry, now time.Time) []Event {
	old, ok := s.records[e.ID]
	record := Record{Handled: old.Handled, Spec: e.text, Disabled: e.Disabled}
	var events []Event
	switch {
	case !ok, old.Spec != record.Spec, old.Disabled && !record.Disabled:
		record.Handled = now
	case !record.Disabled && old.Handled.Sub(now) > setBack:
		record.Handled = now
		events = []Event{{Kind: EventClock, Fire: Fire{Entry: e.ID}}}
	}
	if !ok || old != record {
		s.records[e.ID], s.unsaved = record, true
	}
	return events
}

// handled notes until when the times of the entry are dealt with.
func (s *Scheduler) handled(e *entry, now time.Time, fire Fire) {
	record := s.records[e.ID]
	record.Handled = now
	if !fire.Due.IsZero() {
		record.Handled = fire.Due
	}
	s.records[e.ID], s.unsaved = record, true
}

// nextAfter is the next of the timetable, kept.
func (e *entry) nextAfter(t time.Time) time.Time {
	if !e.nextOf.Equal(t) || e.nextOf.IsZero() {
		e.next, e.nextOf = e.When.Next(t).Round(0), t
	}
	return e.next
}

// look finds what is due now, of the times after what is handled: the last that is
// not too old, and the first of those that are missed for good. Zero times are none.
func (e *entry) look(handled, now time.Time) (fire Fire, missed time.Time) {
	first := e.nextAfter(handled)
	if first.IsZero() || first.After(now) {
		return Fire{}, time.Time{}
	}
	// Times before this are too old, so there is no need to count through them.
	oldest := now.Add(-max(grace, e.CatchUp))
	var last time.Time
	next := first
	if first.Before(oldest) {
		next = e.When.Next(oldest.Add(-1))
	}
	for next.After(last) && !next.After(now) {
		last = next
		next = e.When.Next(next)
	}
	if !last.Equal(first) {
		missed = first
	}
	if last.IsZero() {
		return Fire{}, missed
	}
	fire = Fire{Entry: e.ID, Due: last.Round(0)}
	if now.Sub(last) > grace {
		fire.Cause = CaughtUp
	}
	return fire, missed
}
