package xapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// An Inventory is a cache of what is in a pool, kept up to date by the pool's events. It belongs to a goroutine of its own until
// Close. All its methods may be called concurrently.
//
// What readers get are snapshots: consistent with each other across classes, since they change by whole answers of the pool, and
// never changed once given out. Holding one costs the memory of what has changed since.
type Inventory struct {
	client *Client
	log    *slog.Logger
	poller *poller
	shared *interner
	stop   context.CancelCauseFunc
	done   chan struct{}

	tables  tables
	byClass map[string]table

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced after each answer, and when state below changes
	view     *Snapshot     // of the tables, nil when they have changed
	token    string        // up to which the tables are complete
	login    *login        // that gave the token: another one may count anew
	started  uint64        // counts fresh starts
	complete uint64        // the last fresh start that is in the tables
	err      error         // why nothing comes; nil while the pool answers
	ended    bool

	suspect  bool             // the last answer's counts were others than ours
	excepted map[string]int64 // differences that a fresh start did not remove
}

// Inventory starts a cache of the pool's VMs, VDIs, VBDs, SRs, PBDs, hosts, networks, VIFs, PIFs and the pool itself, and returns
// when it is complete. It goes on after ctx has ended, until Close; close it before the client.
func (c *Client) Inventory(ctx context.Context) (*Inventory, error) {
	i := &Inventory{client: c, log: c.log, shared: newInterner(), done: make(chan struct{}), changed: make(chan struct{})}
	i.byClass = i.tables.byClass()
	var classes []string
	for class := range i.byClass {
		classes = append(classes, class)
	}
	i.poller = newPoller(c, classes)
	life, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	i.stop = stop
	go i.run(life)
	if err := i.wait(ctx, func() bool { return i.complete > 0 }); err != nil {
		return nil, errors.Join(err, i.Close())
	}
	return i, nil
}

// Close ends the cache and waits for its goroutine. Snapshots remain. Closing again does nothing.
func (i *Inventory) Close() error {
	i.stop(ErrClosed)
	<-i.done
	return nil
}

// Err says why the cache may be behind the pool: the last trouble while the pool does not answer, what ended the cache, ErrClosed
// after Close; nil while all is well.
func (i *Inventory) Err() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.err
}

// Snapshot returns the pool as of the last events. It never waits for the pool; see Sync.
func (i *Inventory) Snapshot() *Snapshot {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.lend()
}

func (i *Inventory) lend() *Snapshot {
	if i.view == nil {
		i.view = i.tables.lend()
	}
	return i.view
}

// Sync returns when everything that the pool did before the call is in the cache. It changes nothing in the pool. While the pool
// cannot be reached it waits, as long as ctx allows.
func (i *Inventory) Sync(ctx context.Context) error {
	i.mu.Lock()
	before, started := i.token, i.started
	var pool Ref[Pool]
	for ref := range i.tables.pools.refs {
		pool = ref
	}
	i.mu.Unlock()
	barrier, at, err := i.inject(ctx, pool)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("xapi: inventory: %w", context.Cause(ctx))
	case errors.Is(err, ErrClosed):
		return fmt.Errorf("inventory: %w", err)
	case err != nil || barrier == "" || generation(barrier) < generation(before):
		// No barrier to wait for, or one of another database: what a fresh start brings is new enough.
		i.log.InfoContext(ctx, "no event barrier", "error", err)
		barrier = ""
		i.poller.resync()
	}
	return i.wait(ctx, func() bool {
		return i.complete > started || barrier != "" && i.login == at && i.token >= barrier
	})
}

// inject makes an event of the pool. It returns the token of that event, and the login
// by which it was made: after a restart the toolstack asks for another, and its tokens
// are not to be compared with those before. "" is a token that nobody can place.
func (i *Inventory) inject(ctx context.Context, pool Ref[Pool]) (token string, at *login, err error) {
	at, err = i.client.attached(ctx)
	if err != nil {
		return "", nil, err
	}
	if err := i.client.Call(ctx, "event.inject", &token, "pool", pool); err != nil {
		return "", nil, err
	}
	if now, err := i.client.attached(ctx); err != nil || now != at {
		return "", nil, err
	}
	return token, at, nil
}

