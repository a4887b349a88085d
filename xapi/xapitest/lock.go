package xapitest

import (
	"context"
	"slices"
	"sync"
)

// keyedLocks serialise operations on the same object. A real pool waits up to
// two hours for another operation to end; here a call waits until its task is
// cancelled.
type keyedLocks struct {
	mu   sync.Mutex
	held map[string]chan struct{} // closed when released
}

// lock takes all the keys, in an order that cannot deadlock. release gives them
// back.
func (k *keyedLocks) lock(ctx context.Context, keys ...string) (release func(), err error) {
	keys = slices.Compact(slices.Sorted(slices.Values(keys)))
	var held []string
	release = func() {
		for _, key := range held {
			k.unlock(key)
		}
	}
	for _, key := range keys {
		if err := k.lockOne(ctx, key); err != nil {
			release()
			return nil, err
		}
		held = append(held, key)
	}
	return release, nil
}

func (k *keyedLocks) lockOne(ctx context.Context, key string) error {
	for {
		k.mu.Lock()
		if k.held == nil {
			k.held = make(map[string]chan struct{})
		}
		busy, taken := k.held[key]
		if !taken {
			k.held[key] = make(chan struct{})
			k.mu.Unlock()
			return nil
		}
		k.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (k *keyedLocks) unlock(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	close(k.held[key])
	delete(k.held, key)
}

// during runs f while the object shows op in its current_operations and no
// other operation runs on it.
func (p *Pool) during(ctx context.Context, c *call, class, ref, op string, f func() error) error {
	release, err := p.locks.lock(ctx, ref)
	if err != nil {
		return err
	}
	defer release()
	id := c.task
	if id == "" {
		id = "OpaqueRef:" + newUUID()
	}
	if err := p.edit(schema()[class], ref, func(rec record) (record, error) {
		return record{"current_operations": put(rec.dict("current_operations"), id, op)}, nil
	}); err != nil {
		return err
	}
	defer func() { // the object may be gone by now
		_ = p.edit(schema()[class], ref, func(rec record) (record, error) {
			return record{"current_operations": drop(rec.dict("current_operations"), id)}, nil
		})
	}()
	return f()
}
