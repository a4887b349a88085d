package xapitest

import (
	"cmp"
	"context"
	"slices"
)

// maxQueue is how many changes event.next remembers for a session unless
// Options.EventQueue says otherwise; a real host keeps 10 MB of them, for all
// sessions.
const maxQueue = 10_000

// queue is what a session has registered for with event.register.
type queue struct {
	subs  []subscription
	since int64
}

func (p *Pool) queueMethods() map[string]*method {
	return map[string]*method{
		"event.register":   both("classes:set", p.eventRegister),
		"event.unregister": both("classes:set", p.eventUnregister),
		"event.next":       syncOnly("", p.eventNext),
		"event.get_current_id": syncOnly("", func(context.Context, *call) (any, error) {
			p.db.mu.Lock()
			defer p.db.mu.Unlock()
			return p.db.generation, nil
		}),
	}
}

// eventRegister lets event.next tell of changes from now on.
func (p *Pool) eventRegister(_ context.Context, c *call) (any, error) {
	subs, err := parseSubscriptions(c.set(0))
	if err != nil {
		return nil, err
	}
	p.db.mu.Lock()
	generation := p.db.generation
	p.db.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	q, ok := p.queues[c.session]
	if !ok {
		q = &queue{since: generation}
		p.queues[c.session] = q
	}
	q.subs = append(slices.Clone(q.subs), subs...)
	return nil, nil //nolint:nilnil // void
}

func (p *Pool) eventUnregister(_ context.Context, c *call) (any, error) {
	subs, err := parseSubscriptions(c.set(0))
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if q, ok := p.queues[c.session]; ok {
		q.subs = slices.DeleteFunc(slices.Clone(q.subs), func(s subscription) bool { return slices.Contains(subs, s) })
	}
	return nil, nil //nolint:nilnil // void
}

// eventNext waits for changes and returns them. Too many since the last time are
// EVENTS_LOST, once.
func (p *Pool) eventNext(ctx context.Context, c *call) (any, error) {
	for {
		p.mu.Lock()
		q := p.queues[c.session]
		if q == nil || len(q.subs) == 0 {
			delete(p.queues, c.session)
			p.mu.Unlock()
			return nil, fail("SESSION_NOT_REGISTERED", c.session)
		}
		subs, since := q.subs, q.since
		p.mu.Unlock()
		batch, changed := p.eventsSince(subs, since)
		if err := p.touchSession(c.session); err != nil {
			return nil, err
		}
		generation, _ := parseToken(batch.Token) // our own
		p.mu.Lock()
		if len(batch.Events) > 0 || generation < since {
			q.since = generation
		}
		p.mu.Unlock()
		switch {
		case len(batch.Events) > 0 && generation-since > int64(cmp.Or(p.options.EventQueue, maxQueue)):
			return nil, fail("EVENTS_LOST")
		case len(batch.Events) > 0:
			return batch.Events, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
