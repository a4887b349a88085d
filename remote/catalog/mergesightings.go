package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"sync"
	"time"
)

// sightings are what merges share with cleans: what either has seen to be garbage, and
// what of that is the same still.
type sightings struct {
	s *Session

	mu     sync.Mutex
	memory cleanMemory // as it was stored
	next   cleanMemory // as it is to be stored; nil: not read
}

// again tells whether an earlier run saw the same garbage, and remembers it otherwise.
func (g *sightings) again(ctx context.Context, item garbageItem) (bool, error) {
	info, err := g.s.fsys.Stat(ctx, item.name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("catalog: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.next == nil {
		if g.memory, err = readMemory(ctx, g.s.fsys, g.s.vm); err != nil {
			return false, err
		}
		g.next = cleanMemory{}
		maps.Copy(g.next, g.memory)
	}
	now := newSighting(item.kind, info, time.Now().UTC())
	if before, ok := g.memory[item.name]; ok && before.isSame(now) {
		if !item.hold {
			delete(g.next, item.name)
		}
		return true, nil
	}
	g.next[item.name] = now
	return false, nil
}

// save stores what is remembered, if it has changed.
func (g *sightings) save(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.next == nil {
		return nil
	}
	return g.next.write(ctx, g.s.fsys, g.s.vm, g.memory)
}
