package catalog

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path"
	"time"
)

const (
	// clockSkew is how far the clocks may differ: half of what Xen Orchestra waits
	// before it takes a lock for abandoned.
	clockSkew = 5 * time.Second
	// clockEvery is how long a comparison holds.
	clockEvery = 10 * time.Minute
)

// checkClock compares the clock of the storage with ours. Xen Orchestra judges a lock by
// its modification time and the clock of its own machine, and would break the lock of
// a point being written. When they cannot be compared nothing is refused.
func (s *Session) checkClock(ctx context.Context) error {
	c := s.c
	c.clockMu.Lock()
	defer c.clockMu.Unlock()
	if c.noClock || !c.clockAt.IsZero() && time.Since(c.clockAt) < clockEvery {
		return nil
	}
	skew, err := s.measureClock(ctx)
	if err != nil {
		c.log.DebugContext(ctx, "clocks not compared", "vm", s.vm, "error", err)
		return nil
	}
	if skew.Abs() > clockSkew {
		return fmt.Errorf("catalog: vm %s: %w: by %v", s.vm, ErrClock, skew.Round(time.Second))
	}
	c.clockAt = time.Now()
	return nil
}

// measureClock returns the storage's clock minus ours, 0 within some seconds, by the
// time that a new file gets.
func (s *Session) measureClock(ctx context.Context) (skew time.Duration, err error) {
	token := make([]byte, 8)
	_, _ = rand.Read(token) // never fails
	name := path.Join(s.dir, fmt.Sprintf(".clock.%x.tmp", token))
	before := time.Now()
	f, err := s.fsys.OpenFile(ctx, name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return 0, err
	}
	defer func() {
		cleaning, cancel := cleanup(ctx)
		defer cancel()
		err = errors.Join(err, f.Close(), s.fsys.Remove(cleaning, name))
	}()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	switch t := info.ModTime(); {
	case t.Before(before.Add(-2 * time.Second)): // storages round
		return t.Sub(before), nil
	case t.After(time.Now().Add(time.Second)):
		return time.Until(t), nil
	}
	return 0, nil
}
