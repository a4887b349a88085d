package pipeline_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
)

var diskExports = pipeline.Key{Pool: "p", Op: pipeline.OpDiskExport}

func TestLimiterServesInTheOrderOfArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := pipeline.NewLimiter(pipeline.Limits{DiskExport: 1})
		_, release, err := l.Acquire(t.Context(), diskExports)
		require.NoError(t, err)
		var order []int
		for i := range 10 {
			go func() {
				_, release, err := l.Acquire(t.Context(), diskExports)
				if err == nil {
					order = append(order, i) // one at a time: the slot guards it
					release()
				}
			}()
			synctest.Wait()
			require.Equal(t, i+1, l.Waiting(diskExports))
		}
		release()
		synctest.Wait()
		require.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, order)
		require.Zero(t, l.InUse(diskExports))
		require.Zero(t, l.Waiting(diskExports))
	})
}

func TestLimiterCancelledWaiterLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := pipeline.NewLimiter(pipeline.Limits{DiskExport: 1})
		_, release, err := l.Acquire(t.Context(), diskExports)
		require.NoError(t, err)

		why := errors.New("deadline of the job")
		ctx, cancel := context.WithCancelCause(t.Context())
		failed := make(chan error, 1)
		go func() {
			_, _, err := l.Acquire(ctx, diskExports)
			failed <- err
		}()
		got := make(chan struct{})
		synctest.Wait()
		go func() {
			if _, release, err := l.Acquire(t.Context(), diskExports); err == nil {
				release()
				close(got)
			}
		}()
		synctest.Wait()
		cancel(why)
		require.ErrorIs(t, <-failed, why)
		require.Equal(t, 1, l.Waiting(diskExports))
		release()
		<-got
		require.Zero(t, l.InUse(diskExports))
	})
}

func TestLimiterReleaseIsIdempotentAndEndsTheSlot(t *testing.T) {
	l := pipeline.NewLimiter(pipeline.Limits{DiskExport: 2})
	slot, release, err := l.Acquire(t.Context(), diskExports)
	require.NoError(t, err)
	_, other, err := l.Acquire(t.Context(), diskExports)
	require.NoError(t, err)
	require.NoError(t, slot.Err())
	release()
	release()
	require.Error(t, slot.Err())
	require.Equal(t, 1, l.InUse(diskExports), "the other slot is still taken")
	other()
}

func TestLimiterRefusesAContextThatHasEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := pipeline.NewLimiter(pipeline.DefaultLimits()).Acquire(ctx, diskExports)
	require.ErrorIs(t, err, context.Canceled)
}

func TestLimiterKeysDoNotWaitForEachOther(t *testing.T) {
	l := pipeline.NewLimiter(pipeline.Limits{Snapshot: 1, DiskExport: 1})
	for _, key := range []pipeline.Key{
		{Pool: "p", Op: pipeline.OpSnapshot},
		{Pool: "q", Op: pipeline.OpSnapshot},
		{Pool: "p", Op: pipeline.OpDiskExport},
		{Op: pipeline.OpVM},
		{Op: pipeline.OpVM}, // unlimited
	} {
		_, release, err := l.Acquire(t.Context(), key)
		require.NoError(t, err)
		defer release()
	}
}

// Of 10,000 tasks some are cancelled while they wait or work, some panic with the
// slot in hand, and the limit changes all the time; never are there more than the
// highest limit, and no slot is lost.
func TestLimiterHoldsUnderLoadAndLeaksNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const highest = 12
		l := pipeline.NewLimiter(pipeline.DefaultLimits())
		random := rand.New(rand.NewPCG(1, 2))
		between := func(most int) time.Duration { return time.Duration(random.IntN(most)) * time.Millisecond }
		var running, most, served atomic.Int64
		var wg sync.WaitGroup
		for range 10_000 {
			arrives, works, leaves, breaks := between(60_000), between(100), between(20_000), random.IntN(7) == 0
			wg.Go(func() {
				defer func() { _ = recover() }()
				<-time.After(arrives)
				ctx, cancel := context.WithTimeout(t.Context(), leaves)
				defer cancel()
				slot, release, err := l.Acquire(ctx, diskExports)
				if err != nil {
					return
				}
				defer release()
				served.Add(1)
				n := running.Add(1)
				defer running.Add(-1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				select {
				case <-time.After(works):
				case <-slot.Done():
				}
				if breaks {
					panic("a task that breaks")
				}
			})
		}
		for range 100 {
			<-time.After(time.Second)
			l.SetLimits(pipeline.Limits{DiskExport: 1 + random.IntN(highest)})
		}
		wg.Wait()
		require.LessOrEqual(t, most.Load(), int64(highest))
		f := l.Figures(diskExports)
		require.Equal(t, served.Load(), f.Served)
		require.Zero(t, f.InUse)
		require.Zero(t, f.Waiting)
	})
}

func TestLimiterFiguresTellWhoWaitsHowLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := pipeline.NewLimiter(pipeline.Limits{DiskExport: 1})
		_, first, err := l.Acquire(t.Context(), diskExports)
		require.NoError(t, err)
		for range 2 {
			go func() {
				if _, release, err := l.Acquire(t.Context(), diskExports); err == nil {
					<-time.After(time.Minute)
					release()
				}
			}()
		}
		<-time.After(time.Second)
		want := pipeline.Figures{Limit: 1, InUse: 1, Waiting: 2, Longest: time.Second, Served: 1}
		require.Equal(t, want, l.Figures(diskExports))
		first()
		<-time.After(time.Second)
		want = pipeline.Figures{Limit: 1, InUse: 1, Waiting: 1, Longest: 2 * time.Second, Served: 2, Waited: time.Second}
		require.Equal(t, map[pipeline.Key]pipeline.Figures{diskExports: want}, l.All())
		<-time.After(time.Hour)
		want = pipeline.Figures{Limit: 1, Served: 3, Waited: 2*time.Second + time.Minute}
		require.Equal(t, want, l.Figures(diskExports))
	})
}

// A limit that is raised lets in those who wait, in their order; one that is lowered
// takes nothing away, but lets in nobody until enough have left.
func TestLimitsChangeWhileSlotsAreOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := pipeline.NewLimiter(pipeline.Limits{DiskExport: 1})
		other := pipeline.Key{Pool: "q", Op: pipeline.OpDiskExport}
		var mu sync.Mutex
		var releases []func()
		acquire := func(key pipeline.Key) {
			_, release, err := l.Acquire(t.Context(), key)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				releases = append(releases, release)
			}
		}
		for range 5 {
			go acquire(diskExports)
			go acquire(other)
		}
		synctest.Wait()
		l.SetPoolLimits("p", &pipeline.Limits{DiskExport: 3})
		synctest.Wait()
		require.Equal(t, 3, l.InUse(diskExports))
		require.Equal(t, 1, l.InUse(other), "another pool keeps the common limit")
		l.SetPoolLimits("p", nil)
		require.Equal(t, 3, l.InUse(diskExports))
		require.Equal(t, 1, l.Figures(diskExports).Limit)
		l.SetLimits(pipeline.Limits{}) // none
		synctest.Wait()
		require.Equal(t, 5, l.InUse(diskExports))
		require.Equal(t, 5, l.InUse(other))
		l.SetLimits(pipeline.Limits{DiskExport: 1})
		go acquire(diskExports)
		for _, release := range releases {
			synctest.Wait()
			release()
		}
		synctest.Wait()
		require.Equal(t, 1, l.InUse(diskExports))
		releases[len(releases)-1]()
		require.Zero(t, l.InUse(diskExports)+l.Waiting(diskExports))
	})
}
