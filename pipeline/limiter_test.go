package pipeline_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

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

// Of 10,000 tasks some are cancelled while they wait, some panic with the slot
// in hand; never are there more than the limit, and no slot is lost.
func TestLimiterHoldsUnderLoadAndLeaksNoSlot(t *testing.T) {
	limits := pipeline.DefaultLimits()
	l := pipeline.NewLimiter(limits)
	var running, most atomic.Int64
	var wg sync.WaitGroup
	for i := range 10_000 {
		wg.Go(func() {
			defer func() { _ = recover() }()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%3 == 0 {
				go cancel()
			}
			_, release, err := l.Acquire(ctx, diskExports)
			if err != nil {
				return
			}
			defer release()
			n := running.Add(1)
			defer running.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			if i%7 == 0 {
				panic("a task that breaks")
			}
		})
	}
	wg.Wait()
	require.LessOrEqual(t, most.Load(), int64(limits.DiskExport))
	require.Zero(t, l.InUse(diskExports))
	require.Zero(t, l.Waiting(diskExports))
}
