package main

import (
	"context"
	"slices"
	"sync"
	"time"
)

// coverage is what is known of the VMs that no job backs up.
type coverage struct {
	again chan struct{} // look now: the jobs have changed

	mu   sync.Mutex
	at   time.Time // when all pools answered last; zero: never
	err  error     // of those that did not, the last time
	open []unprotected
}

// unprotected is a VM that no job with a schedule backs up.
type unprotected struct {
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	Intended bool     `json:"intended,omitempty"` // it is tagged so
	Reasons  []string `json:"reasons,omitempty"`  // by job
}

// look asks for a look soon.
func (c *coverage) look() {
	select {
	case c.again <- struct{}{}:
	default:
	}
}

// known is what was found last.
func (c *coverage) known() (open []unprotected, at time.Time, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open, c.at, c.err
}

// count is of those that are not intended.
func (c *coverage) count() (n int, at time.Time) {
	open, at, _ := c.known()
	for _, vm := range open {
		if !vm.Intended {
			n++
		}
	}
	return n, at
}

// watchCoverage looks for VMs that no job backs up, as often as the configuration says,
// until ctx ends.
func (d *daemon) watchCoverage(ctx context.Context) {
	for {
		var next <-chan time.Time
		if every := d.current().conf.Coverage; every > 0 {
			d.lookForUnprotected(ctx)
			next = time.After(every)
		}
		select {
		case <-ctx.Done():
			return
		case <-next:
		case <-d.coverage.again:
		}
	}
}

func (d *daemon) lookForUnprotected(ctx context.Context) {
	g := d.hold()
	defer func() {
		if err := d.drop(g); err != nil {
			d.log.WarnContext(ctx, "a pool could not be logged out of", "error", err)
		}
	}()
	found, err := g.runner.Coverage(ctx, g.conf.Scheduled())
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		d.log.WarnContext(ctx, "cannot tell of all VMs whether a job backs them up", "error", err)
	}
	c := &d.coverage
	before, _, _ := c.known()
	var open []unprotected
	for _, u := range found {
		vm := unprotected{ID: u.VM.ID(), Name: u.VM.Name(), Intended: u.Intended, Reasons: u.Reasons}
		open = append(open, vm)
		if !vm.Intended && !slices.ContainsFunc(before, func(b unprotected) bool { return b.ID == vm.ID }) {
			d.log.WarnContext(ctx, "no scheduled job backs up a VM", "vm", vm.ID, "name", vm.Name)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open, c.err = open, err; err == nil {
		c.at = time.Now()
	}
}
