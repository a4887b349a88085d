package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// LockOptions direct [AcquireLock]. nil and the zero value are the defaults.
type LockOptions struct {
	// Wait is how long to wait for a holder that is alive. With 0 one waits only
	// until that is known: a holder who is seen refreshing, within 5 s or so, is
	// ErrLocked, and an abandoned lock is taken over after little more than 10 s.
	// A negative Wait never waits.
	Wait time.Duration
	// Logger is told of locks taken over and lost. nil discards.
	Logger *slog.Logger
}

// Lock is held until Release, or until it is lost. It is advisory: it stops
// those who ask. Its methods may be called concurrently.
type Lock struct {
	check   func(ctx context.Context) error
	release func(ctx context.Context) error
	once    sync.Once
	result  error // of release

	mu    sync.Mutex
	until time.Time   // not held beyond it; zero: no limit
	timer *time.Timer // tells that until has come, whatever the storage hangs in
	err   error
	lost  chan struct{}
	ended bool // released

	silent bool // the holder before only fell silent; set before anyone else has the lock
}

// AcquireLock locks the directory name, which should exist, against other users
// of this library and against Xen Orchestra. ctx governs the waiting; the lock
// itself stays until Release.
//
// The lock is Xen Orchestra's: a directory "<name>.lock", whose creation is the
// acquisition and whose modification time the holder sets every 5 s. It is taken
// for abandoned when that time did not move for more than 10 s on our own
// monotonic clock, never by comparing it with a clock. Xen Orchestra does compare
// it with its clock: keep the clocks of machines that share a repository within
// 5 s. A lock whose holder is a dead process of this machine (a record under
// .xenbackup/locks says who holds it) is taken over at once.
//
// Failures are [ErrLocked], and [errors.ErrUnsupported] where modification times
// cannot be set (no [Toucher]).
func AcquireLock(ctx context.Context, fsys Filesystem, name string, opts *LockOptions) (*Lock, error) {
	if err := CheckName("lock", name); err != nil {
		return nil, err
	}
	if opts == nil {
		opts = &LockOptions{}
	}
	if l, ok := As[Locker](fsys); ok {
		return l.Lock(ctx, name, opts)
	}
	return acquireDirLock(ctx, fsys, name, opts)
}

// NewLock makes the Lock of a [Locker]. check asks the storage whether the lock
// is held still, with an [ErrLockLost] if not; release gives it up, is called
// once, and must work for a lost lock too. The second result tells the holder
// that the lock is lost, and why; the first call counts.
func NewLock(check, release func(ctx context.Context) error) (lock *Lock, lose func(cause error)) {
	l := &Lock{check: check, release: release, lost: make(chan struct{})}
	return l, l.lose
}

// HolderMayReturn reports whether the lock was taken from a holder that had fallen
// silent without being known to be dead. Such a holder, a machine that was suspended
// say, may go on some day without a look at its lock: what it was writing is to be
// left alone.
func (l *Lock) HolderMayReturn() bool { return l.silent }

// Lost is closed when the lock is lost: it could not be refreshed for 8 s, or
// someone removed it or took it over. The holder must not change anything more.
// Release alone does not close it.
func (l *Lock) Lost() <-chan struct{} { return l.lost }

// Err returns an [ErrLockLost] once the lock is lost or released, and nil before.
// It asks nobody, so it is cheap enough to call before every change; it knows by
// the clock that refreshing has failed for too long, even if nothing else in the
// process had a chance to run.
func (l *Lock) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expireLocked()
	if l.err == nil && l.ended {
		return fmt.Errorf("%w: released", ErrLockLost)
	}
	return l.err
}

// Check asks the storage whether the lock is held still. Call it before what
// cannot be undone. An error other than [ErrLockLost] means that one cannot tell.
func (l *Lock) Check(ctx context.Context) error {
	if err := l.Err(); err != nil {
		return err
	}
	if err := l.check(ctx); err != nil {
		return err
	}
	return l.Err()
}

// Release gives the lock up, after everything that refreshes it has ended. It
// works, for up to 10 s, when ctx has ended. It returns the [ErrLockLost] of a
// lock that was lost, which it leaves to whoever has it now. Later calls return
// the same.
func (l *Lock) Release(ctx context.Context) error {
	l.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		lost := l.Err()
		l.result = l.release(ctx)
		if lost != nil {
			l.result = lost
		}
		l.mu.Lock()
		l.ended = true
		if l.timer != nil {
			l.timer.Stop()
		}
		l.mu.Unlock()
	})
	return l.result
}

func (l *Lock) lose(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loseLocked(cause)
}

func (l *Lock) loseLocked(cause error) {
	if l.err != nil {
		return
	}
	l.err = cause
	if !errors.Is(cause, ErrLockLost) {
		l.err = fmt.Errorf("%w: %w", ErrLockLost, cause)
	}
	close(l.lost)
}

func (l *Lock) expireLocked() {
	if l.err == nil && !l.ended && !l.until.IsZero() && !time.Now().Before(l.until) {
		l.loseLocked(errors.New("it could not be refreshed in time"))
	}
}

// extend moves the moment after which the lock counts as lost, unless that has
// come: somebody else may have had the lock since.
func (l *Lock) extend(until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expireLocked()
	if l.err != nil {
		return
	}
	l.until = until
	if l.timer == nil {
		l.timer = time.AfterFunc(time.Until(until), func() { _ = l.Err() })
		return
	}
	l.timer.Reset(time.Until(until))
}
