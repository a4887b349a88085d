package catalog

import (
	"context"
	"iter"
	"sync"

	"golang.org/x/sync/semaphore"
)

// task is something to be done ahead, for which room is needed until its result has
// been used.
type task[T any] struct {
	room int64
	run  func(ctx context.Context) T
}

// readAhead yields the results of the tasks in their order, while up to n of them, and
// as many as there is room for, are under way or wait to be used. A task that needs
// more than there is gets all. Nothing of it runs any more when the loop has ended; it
// ends early, and says nothing, when ctx does.
func readAhead[T any](ctx context.Context, n int, room int64, tasks func(ctx context.Context) iter.Seq[task[T]]) iter.Seq[T] {
	return func(yield func(T) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		type slot struct {
			room   int64
			result chan T
		}
		free := semaphore.NewWeighted(room)
		queue := make(chan slot, n)
		running.Go(func() {
			defer close(queue)
			for t := range tasks(ctx) {
				s := slot{min(t.room, room), make(chan T, 1)}
				if free.Acquire(ctx, s.room) != nil {
					return
				}
				select {
				case queue <- s:
				case <-ctx.Done():
					return
				}
				running.Go(func() { s.result <- t.run(ctx) })
			}
		})
		for s := range queue {
			if !yield(<-s.result) {
				return
			}
			free.Release(s.room)
		}
	}
}
