package xapi

import (
	"context"
	"sync"
	"time"
)

// looks is how often, within its limit, a watchdog looks whether what is silent moves all the same.
const looks = 10

// watchdog ends a transfer, with cause ErrStalled, when nothing has moved for its limit while it is on watch.
type watchdog struct {
	mu    sync.Mutex
	limit time.Duration
	since time.Time // of the last movement
	timer *time.Timer
	rests bool
	end   context.CancelCauseFunc
	// moves, when it is set, tells of movement that no byte shows, since it was asked the last time. The first answer after a byte has
	// moved, when anew is set, does not count: what it tells may have been before.
	moves func(anew bool) bool
	asked bool // since the last byte
}

// newWatchdog starts on watch.
func newWatchdog(limit time.Duration, end context.CancelCauseFunc) *watchdog {
	w := &watchdog{end: end}
	w.timer = time.AfterFunc(time.Duration(1<<63-1), w.wake)
	w.moved(limit)
	return w
}

// wake ends the transfer, or looks at what moves and goes on watching.
func (w *watchdog) wake() {
	w.mu.Lock()
	begin, anew, look := w.since, !w.asked, w.moves
	w.asked = true
	w.mu.Unlock()
	moves := look != nil && look(anew) && !anew
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.rests || !w.since.Equal(begin): // bytes came meanwhile
	case moves:
		w.start()
		w.asked = true
	case time.Since(w.since) >= w.limit:
		w.end(ErrStalled)
	default:
		w.timer.Reset(w.pause())
	}
}

// pause is how long until the next look, or until the limit.
func (w *watchdog) pause() time.Duration {
	left := w.limit - time.Since(w.since)
	if w.moves == nil {
		return left
	}
	return min(left, w.limit/looks)
}

// start starts the time anew.
func (w *watchdog) start() {
	w.rests, w.asked, w.since = false, false, time.Now()
	w.timer.Reset(w.pause())
}

// watch starts the time anew.
func (w *watchdog) watch() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.start()
}

// rest stops the clock: whoever is to move next is not the pool.
func (w *watchdog) rest() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rests = true
	w.timer.Stop()
}

// moved notes progress: from now on the limit is the given one.
func (w *watchdog) moved(limit time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limit = limit
	w.start()
}

// also lets movement count that no byte shows.
func (w *watchdog) also(moves func(anew bool) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moves = moves
}
