package schedule

import (
	"context"
	"slices"
)

// line is who waits for a job that runs, first come first served.
type line struct{ waiting []*run }

// run is a run that is to be, or is.
type run struct {
	entry *entry
	spec  Entry // as it was when it was admitted
	fire  Fire
	job   jobKey
	turn  chan struct{} // of a part of a sequence, closed when the job is its own; nil starts by Run
}

// admit lets the entry run at once or later, or refuses with ErrBusy or ErrStopped.
func (s *Scheduler) admit(e *entry, fire Fire) error {
	if s.state == stopping {
		return ErrStopped
	}
	r := &run{entry: e, spec: e.Entry, fire: fire, job: e.job()}
	if l := s.lines[r.job]; l != nil {
		if e.Overlap != Queue || e.waits > 0 {
			return ErrBusy
		}
		e.waits++
		l.waiting = append(l.waiting, r)
		return nil
	}
	s.lines[r.job] = &line{}
	s.grant(r)
	return nil
}

// grant gives the run its job.
func (s *Scheduler) grant(r *run) {
	r.entry.runs++
	if r.turn != nil {
		close(r.turn)
		return
	}
	s.ready = append(s.ready, r)
}

// await waits for the job of a part of a sequence.
func (s *Scheduler) await(ctx context.Context, r *run) error {
	r.turn = make(chan struct{})
	s.mu.Lock()
	if l := s.lines[r.job]; l != nil {
		r.entry.waits++
		l.waiting = append(l.waiting, r)
	} else {
		s.lines[r.job] = &line{}
		s.grant(r)
	}
	s.mu.Unlock()
	select {
	case <-r.turn:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lines[r.job]; l != nil {
		if i := slices.Index(l.waiting, r); i >= 0 {
			l.waiting = slices.Delete(l.waiting, i, i+1)
			r.entry.waits--
			return context.Cause(ctx)
		}
	}
	s.release(r) // its turn came just now
	return context.Cause(ctx)
}

// release ends a run's hold of its job, and grants it to who waits.
func (s *Scheduler) release(r *run) {
	r.entry.runs--
	l := s.lines[r.job]
	if len(l.waiting) == 0 {
		delete(s.lines, r.job)
		return
	}
	next := l.waiting[0]
	l.waiting = l.waiting[1:]
	next.entry.waits--
	s.grant(next)
	s.poke()
}

// dismiss takes out of the lines, and gives, who is not started yet, but for the
// parts of sequences.
func (s *Scheduler) dismiss() []*run {
	var dismissed []*run
	for _, l := range s.lines {
		l.waiting = slices.DeleteFunc(l.waiting, func(r *run) bool {
			if r.turn == nil {
				r.entry.waits--
				dismissed = append(dismissed, r)
			}
			return r.turn == nil
		})
	}
	for _, r := range s.ready {
		s.release(r)
	}
	dismissed = append(dismissed, s.ready...)
	s.ready = nil
	return dismissed
}
