package xapitest

import (
	"context"
	"errors"
	"time"
)

// errNoAnswer is a call whose connection is closed instead of an answer.
var errNoAnswer = errors.New("xapitest: the call is not answered")

// errReplaced is a call that is not run, since it gets a Reply.
var errReplaced = errors.New("xapitest: another answer")

// Slow makes a method take that long before it runs, or a transfer wait so long
// before each part of its body, of 2 MiB at most, is moved.
func (p *Pool) Slow(method string, when When, d time.Duration) {
	p.faults.add(&fault{method: method, when: when, delay: d})
}

// Wedge makes a method wait without end, as a storage driver that hangs does:
// task.cancel changes nothing. A restart of a host, and Close, end it.
func (p *Pool) Wedge(method string, when When) {
	p.faults.add(&fault{method: method, when: when, wedge: true})
}

// Expire ends the session of a call as the call arrives, so that it fails with
// SESSION_INVALID. The method "*" is every call with a session:
//
//	pool.Expire("*", xapitest.Every(10))
func (p *Pool) Expire(method string, when When) {
	p.faults.add(&fault{method: method, when: when, expire: true})
}

// Flood makes every object of the pool appear changed before the call runs; for
// "event.from" its answer holds all that the caller watches, without a change.
func (p *Pool) Flood(method string, when When) {
	p.faults.add(&fault{method: method, when: when, flood: true})
}

// Restart restarts the master, as [Pool.RestartHost] does, as the call arrives:
// the call is not run, and its connection is cut with all others. The method "*"
// is every call with a session.
func (p *Pool) Restart(method string, when When) {
	p.faults.add(&fault{method: method, when: when, restart: true})
}

// MoveMaster makes the host of that name the master, as [Pool.SetMaster] does, as
// the call arrives: the call is not run, and its connection is cut with all
// others. It panics when there is no such host.
func (p *Pool) MoveMaster(method string, when When, host string) {
	if p.hostNamed(host) < 0 {
		panic("xapitest: no host named " + host)
	}
	p.faults.add(&fault{method: method, when: when, master: host})
}

// takeCall counts a call and returns the fault that strikes it.
func (p *Pool) takeCall(method string, session bool) *fault {
	if session {
		return p.faults.take(method, anyCall)
	}
	return p.faults.take(method)
}

// disturb does what a fault does as its call arrives.
func (p *Pool) disturb(in *incoming, c *call, f *fault) error {
	switch {
	case f == nil:
	case f.breaks:
		in.fault = f
	case f.reply != nil:
		in.fault = f
		if !f.reply.Done {
			return errReplaced
		}
	case f.expire:
		_ = p.destroyObject("session", c.session) // it may have ended by itself
		return fail("SESSION_INVALID", c.session)
	case f.flood:
		p.touchAll()
	case f.restart:
		p.restart(p.masterIndex())
		return errNoAnswer
	case f.master != "":
		p.moveMaster(p.hostNamed(f.master))
		return errNoAnswer
	}
	return nil
}

// touchAll makes all objects appear changed.
func (p *Pool) touchAll() {
	_ = p.db.update(func(tx tx) error {
		for name := range tx.db.tables {
			for ref := range tx.all(name) {
				_ = tx.set(name, ref, record{}) // it exists
			}
		}
		return nil
	})
}

// strike fails the work of a call, or lets it wait.
func (p *Pool) strike(ctx context.Context, task string, f *fault) error {
	switch {
	case f.wedge:
		p.mu.Lock()
		if run, ok := p.running[task]; ok {
			run.wedged = true
		}
		p.mu.Unlock()
		<-p.faults.releases(f)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fail("INTERNAL_ERROR", "the host has restarted")
	case f.hang:
		<-ctx.Done()
		return context.Cause(ctx)
	case f.err != nil:
		return f.err
	}
	return wait(ctx, f.delay)
}

// pace waits as a slow transfer does before each part, and fails when ctx has
// ended.
func (t *transfer) pace(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if t.fault == nil {
		return nil
	}
	return wait(ctx, t.fault.delay)
}
