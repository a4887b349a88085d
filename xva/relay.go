package xva

import (
	"context"
	"errors"
	"runtime"
	"sync"
)

// relayDepth is how many slots go round, and so how many chunks are in memory at a time.
const relayDepth = 6

// relay is work on a sequence of things in three steps: feed one after another, work on several at a time, take one after another in
// the order of feed. Slots go round and are used again.
type relay[T any] struct {
	feed func(*T) error // errFed: no more
	work func(*T) error // may be called by several goroutines, each with a slot of its own
	take func(*T) error
}

var errFed = errors.New("no more")

// slot carries one thing. done has room for its one signal.
type slot[T any] struct {
	value T
	err   error
	done  chan struct{}
}

// run returns nil when all was taken, the error of the first thing that failed, in the order of feed, or the cause of ctx. All
// goroutines have ended then: it waits for a feed and for work that are under way.
func (r *relay[T]) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	free, queue, work := make(chan *slot[T], relayDepth), make(chan *slot[T], relayDepth), make(chan *slot[T], relayDepth)
	for range relayDepth {
		free <- &slot[T]{done: make(chan struct{}, 1)}
	}
	all.Go(func() {
		defer close(work)
		for {
			select {
			case s := <-free:
				if s.err = r.feed(&s.value); s.err != nil {
					s.done <- struct{}{}
					queue <- s
					return
				}
				queue <- s
				work <- s
			case <-ctx.Done():
				return
			}
		}
	})
	for range min(runtime.GOMAXPROCS(0), relayDepth) {
		all.Go(func() {
			for s := range work {
				if ctx.Err() == nil {
					s.err = r.work(&s.value)
				}
				s.done <- struct{}{}
			}
		})
	}
	return r.collect(ctx, queue, free)
}

// collect takes the slots of queue.
func (r *relay[T]) collect(ctx context.Context, queue <-chan *slot[T], free chan<- *slot[T]) error {
	for {
		var s *slot[T]
		select {
		case s = <-queue:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		select {
		case <-s.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		err := s.err
		if err == nil {
			err = r.take(&s.value)
		}
		if errors.Is(err, errFed) {
			return nil
		}
		if err != nil {
			return err
		}
		free <- s
	}
}
