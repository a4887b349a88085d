package xapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// watchWait is how long one event.from of a watch may hang before the pool answers with nothing.
	watchWait = time.Minute
	// watchGrace is how much longer its answer may take to begin, or to go on.
	watchGrace = 15 * time.Second
	// patience is how many attempts in a row may find nobody before other hosts are asked where the master is: a watch whose
	// connection was cut goes on where it was, one that moves to another login starts anew.
	patience = 1
	// maxBackOff bounds the pause between attempts, unless Options.PollInterval is longer.
	maxBackOff = 30 * time.Second
)

var errResyncWanted = errors.New("resynchronisation wanted")

// eventSink takes what a poller hears.
type eventSink interface {
	begin(fresh bool)  // an answer is about to come: forget what came since the last complete one
	event(Event) error // the snapshot is valid during the call
	trouble(error)     // the pool does not answer; nil: it does again
}

// polled is a complete answer.
type polled struct {
	fresh  bool // it has everything that exists
	token  string
	login  *login // that asked
	counts map[string]json.Number
}

// poller follows the events of a pool. Its next is for one goroutine.
type poller struct {
	client  *Client
	classes []string
	token   string // "" asks for everything
	login   *login // that gave the token: another session may be one of a pool that was restored
	hurry   bool   // the next answer shall not wait for news
	failed  int    // attempts in a row
	losses  int    // fresh starts in a row that no change followed

	mu        sync.Mutex
	interrupt context.CancelCauseFunc // ends what goes on, when that is not a fresh start already
	wanted    bool                    // a fresh start
}

func newPoller(c *Client, classes []string) *poller {
	if len(classes) == 0 {
		classes = []string{"*"}
	}
	return &poller{client: c, classes: classes}
}

// resync makes next start anew, beginning after this call.
func (p *poller) resync() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted = true
	if p.interrupt != nil {
		p.interrupt(errResyncWanted)
	}
}

// next waits for one complete answer. It deals with everything that passes; its errors are final.
func (p *poller) next(ctx context.Context, sink eventSink) (polled, error) {
	for {
		answer, at, err := p.attempt(ctx, sink)
		switch {
		case ctx.Err() != nil:
			return polled{}, fmt.Errorf("xapi: events: %w", context.Cause(ctx))
		case err == nil:
			p.token, p.failed = answer.token, 0
			if !answer.fresh {
				p.losses = 0
			}
			sink.trouble(nil)
			return answer, nil
		}
		pause, final := p.recover(ctx, at, err)
		if final != nil {
			return polled{}, fmt.Errorf("events: %w", final)
		}
		if pause > 0 {
			sink.trouble(err)
			p.pause(ctx, pause)
		}
	}
}

// attempt asks once.
func (p *poller) attempt(ctx context.Context, sink eventSink) (polled, *login, error) {
	at, err := p.client.attached(ctx)
	if err != nil {
		return polled{}, nil, err
	}
	if at != p.login {
		p.login, p.token = at, ""
	}
	ctx, disarm := p.arm(ctx, false)
	defer disarm()
	fresh := p.token == ""
	sink.begin(fresh)
	answer := &eventAnswer{}
	if err := p.ask(ctx, at, answer, sink); err != nil {
		if errors.Is(context.Cause(ctx), errResyncWanted) {
			err = errResyncWanted
		}
		return polled{}, at, err
	}
	switch {
	case answer.token == "":
		return polled{}, at, hostError(at.host.Host, ErrProtocol, errors.New("event.from: no token"))
	case !fresh && answer.token < p.token: // tokens compare as text
		return polled{}, at, errWentBack
	}
	p.hurry = false
	return polled{fresh: fresh, token: answer.token, login: at, counts: answer.counts}, at, nil
}

var errWentBack = errors.New("the pool's database is older than it was")

// arm returns a context that resync ends, unless a fresh start is under way.
func (p *poller) arm(ctx context.Context, idle bool) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case idle && p.wanted:
		cancel(errResyncWanted)
	case p.wanted:
		p.wanted, p.token = false, ""
	}
	if idle || p.token != "" {
		p.interrupt = cancel
	}
	return ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.interrupt = nil
		cancel(context.Canceled)
	}
}

// ask makes the call. The pool is silent up to the wait it was asked for, then it must move.
func (p *poller) ask(ctx context.Context, at *login, answer *eventAnswer, sink eventSink) error {
	wait := min(watchWait, p.client.opts.StallTimeout/2)
	grace := min(wait, watchGrace)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(context.Canceled)
	dog := newWatchdog(wait+grace, cancel)
	defer dog.rest()
	answer.each = func(e Event) error {
		dog.moved(grace)
		return sink.event(e)
	}
	if p.hurry || p.token == "" {
		wait = 0
	}
	// Older servers insist on a number with a fraction.
	seconds := wait.Round(100*time.Millisecond).Seconds() + 0.05
	return p.client.post(ctx, at.host, "event.from", []any{string(at.session), p.classes, p.token, seconds}, answer)
}

// recover prepares the next attempt and says after which pause it may be made; with an error there shall be none.
func (p *poller) recover(ctx context.Context, at *login, cause error) (time.Duration, error) {
	log := p.client.log
	switch {
	case errors.Is(cause, errResyncWanted):
		p.token = ""
		return 0, nil
	case errors.Is(cause, errWentBack), errors.Is(cause, ErrEventsLost), errors.Is(cause, ErrEventTokenInvalid):
		log.InfoContext(ctx, "events lost", "cause", cause)
		p.token = ""
		p.losses++
		return p.backOff(p.losses - 1), nil
	case errors.Is(cause, ErrSessionInvalid), errors.Is(cause, ErrHostIsSlave), at != nil && p.failed >= patience && away(cause):
		var next *login
		if next, cause = p.client.follow(ctx, at, cause, true); next != nil {
			p.losses++
			return p.backOff(p.losses - 1), nil
		}
	}
	if lasting(cause) {
		return 0, cause
	}
	if p.failed++; p.failed == 1 {
		log.WarnContext(ctx, "no events", "error", cause)
	}
	return p.backOff(p.failed), nil
}

// lasting reports whether trying again is pointless. A pool that restarts or elects a master says strange things for a while.
func lasting(err error) bool {
	for _, kind := range []error{ErrHostOffline, ErrInternal, ErrHostIsSlave, ErrSessionInvalid} {
		if errors.Is(err, kind) {
			return false
		}
	}
	var refused *Error
	return errors.Is(err, ErrClosed) || errors.Is(err, ErrRequestTooLarge) || errors.Is(err, errAnswerTooLarge) ||
		errors.As(err, &refused) && !passing(err)
}

// backOff is the pause before the nth repetition: growing, bounded, and not the same for all clients of a pool.
func (p *poller) backOff(n int) time.Duration {
	if n <= 0 {
		return 0
	}
	first := p.client.opts.PollInterval
	pause := min(first<<min(n-1, 16), max(first, maxBackOff))
	return pause/2 + rand.N(pause/2+1) // jitter
}

// pause ends early when ctx does, or when a fresh start is wanted.
func (p *poller) pause(ctx context.Context, d time.Duration) {
	ctx, disarm := p.arm(ctx, true)
	defer disarm()
	_ = pause(ctx, d) // the next attempt sees why
}
