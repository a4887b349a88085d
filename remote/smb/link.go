package smb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

const (
	firstPause = 50 * time.Millisecond
	lastPause  = 2 * time.Second
	stableTime = time.Second     // a session that lived shorter counts as a failure
	refusedFor = 5 * time.Second // a login that was refused is not tried again for
	sharedFor  = 5 * time.Minute // after which a session of the link's own is tried again
)

// link keeps one session to the share, and makes a new one when it is asked for
// one after the last has ended: one at a time, however many ask, and after a
// pause that grows with the failures.
//
// A link may be beside another: then it makes its session only while the other has
// one, and shares that when the server allows no more.
type link struct {
	connect func(ctx context.Context) (*session, error)
	beside  *link
	timeout time.Duration
	logger  *slog.Logger

	life context.Context //nolint:containedctx // of the link
	stop context.CancelFunc

	mu       sync.Mutex
	current  *session
	sharing  time.Time // until when current, which is beside's, will do; else zero
	made     int       // sessions so far
	attempt  *attempt
	failures int
	next     time.Time // not to be tried before
	refused  error     // why not, if that is known
	closed   bool
	attempts sync.WaitGroup
}

type attempt struct {
	done    chan struct{}
	session *session
	err     error
}

func newLink(connect func(ctx context.Context) (*session, error), timeout time.Duration, logger *slog.Logger) *link {
	l := &link{connect: connect, timeout: timeout, logger: logger}
	l.life, l.stop = context.WithCancel(context.Background())
	return l
}

// get returns the session, making one if necessary, and fails with the failure of
// that one attempt.
func (l *link) get(ctx context.Context) (*session, error) {
	l.mu.Lock()
	if err := l.refusal(); err != nil {
		l.mu.Unlock()
		return nil, err
	}
	if l.current != nil && l.current.alive() && (l.sharing.IsZero() || time.Now().Before(l.sharing)) {
		s := l.current
		l.mu.Unlock()
		return s, nil
	}
	if l.attempt == nil {
		l.bury()
		l.attempt = &attempt{done: make(chan struct{})}
		pause := time.Until(l.next)
		l.attempts.Go(func() { l.try(l.attempt, pause) })
	}
	a := l.attempt
	l.mu.Unlock()
	select {
	case <-a.done:
		return a.session, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (l *link) refusal() error {
	if l.closed {
		return fs.ErrClosed
	}
	if l.refused != nil && time.Now().Before(l.next) {
		return l.refused
	}
	return nil
}

// bury forgets a session that has ended. What still runs in it ends by itself.
func (l *link) bury() {
	s := l.current
	if s == nil {
		return
	}
	l.current = nil
	if !l.sharing.IsZero() { // not ours to close
		return
	}
	l.logger.Warn("smb connection lost", slog.Any("cause", context.Cause(s.life)))
	if time.Since(s.born) < stableTime {
		l.failed()
	} else {
		l.failures = 0
	}
	l.attempts.Go(s.close)
}

func (l *link) failed() {
	l.next = time.Now().Add(min(firstPause<<min(l.failures, 10), lastPause))
	l.failures++
}

// try makes one attempt, after a pause.
func (l *link) try(a *attempt, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	shared := false
	select {
	case <-timer.C:
		ctx, cancel := context.WithTimeoutCause(l.life, l.timeout, errSilent)
		a.session, shared, a.err = l.make(ctx)
		cancel()
	case <-l.life.Done():
		a.err = fs.ErrClosed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	defer close(a.done)
	l.attempt = nil
	l.refused = nil
	var refusal *refusalError
	switch {
	case a.err == nil && l.closed:
		l.attempts.Go(a.session.close)
		a.session, a.err = nil, fs.ErrClosed
	case a.err == nil && shared:
		l.current, l.sharing = a.session, time.Now().Add(sharedFor)
	case a.err == nil:
		l.current, l.sharing = a.session, time.Time{}
		if l.made++; l.made > 1 {
			l.logger.Info("smb connection made again", slog.Int("sessions", l.made))
		}
	case errors.As(a.err, &refusal):
		l.refused, l.next = a.err, time.Now().Add(refusedFor)
	default:
		l.failed()
	}
}

// make makes a session, or finds the one to share.
func (l *link) make(ctx context.Context) (s *session, shared bool, err error) {
	if l.beside == nil {
		s, err = l.connect(ctx)
		return s, false, err
	}
	other, err := l.beside.get(ctx)
	if err != nil {
		return nil, false, err
	}
	bounded, cancel := context.WithTimeoutCause(ctx, l.timeout/3, errSilent)
	defer cancel()
	s, err = l.connect(bounded)
	if err == nil || ctx.Err() != nil || !other.alive() {
		return s, false, err
	}
	l.logger.WarnContext(ctx, "the smb server takes no second connection: names wait behind the data of files", slog.Any("error", err))
	return other, true, nil
}

// do runs op on a session, and again on another when the connection is lost on
// the way, until the timeout has passed. op is told whether an earlier try may
// have taken place.
func (l *link) do(ctx context.Context, op func(s *session, again bool) error) error {
	deadline := time.Now().Add(l.timeout)
	bounded, cancel := context.WithDeadlineCause(ctx, deadline, errSilent)
	defer cancel()
	again := false
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s, err := l.get(bounded)
		if err == nil {
			if err = op(s, again); !isLost(err) {
				return err
			}
			again = true
		}
		if final := l.final(ctx, deadline, err); final != nil {
			return final
		}
	}
}

// final returns the error to give up with, or nil to try again.
func (l *link) final(ctx context.Context, deadline time.Time, err error) error {
	var refusal *refusalError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &refusal), errors.Is(err, fs.ErrClosed):
		return err
	case l.life.Err() != nil:
		return fs.ErrClosed
	case time.Now().Before(deadline):
		return nil
	case errors.Is(err, remote.ErrUnavailable):
		return err
	}
	return remote.MarkError(fmt.Errorf("given up after %v: %w", l.timeout, err), remote.ErrUnavailable)
}

// close ends the session and every attempt to make one.
func (l *link) close() {
	l.mu.Lock()
	l.closed = true
	s := l.current
	l.current = nil
	l.mu.Unlock()
	l.stop()
	if s != nil {
		s.close()
	}
	l.attempts.Wait()
}
