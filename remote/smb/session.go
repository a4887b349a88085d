package smb

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	maxIO      = 1 << 20  // of one request; Windows takes no more
	creditSize = 64 << 10 // a credit pays for
	roomyCost  = maxIO / creditSize
	maxCredits = 512 // what the library asks the server for
	budget     = 256 // what is used at once, so that no request runs short
	depth      = budget / roomyCost
	errSilent  = sentinel("the server does not answer")
	errIgnored = sentinel("the server answers others, but not this request")

	// overdue is after how many times the silence that is allowed a single request
	// counts as ignored: the library drops answers that it cannot decrypt or match,
	// and waits on. A sync may take that long.
	overdue = 10
)

type sentinel string

func (s sentinel) Error() string { return string(s) }

// session is one connection that is logged in and connected to the share. It ends
// once and for all: when the server or the network fails, when the server has
// been silent for too long while it owed an answer, or when it is closed.
type session struct {
	lib     library
	wire    *wire
	silence time.Duration // after which the server is given up
	born    time.Time

	life    context.Context //nolint:containedctx // of the session; what ended it is its cause
	end     context.CancelCauseFunc
	credits *semaphore.Weighted

	mu    sync.Mutex
	owed  int       // answers
	since time.Time // when there were none last
	over  bool
	calls sync.WaitGroup // requests and the watchdog
}

// lostError: the connection ended during a request, whose outcome is unknown.
type lostError struct{ cause error }

func (e *lostError) Error() string { return fmt.Sprintf("connection lost: %v", e.cause) }

func (e *lostError) Unwrap() error { return e.cause }

func isLost(err error) bool {
	var lost *lostError
	return errors.As(err, &lost)
}

func newSession(life context.Context, end context.CancelCauseFunc, lib library, w *wire, silence time.Duration) *session {
	now := time.Now()
	s := &session{
		lib: lib, wire: w, silence: silence, born: now, since: now,
		life: life, end: end, credits: semaphore.NewWeighted(budget),
	}
	s.calls.Go(s.watch)
	return s
}

func (s *session) alive() bool { return s.life.Err() == nil }

func (s *session) lost() error { return &lostError{context.Cause(s.life)} }

// kill ends the session because of what has gone wrong. What waits for it fails.
func (s *session) kill(cause error) {
	s.end(cause)
	s.wire.abort()
}

// close ends the session in peace and waits for what runs in it.
func (s *session) close() {
	s.end(errors.New("closed"))
	_ = s.wire.Close()
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.calls.Wait()
}

// begin counts a request that will be sent.
func (s *session) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || !s.alive() {
		return s.lost()
	}
	if s.owed == 0 {
		s.since = time.Now()
	}
	s.owed++
	s.calls.Add(1)
	return nil
}

func (s *session) done() {
	s.mu.Lock()
	s.owed--
	s.mu.Unlock()
	s.calls.Done()
}

// quiet is how long the server has owed something without a sound, or, if it owes
// nothing, how long the connection has been idle.
func (s *session) quiet() (d time.Duration, owes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.wire.lastArrival()
	if s.owed > 0 && s.since.After(last) {
		last = s.since
	}
	return time.Since(last), s.owed > 0
}

// watch asks a server that has become silent, or idle, for a sign of life, and
// ends the session when nothing comes. So a request that takes long, such as the
// sync of a large file, is not mistaken for a dead server.
func (s *session) watch() {
	tick := time.NewTicker(max(s.silence/12, time.Millisecond))
	defer tick.Stop()
	var asked sync.WaitGroup
	defer asked.Wait()
	asking := make(chan struct{}, 1)
	for {
		select {
		case <-s.life.Done():
			s.wire.abort()
			return
		case <-tick.C:
		}
		quiet, owes := s.quiet()
		if owes && quiet >= s.silence {
			s.kill(errSilent)
			return
		}
		if quiet < s.silence/3 || (!owes && quiet < s.silence/2) {
			continue
		}
		select {
		case asking <- struct{}{}:
			asked.Go(func() {
				defer func() { <-asking }()
				_, _ = call(s.life, s, request[info]{run: func() (info, error) { return s.lib.stat("") }})
			})
		default:
		}
	}
}

// request is one request, or a few in a row, to the library.
type request[T any] struct {
	cost  int64 // credits; 0 for what must not wait for any
	run   func() (T, error)
	drop  func(T) // what to do with a result that nobody waits for any more
	after func()  // called once nothing uses what run uses, whatever happens
}

// call makes a request in a goroutine of its own, for the library can neither be
// interrupted nor be trusted not to panic. It returns as soon as ctx ends or the
// session does; run may then still be under way. Errors have the meaning that
// callers of this package look for; a lostError leaves the outcome unknown.
func call[T any](ctx context.Context, s *session, r request[T]) (T, error) {
	var none T
	after := func() {
		if r.after != nil {
			r.after()
		}
	}
	if r.cost > 0 {
		if err := s.acquire(ctx, r.cost); err != nil {
			after()
			return none, err
		}
	}
	if err := s.begin(); err != nil {
		s.credits.Release(r.cost)
		after()
		return none, err
	}
	type result struct {
		value T
		err   error
	}
	answer := make(chan result) // unbuffered: received, or dropped
	gone := make(chan struct{})
	go func() { // owned by the session, which waits for it
		defer s.done()
		limit := time.AfterFunc(overdue*s.silence, func() { s.kill(errIgnored) })
		value, err := guarded(r.run)
		limit.Stop()
		if r.cost > 0 {
			s.credits.Release(r.cost)
		}
		if b := broken(err); b != nil {
			s.kill(b)
			err = s.lost()
		}
		after()
		select {
		case answer <- result{value, meaning(err)}:
		case <-gone:
			if err == nil && r.drop != nil {
				r.drop(value)
			}
		}
	}()
	defer close(gone)
	select {
	case a := <-answer:
		return a.value, a.err
	case <-ctx.Done():
		return none, context.Cause(ctx)
	case <-s.life.Done():
		return none, s.lost()
	}
}

// acquire takes credits, until ctx or the session ends.
func (s *session) acquire(ctx context.Context, cost int64) error {
	if s.credits.TryAcquire(cost) {
		return nil
	}
	either, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	if err := s.credits.Acquire(either, cost); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return s.lost()
	}
	return nil
}

// roomy makes a request whose answer may be as long as maxIO. The library sends
// it with fewer credits than that needs when it has no more, which the server
// refuses as invalid: then it is sent once more, alone.
func roomy[T any](ctx context.Context, s *session, r request[T]) (T, error) {
	after := r.after
	if after == nil {
		after = func() {}
	}
	defer after()
	r.after = nil
	r.cost = roomyCost
	refused := false
	run := r.run
	r.run = func() (T, error) {
		value, err := run()
		st, ok := statusOf(err)
		refused = ok && st == statusInvalidParameter
		return value, err
	}
	value, err := call(ctx, s, r)
	if err == nil || ctx.Err() != nil || !s.alive() || !refused {
		return value, err
	}
	r.cost = budget
	return call(ctx, s, r)
}

// guarded turns a panic into an error.
func guarded[T any](run func() (T, error)) (value T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{p}
		}
	}()
	return run()
}
