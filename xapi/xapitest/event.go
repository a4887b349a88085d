package xapitest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

func (p *Pool) eventMethods() map[string]*method {
	return map[string]*method{
		"event.from":   syncOnly("classes:set token:string timeout:float", p.eventFrom),
		"event.inject": syncOnly("class:string ref:string", p.eventInject),
	}
}

// maxEventWait is the longest that event.from waits, whatever was asked for.
const maxEventWait = 24 * time.Hour

// eventFrom answers with all that changed since the token, and waits for
// something to change if nothing did.
func (p *Pool) eventFrom(ctx context.Context, c *call) (any, error) {
	subs, err := parseSubscriptions(c.set(0))
	if err != nil {
		return nil, err
	}
	since, err := parseToken(c.str(1))
	if err != nil {
		return nil, err
	}
	timeout := maxEventWait
	if seconds := c.float(2); seconds < maxEventWait.Seconds() {
		timeout = time.Duration(max(0, seconds) * float64(time.Second))
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	beat := newBeat(p.options.Heartbeat)
	defer beat.Stop()
	delay := min(p.options.EventDelay, timeout)
	if !slices.ContainsFunc(subs, func(s subscription) bool { return s.class != "task" }) {
		delay = 0
	}
	for {
		if err := wait(ctx, delay); err != nil {
			return nil, err
		}
		batch, changed := p.eventsSince(subs, since)
		if err := p.touchSession(c.session); err != nil {
			return nil, err
		}
		if p.lost(subs, since) {
			return nil, fail("EVENTS_LOST")
		}
		if len(batch.Events) > 0 {
			return batch, nil
		}
		select {
		case <-changed:
		case <-beat.C:
			_ = p.db.set("pool", p.poolRef, record{}) // it exists
		case <-timer.C:
			return batch, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// newBeat ticks, or never does.
func newBeat(d time.Duration) *time.Ticker {
	if d > 0 {
		return time.NewTicker(d)
	}
	return &time.Ticker{}
}

// eventInject makes an object appear modified, and returns the token from which
// on the stream has passed that point.
func (p *Pool) eventInject(_ context.Context, c *call) (any, error) {
	var token string
	err := p.db.update(func(tx tx) error {
		for name := range tx.db.tables {
			if strings.EqualFold(name, c.str(0)) {
				if err := tx.set(name, c.str(1), record{}); err != nil {
					return err
				}
				token = formatToken(tx.db.generation)
				return nil
			}
		}
		return handleInvalid(c.str(0), c.str(1))
	})
	return token, err
}

// eventBatch is the answer of event.from, in its form on the wire.
type eventBatch struct {
	Events         []event          `json:"events"`
	ValidRefCounts map[string]int64 `json:"valid_ref_counts"`
	Token          string           `json:"token"`
}

type event struct {
	ID        string `json:"id"`
	Timestamp string `json:"timestamp"`
	Class     string `json:"class"` // in lower case
	Operation string `json:"operation"`
	Ref       string `json:"ref"`
	Snapshot  record `json:"snapshot,omitempty"`
}

// subscription asks for a class ("*" is all of them), or one object of it.
type subscription struct{ class, ref string }

func parseSubscriptions(classes []string) ([]subscription, error) {
	subs := make([]subscription, 0, len(classes))
	for _, s := range classes {
		class, ref, ok := strings.Cut(strings.ToLower(s), "/")
		if class == "" || (ok && ref == "") {
			return nil, fail("EVENT_SUBSCRIPTION_PARSE_FAILURE", s)
		}
		subs = append(subs, subscription{class, ref})
	}
	return subs, nil
}

func wanted(subs []subscription, class, ref string) bool {
	for _, s := range subs {
		if s.class != "*" && !strings.EqualFold(s.class, class) {
			continue
		}
		if s.ref == "" || strings.EqualFold(s.ref, ref) {
			return true
		}
	}
	return false
}

// formatToken and parseToken: generation of the database, then of the messages.
func formatToken(generation int64) string { return fmt.Sprintf("%020d,%020d", generation, 0) }

func parseToken(token string) (int64, error) {
	if token == "" {
		return 0, nil
	}
	var db, messages int64
	if n, err := fmt.Sscanf(token, "%d,%d", &db, &messages); n != 2 || err != nil {
		return 0, fail("EVENT_FROM_TOKEN_PARSE_FAILURE", token)
	}
	return db, nil
}

// eventsSince collects additions, then changes, then removals that are younger
// than a generation. The channel is closed at the next change.
func (p *Pool) eventsSince(subs []subscription, since int64) (eventBatch, <-chan struct{}) {
	p.db.mu.Lock()
	defer p.db.mu.Unlock()
	var adds, mods, dels []event
	batch := eventBatch{ValidRefCounts: make(map[string]int64), Token: formatToken(p.db.generation)}
	for name, table := range p.db.tables {
		if !table.class.events {
			continue
		}
		lower := strings.ToLower(name)
		batch.ValidRefCounts[lower] = int64(len(table.rows))
		for e := table.order.Back(); e != nil; e = e.Prev() {
			r, _ := e.Value.(*row)
			if r.modified <= since {
				break
			}
			if !wanted(subs, name, r.ref) {
				continue
			}
			ev := event{fmt.Sprint(r.modified), "0.0", lower, "mod", r.ref, r.record}
			if r.created > since {
				ev.Operation = "add"
				adds = append(adds, ev)
			} else {
				mods = append(mods, ev)
			}
		}
		dels = append(dels, table.removals(subs, since)...)
	}
	batch.Events = append(append(append([]event{}, adds...), mods...), dels...)
	return batch, p.db.changed
}

// lost says that the pool does not remember all that has changed since a
// generation. Whoever starts from the beginning loses nothing.
func (p *Pool) lost(subs []subscription, since int64) bool {
	p.db.mu.Lock()
	defer p.db.mu.Unlock()
	if limit := int64(p.options.EventQueue); since > 0 && limit > 0 && p.db.generation-since > limit {
		return true
	}
	for name, table := range p.db.tables {
		if since > 0 && since < table.lost && slices.ContainsFunc(subs, func(s subscription) bool { return s.class == "*" || strings.EqualFold(s.class, name) }) {
			return true
		}
	}
	return false
}

// removals lists the objects that existed at the generation and do not any more.
func (t *table) removals(subs []subscription, since int64) []event {
	var dels []event
	for i := len(t.deleted) - 1; i >= 0 && t.deleted[i].deleted > since; i-- {
		d := t.deleted[i]
		if d.created <= since && wanted(subs, t.class.name, d.ref) {
			dels = append(dels, event{fmt.Sprint(d.deleted), "0.0", strings.ToLower(t.class.name), "del", d.ref, nil})
		}
	}
	return dels
}
