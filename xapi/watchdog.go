package xapi

import (
	"context"
	"sync"
	"time"
)

// watchdog ends a transfer, with cause ErrStalled, when nothing has moved for its limit while it is on watch.
type watchdog struct {
	mu    sync.Mutex
	limit time.Duration
	timer *time.Timer
	rests bool
}

// newWatchdog starts on watch.
func newWatchdog(limit time.Duration, end context.CancelCauseFunc) *watchdog {
	return &watchdog{limit: limit, timer: time.AfterFunc(limit, func() { end(ErrStalled) })}
}

// watch starts the time anew.
func (w *watchdog) watch() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rests = false
	w.timer.Reset(w.limit)
}

// again starts the time anew, unless the watchdog rests.
func (w *watchdog) again() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.rests {
		w.timer.Reset(w.limit)
	}
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
	w.limit, w.rests = limit, false
	w.timer.Reset(limit)
}
