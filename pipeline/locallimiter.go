package pipeline

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// LocalLimiter is a [Limiter] for one process: each key has its own slots, and
// those who wait for one are served in the order they came. Its limits may be
// changed at any time.
type LocalLimiter struct {
	mu     sync.Mutex
	limits Limits
	pools  map[string]Limits // of pools with limits of their own
	keys   map[Key]*slots
}

// slots are those of one key.
type slots struct {
	inUse   int
	waiting list.List // of *waiter
	served  int64
	waited  time.Duration
}

type waiter struct {
	turn  chan struct{} // closed when the slot is handed over
	since time.Time
}

// Figures are what a [LocalLimiter] knows of a key at one moment.
type Figures struct {
	Limit   int // 0: unlimited
	InUse   int // slots that are out
	Waiting int // callers that wait for one
	// Longest is how long the first of them has waited.
	Longest time.Duration
	// Served is how many slots have been handed out since the limiter was made, and
	// Waited how long all those who got one had waited for it. Of keys for [OpVM]
	// both are forgotten when nobody uses them.
	Served int64
	Waited time.Duration
}

// NewLimiter returns a limiter with the same limits for each pool.
func NewLimiter(limits Limits) *LocalLimiter {
	return &LocalLimiter{limits: limits, pools: map[string]Limits{}, keys: map[Key]*slots{}}
}

// SetLimits changes the limits of all pools but those that have their own. Slots
// that are out stay out: under a lower limit nobody gets one until enough are back.
func (l *LocalLimiter) SetLimits(limits Limits) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limits = limits
	l.serveAll()
}

// SetPoolLimits gives a pool limits of its own; nil gives it the common ones back.
func (l *LocalLimiter) SetPoolLimits(pool string, limits *Limits) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if limits == nil {
		delete(l.pools, pool)
	} else {
		l.pools[pool] = *limits
	}
	l.serveAll()
}

// Acquire implements [Limiter]. A slot of a LocalLimiter is never lost.
func (l *LocalLimiter) Acquire(ctx context.Context, key Key) (slot context.Context, release func(), err error) {
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	if err := l.wait(ctx, key); err != nil {
		return nil, nil, err
	}
	slot, end := context.WithCancelCause(ctx)
	release = sync.OnceFunc(func() {
		end(errReleased)
		l.giveBack(key)
	})
	return slot, release, nil
}

// wait returns nil with a slot taken.
func (l *LocalLimiter) wait(ctx context.Context, key Key) error {
	w := &waiter{turn: make(chan struct{}), since: time.Now()}
	l.mu.Lock()
	s := l.keys[key]
	if s == nil {
		s = &slots{}
		l.keys[key] = s
	}
	place := s.waiting.PushBack(w)
	l.serve(key, s)
	l.mu.Unlock()
	select {
	case <-w.turn:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-w.turn: // handed over while ctx ended: pass it on
		s.inUse--
		s.served--
	default:
		s.waiting.Remove(place)
	}
	l.serve(key, s)
	return context.Cause(ctx)
}

func (l *LocalLimiter) giveBack(key Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.keys[key]
	s.inUse--
	l.serve(key, s)
}

func (l *LocalLimiter) serveAll() {
	for key, s := range l.keys {
		l.serve(key, s)
	}
}

// serve hands out what slots there are to those who wait longest. It comes after
// every change, so that there is never both a free slot and somebody who waits.
func (l *LocalLimiter) serve(key Key, s *slots) {
	limit := l.limitOf(key)
	for first := s.waiting.Front(); first != nil && (limit == 0 || s.inUse < limit); first = s.waiting.Front() {
		w := s.waiting.Remove(first).(*waiter)
		s.inUse++
		s.served++
		s.waited += time.Since(w.since)
		close(w.turn)
	}
	if key.Op == OpVM && s.inUse == 0 && s.waiting.Len() == 0 {
		delete(l.keys, key) // there may be any number of VMs, but only so many pools
	}
}

// limitOf returns the limit of a key, 0 for none.
func (l *LocalLimiter) limitOf(key Key) int {
	limits, own := l.pools[key.Pool]
	if !own {
		limits = l.limits
	}
	return max(0, limits.of(key.Op))
}

// Figures returns those of key at this moment.
func (l *LocalLimiter) Figures(key Key) Figures {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.figures(key, time.Now())
}

// All returns the figures of all keys that have been used, consistent with each
// other.
func (l *LocalLimiter) All() map[Key]Figures {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	all := make(map[Key]Figures, len(l.keys))
	for key := range l.keys {
		all[key] = l.figures(key, now)
	}
	return all
}

func (l *LocalLimiter) figures(key Key, now time.Time) Figures {
	f := Figures{Limit: l.limitOf(key)}
	if s := l.keys[key]; s != nil {
		f.InUse, f.Waiting, f.Served, f.Waited = s.inUse, s.waiting.Len(), s.served, s.waited
		if first := s.waiting.Front(); first != nil {
			f.Longest = now.Sub(first.Value.(*waiter).since)
		}
	}
	return f
}

// InUse returns how many slots of key are taken at this moment.
func (l *LocalLimiter) InUse(key Key) int { return l.Figures(key).InUse }

// Waiting returns how many callers wait for a slot of key at this moment.
func (l *LocalLimiter) Waiting(key Key) int { return l.Figures(key).Waiting }
