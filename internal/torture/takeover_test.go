package torture_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

const (
	takesVar = "XENBACKUP_TAKES" // how often somebody tries to take a lock over

	// lease is how long a lock lives that nobody refreshes.
	lease = 10 * time.Second
)

// node is a machine with a wrong clock and slow storage, before a repository it shares.
type node struct {
	*remotetest.Crash
	skew  time.Duration
	delay func() time.Duration
}

// Touch sets what the wrong clock says, and takes its time.
func (n *node) Touch(ctx context.Context, name string, mtime time.Time) error {
	select {
	case <-time.After(n.delay()):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return n.Crash.Touch(ctx, name, mtime.Add(n.skew))
}

// prompt is how long a touch may take each time for a lock to be kept: one every five
// seconds, and eight until its holder does not believe in it any more.
const prompt = 1400 * time.Millisecond

func newNode(shared *remotetest.Crash, random *rand.Rand, slowest time.Duration) *node {
	own := rand.New(rand.NewPCG(random.Uint64(), 0))
	slow := time.Duration(1 + random.Int64N(int64(slowest)))
	return &node{
		shared, time.Duration(random.Int64N(int64(20*time.Minute))) - 10*time.Minute,
		func() time.Duration { return time.Duration(own.Int64N(int64(slow))) },
	}
}

func (n *node) lock(t *testing.T, wait time.Duration) (*catalog.Session, error) {
	t.Helper()
	c, err := catalog.Open(t.Context(), n, &catalog.Options{LockWait: wait})
	require.NoError(t, err)
	return c.LockVM(t.Context(), guestVM)
}

// The clocks of two machines are up to ten minutes off, in either direction. Whoever holds the
// lock of a VM and lives keeps it; a lock that nobody refreshes is taken over soon.
func TestLocksAreTakenFromTheDeadAndNeverFromTheLiving(t *testing.T) {
	random := rand.New(rand.NewPCG(seeded(t), 7))
	for range number(t, takesVar, 40) {
		synctest.Test(t, func(t *testing.T) { takeFromTheLiving(t, random, prompt) })
		synctest.Test(t, func(t *testing.T) { takeFromTheLiving(t, random, 20*time.Second) })
		synctest.Test(t, func(t *testing.T) { takeFromTheDead(t, random) })
	}
}

// takeFromTheLiving wants the lock of a holder whose storage is as slow as said. One that is
// too slow to keep the lock must know that it has lost it before anybody else has it.
func takeFromTheLiving(t *testing.T, random *rand.Rand, slowest time.Duration) {
	t.Helper()
	shared := remotetest.NewCrash()
	holder, err := newNode(shared, random, slowest).lock(t, 0)
	if err != nil { // it took so long to make that it would have been lost
		require.Greater(t, slowest, prompt)
		return
	}
	hold := time.Duration(random.Int64N(int64(90 * time.Second)))
	released := make(chan struct{})
	go func() {
		defer close(released)
		<-time.After(hold)
		_ = holder.Close(t.Context())
	}()
	defer func() { <-released }()
	start := time.Now()
	taker, err := newNode(shared, random, prompt).lock(t, time.Duration(random.Int64N(int64(2*time.Minute))))
	if err != nil {
		require.ErrorIs(t, err, remote.ErrLocked)
		return
	}
	if time.Since(start) < hold {
		require.Greater(t, slowest, prompt, "taken from the living after %v of %v", time.Since(start), hold)
		require.ErrorIs(t, holder.Err(), remote.ErrLockLost)
	}
	require.NoError(t, taker.Close(t.Context()))
}

// takeFromTheDead finds the lock of a process that was killed at any moment.
func takeFromTheDead(t *testing.T, random *rand.Rand) {
	t.Helper()
	shared := remotetest.NewCrash()
	require.NoError(t, remote.MkdirAll(t.Context(), shared, guestDir+".lock"))
	if random.IntN(4) > 0 { // it came to set a time
		skew := time.Duration(random.Int64N(int64(20*time.Minute))) - 10*time.Minute
		require.NoError(t, shared.Touch(t.Context(), guestDir+".lock", time.Now().Add(skew)))
	}
	taker := newNode(shared, random, prompt)
	taker.delay = func() time.Duration { return 0 }
	start := time.Now()
	s, err := taker.lock(t, 0)
	require.NoError(t, err)
	require.Greater(t, time.Since(start), lease, "it might have been alive")
	require.LessOrEqual(t, time.Since(start), lease*12/10)
	require.NoError(t, s.Close(t.Context()))
}
