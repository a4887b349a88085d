package pipeline

import (
	"container/list"
	"context"
	"errors"
	"sync"
)

// Op is a kind of work that a [Limiter] bounds.
type Op string

// The limited kinds of work. Snapshot, disk export and VM export are limited per
// pool and shared by all jobs; OpVM is the concurrency of one job. The removal
// of snapshots is never limited: it gives back what the others wait for.
const (
	OpSnapshot   Op = "snapshot"
	OpDiskExport Op = "disk export"
	OpVMExport   Op = "VM export"
	OpVM         Op = "VM"
)

// Key names a resource of which a [Limiter] has a number of slots.
type Key struct {
	Pool string // as in [RunnerOptions].Pools; empty for OpVM
	Op   Op
}

// Limiter hands out slots.
//
// Acquire waits for a slot of key until ctx ends, whose cause it then returns.
// Work goes on under the slot context, a child of ctx: it ends with cause
// [ErrLeaseLost] when the slot is lost, which may happen to slots that several
// processes share. release gives the slot back and ends the slot context; it is
// idempotent, and must be called also when the slot context has ended. On error
// both are nil.
//
// Implementations are safe for concurrent use.
type Limiter interface {
	Acquire(ctx context.Context, key Key) (slot context.Context, release func(), err error)
}

// ErrLeaseLost is the cause with which a slot context ends when the slot is not
// ours any more: what runs under it must stop.
var ErrLeaseLost = errors.New("pipeline: slot lost")

// errReleased is the cause of a slot context whose slot was given back.
var errReleased = errors.New("pipeline: slot released")

// Limits is a number of slots for each kind of work: 0 or less is unlimited.
type Limits struct {
	Snapshot   int
	DiskExport int
	VMExport   int
	VM         int
}

// DefaultLimits returns what a pool bears without its users noticing: 2
// snapshots, 12 disk exports and 2 VM exports at a time. VMs are unlimited,
// since each job says how many it wants.
func DefaultLimits() Limits { return Limits{Snapshot: 2, DiskExport: 12, VMExport: 2} }

func (l Limits) of(op Op) int {
	switch op {
	case OpSnapshot:
		return l.Snapshot
	case OpDiskExport:
		return l.DiskExport
	case OpVMExport:
		return l.VMExport
	case OpVM:
		return l.VM
	}
	return 0
}

// LocalLimiter is a [Limiter] for one process: each key has its own slots, and
// those who wait for one are served in the order they came.
type LocalLimiter struct {
	limits Limits

	mu   sync.Mutex
	keys map[Key]*slots
}

type slots struct {
	inUse   int
	waiting list.List // of chan struct{}, closed when the slot is handed over
}

// NewLimiter returns a limiter with the same limits for each pool.
func NewLimiter(limits Limits) *LocalLimiter {
	return &LocalLimiter{limits: limits, keys: map[Key]*slots{}}
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
		l.release(key)
	})
	return slot, release, nil
}

// wait returns nil with a slot taken.
func (l *LocalLimiter) wait(ctx context.Context, key Key) error {
	l.mu.Lock()
	s := l.keys[key]
	if s == nil {
		s = &slots{}
		l.keys[key] = s
	}
	limit := l.limits.of(key.Op)
	if limit <= 0 || s.inUse < limit {
		s.inUse++
		l.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	place := s.waiting.PushBack(turn)
	l.mu.Unlock()

	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-turn: // handed over while ctx ended: pass it on
		l.passOn(key, s)
	default:
		s.waiting.Remove(place)
		l.forget(key, s)
	}
	return context.Cause(ctx)
}

func (l *LocalLimiter) release(key Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.passOn(key, l.keys[key])
}

// passOn gives a slot to whoever waits longest, or back. A slot handed over
// stays in use all the time, so that nobody can jump the queue.
func (l *LocalLimiter) passOn(key Key, s *slots) {
	if first := s.waiting.Front(); first != nil {
		close(s.waiting.Remove(first).(chan struct{}))
		return
	}
	s.inUse--
	l.forget(key, s)
}

// forget drops the state of a key that nobody uses, so that a limiter does not
// grow with the pools it has seen.
func (l *LocalLimiter) forget(key Key, s *slots) {
	if s.inUse == 0 && s.waiting.Len() == 0 {
		delete(l.keys, key)
	}
}

// InUse returns how many slots of key are taken at this moment.
func (l *LocalLimiter) InUse(key Key) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.keys[key]; s != nil {
		return s.inUse
	}
	return 0
}

// Waiting returns how many callers wait for a slot of key at this moment.
func (l *LocalLimiter) Waiting(key Key) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.keys[key]; s != nil {
		return s.waiting.Len()
	}
	return 0
}
