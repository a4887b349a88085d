package nfs

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	firstBackoff = 50 * time.Millisecond
	maxBackoff   = 3 * time.Second
	sharedFor    = 5 * time.Minute // after which a connection of the session's own is tried again
)

// session is a connection to one server that is made again when it is lost. One
// attempt is made at a time, for everybody who waits, and none while nobody does.
type session struct {
	peer    string
	connect func(ctx context.Context) (*conn, error)
	timeout time.Duration
	log     *slog.Logger

	// beside is another session with the same server, whose connection is shared when
	// the server takes no more. nil for none.
	beside *session

	life context.Context //nolint:containedctx // ends with Close, and with it every attempt to connect
	end  context.CancelFunc
	wg   sync.WaitGroup // connections and attempts

	mu         sync.Mutex
	current    *conn
	attempt    *attempt  // to connect, under way
	generation int       // connections so far
	shared     *conn     // of beside
	until      time.Time // when shared is given up
	failures   int       // connections that bore no fruit, and attempts that failed, in a row
}

// attempt is one attempt to connect.
type attempt struct {
	done chan struct{}
	err  error // valid once done is closed
}

func newSession(peer string, timeout time.Duration, log *slog.Logger, connect func(context.Context) (*conn, error)) *session {
	s := &session{peer: peer, connect: connect, timeout: timeout, log: log}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

// close ends the connection and waits for all goroutines. Calls fail with
// [fs.ErrClosed].
func (s *session) close() {
	s.end()
	s.mu.Lock()
	if s.current != nil {
		s.current.fail(fs.ErrClosed)
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// do carries out a call that may be carried out twice, over as many connections
// as it takes. It fails when the server has been silent or unreachable for the
// session's timeout, naming it.
func (s *session) do(ctx context.Context, k *call) error {
	var deadline time.Time
	for {
		err := s.once(ctx, k, deadline)
		var lost *lostError
		if !errors.As(err, &lost) {
			return err
		}
		if deadline.IsZero() {
			deadline = time.Now().Add(s.timeout)
		}
		if lost.silent || !time.Now().Before(deadline) {
			return unavailable(s.peer, lost.err)
		}
	}
}

// once sends a call once. A lostError leaves it unknown whether it took effect.
// deadline bounds the wait for a connection; zero means the timeout.
func (s *session) once(ctx context.Context, k *call, deadline time.Time) error {
	c, err := s.acquire(ctx, deadline)
	if err != nil {
		return err
	}
	return s.closed(c.roundTrip(ctx, k))
}

// started is a call that was sent, or whose sending failed with err.
type started struct {
	c   *conn
	err error
}

// start sends a call whose answer [session.finish] waits for.
func (s *session) start(ctx context.Context, k *call) started {
	c, err := s.acquire(ctx, time.Time{})
	if err != nil {
		return started{err: err}
	}
	return started{c: c, err: c.send(ctx, k)}
}

// finish waits for the answer to a call that was started. Like do, it sends the
// call again when the connection was lost.
func (s *session) finish(ctx context.Context, k *call, st started) error {
	err := st.err
	if err == nil {
		err = st.c.wait(ctx, k)
	}
	var lost *lostError
	switch {
	case !errors.As(err, &lost):
		return err
	case lost.silent:
		return unavailable(s.peer, lost.err)
	case s.life.Err() != nil:
		return fs.ErrClosed
	}
	return s.do(ctx, k)
}

// closed gives a call that failed because of close the reason.
func (s *session) closed(err error) error {
	var lost *lostError
	if errors.As(err, &lost) && s.life.Err() != nil {
		return fs.ErrClosed
	}
	return err
}

// acquire returns a connection that works as far as is known, and makes one when
// there is none.
func (s *session) acquire(ctx context.Context, deadline time.Time) (*conn, error) {
	if c := s.live(); c != nil {
		return c, nil
	}
	if deadline.IsZero() {
		deadline = time.Now().Add(s.timeout)
	}
	limit := time.NewTimer(time.Until(deadline))
	defer limit.Stop()
	last := errSilent
	for {
		var other *conn
		if s.beside != nil {
			other = s.beside.live()
		}
		c, a, err := s.join()
		if err != nil || c != nil {
			return c, err
		}
		select {
		case <-a.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-limit.C:
			return nil, unavailable(s.peer, last)
		}
		if a.err != nil {
			last = a.err
			if other != nil && other.failure() == nil {
				s.share(other)
			}
		}
	}
}

// share uses a connection of the session beside for a while.
func (s *session) share(other *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shared, s.until = other, time.Now().Add(sharedFor)
	s.log.Warn("the nfs server takes no second connection: names wait behind the data of files", "server", s.peer)
}

func (s *session) live() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.liveLocked()
}

func (s *session) liveLocked() *conn {
	switch {
	case s.current != nil && s.current.failure() == nil:
		return s.current
	case s.shared != nil && s.shared.failure() == nil && time.Now().Before(s.until):
		return s.shared
	}
	return nil
}

// join returns the connection, or the attempt to make one, which it begins when
// there is none.
func (s *session) join() (*conn, *attempt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Err() != nil {
		return nil, nil, fs.ErrClosed
	}
	if c := s.liveLocked(); c != nil {
		return c, nil, nil
	}
	if s.current != nil {
		s.lost(s.current.failure())
	}
	if s.attempt == nil {
		a := &attempt{done: make(chan struct{})}
		pause := backoff(s.failures)
		s.attempt = a
		s.wg.Go(func() { s.reconnect(a, pause) })
	}
	return nil, s.attempt, nil
}

// lost notes the end of the current connection.
func (s *session) lost(err error) {
	if s.current.bore() {
		s.failures = 0
	} else {
		s.failures++
	}
	s.current = nil
	s.log.Warn("nfs connection lost", "server", s.peer, "generation", s.generation, "error", err)
}

func backoff(failures int) time.Duration {
	if failures == 0 {
		return 0
	}
	pause := maxBackoff
	if failures < 8 {
		pause = min(firstBackoff<<(failures-1), maxBackoff)
	}
	return pause/2 + rand.N(pause/2)
}

func (s *session) reconnect(a *attempt, pause time.Duration) {
	defer close(a.done)
	wait := time.NewTimer(pause)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-s.life.Done():
	}
	c, err := s.connect(s.life)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempt, a.err = nil, err
	switch {
	case err != nil:
		s.failures++
	case s.life.Err() != nil:
		c.fail(fs.ErrClosed)
	default:
		s.use(c)
	}
}

// use makes c the current connection. The caller holds mu.
func (s *session) use(c *conn) {
	s.current = c
	s.generation++
	s.wg.Go(c.run)
	if s.generation > 1 {
		s.log.Info("nfs connection made again", "server", s.peer, "generation", s.generation)
	}
}

// bore reports whether anything was answered over the connection.
func (c *conn) bore() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fruit
}