// generation is that of the database, in a token that also has one of the messages.
func generation(token string) string {
	db, _, _ := strings.Cut(token, ",")
	return db
}

// Await returns the first snapshot that satisfies the condition, which is asked after each change and must not call the Inventory.
func (i *Inventory) Await(ctx context.Context, condition func(*Snapshot) bool) (*Snapshot, error) {
	var found *Snapshot
	err := i.wait(ctx, func() bool {
		found = i.lend()
		return condition(found)
	})
	return found, err
}

// wait returns when the condition, which is evaluated under the lock, holds.
func (i *Inventory) wait(ctx context.Context, condition func() bool) error {
	for {
		i.mu.Lock()
		ok, err, ended, changed := condition(), i.err, i.ended, i.changed
		i.mu.Unlock()
		switch {
		case ok:
			return nil
		case ended:
			return fmt.Errorf("inventory: %w", err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			cause := fmt.Errorf("xapi: inventory: %w", context.Cause(ctx))
			if err := i.Err(); err != nil {
				return fmt.Errorf("%w; %w", cause, err)
			}
			return cause
		}
	}
}

// announce needs the lock.
func (i *Inventory) announce() {
	close(i.changed)
	i.changed = make(chan struct{})
}

func (i *Inventory) run(ctx context.Context) {
	defer close(i.done)
	for {
		answer, err := i.poller.next(ctx, i)
		if err != nil {
			i.mu.Lock()
			i.err, i.ended = err, true
			i.announce()
			i.mu.Unlock()
			return
		}
		i.apply(answer)
		i.check(ctx, answer)
	}
}

// begin, event and trouble are called by the poller, in the goroutine of run.
func (i *Inventory) begin(fresh bool) {
	for _, t := range i.byClass {
		t.begin()
	}
	if fresh {
		i.mu.Lock()
		i.started++
		i.mu.Unlock()
	}
}

func (i *Inventory) event(e Event) error {
	t := i.byClass[strings.ToLower(e.Class)]
	if t == nil {
		return nil
	}
	if e.Op == EventDel {
		t.remove(e.Ref)
		return nil
	}
	if err := t.put(e.Ref, e.Snapshot, i.shared); err != nil {
		// One odd record must not hide all others. It is absent, which the comparison of counts gets used to.
		i.log.Warn("record not understood", "class", e.Class, "ref", e.Ref, "error", err)
		t.remove(e.Ref)
	}
	return nil
}

func (i *Inventory) trouble(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err != nil || i.err != nil {
		i.err = err
		i.announce()
	}
}

// apply shows a complete answer to the readers.
func (i *Inventory) apply(answer polled) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, t := range i.byClass {
		if t.apply(answer.fresh) {
			i.view = nil
		}
	}
	i.token, i.login = answer.token, answer.login
	if answer.fresh {
		i.complete = i.started
	}
	i.announce()
}

// check compares our counts with the pool's. An answer may be taken while the pool works, so a difference must show twice; one that
// outlives a fresh start is a difference of opinion.
func (i *Inventory) check(ctx context.Context, answer polled) {
	differs := make(map[string]int64)
	for class, t := range i.byClass {
		if count, err := answer.counts[class].Int64(); err == nil && count != t.len() {
			differs[class] = count - t.len()
		}
	}
	if answer.fresh {
		i.excepted, i.suspect = differs, false
		return
	}
	drifted := false
	for class := range i.byClass {
		_, told := answer.counts[class]
		drifted = drifted || told && differs[class] != i.excepted[class]
	}
	if drifted && i.suspect {
		i.log.WarnContext(ctx, "inventory differs from the pool", "differences", differs)
		i.poller.resync()
		drifted = false
	}
	i.suspect, i.poller.hurry = drifted, drifted
}
