package xapitest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/xenbackup/xenbackup/xapi"
)

// When says which calls a fault strikes, counted from when it was scripted.
type When struct {
	call  int
	every bool
}

// OnCall strikes the nth call from now on, and no other. The first is 1.
func OnCall(n int) When { return When{call: n} }

// EachCall strikes all calls.
func EachCall() When { return When{every: true} }

// Ending is how a transfer breaks.
type Ending uint8

const (
	// Cut closes the connection as if all were well (TCP FIN).
	Cut Ending = iota
	// Reset aborts the connection (TCP RST).
	Reset
	// Stall moves no more bytes but keeps the connection, until the client
	// leaves, the task is cancelled or the pool is closed.
	Stall
)

// Fail makes a method fail with an error of the XenAPI. A method is named
// without "Async.": both forms count as its calls, and that of an asynchronous
// one fails in its task. A transfer is named by its request line, such as
// "GET /export_raw_vdi": it fails after the header was sent, so that an error
// page follows in the body, and its task fails.
func (p *Pool) Fail(method string, when When, err *xapi.Error) {
	p.faults.add(&fault{method: method, when: when, err: fail(err.Code, err.Params...)})
}

// Hang makes a method, or a transfer before its header, wait without end: until
// its task is cancelled or the pool is closed.
func (p *Pool) Hang(method string, when When) {
	p.faults.add(&fault{method: method, when: when, hang: true})
}

// Break breaks a transfer ("GET /export_raw_vdi", "PUT /import_raw_vdi") when
// after bytes of the body have passed. A cut or reset export fails in its task
// too. A transfer shorter than that passes, and the fault counts as unused; one
// that the client abandons before counts as used.
func (p *Pool) Break(request string, when When, after int64, how Ending) {
	p.faults.add(&fault{method: request, when: when, breaks: true, after: after, how: how})
}

// CutExport cuts the next disk export after that many bytes of its body.
func (p *Pool) CutExport(after int64) { p.Break(exportRequest, OnCall(1), after, Cut) }

// StallExport stalls the next disk export after that many bytes of its body.
func (p *Pool) StallExport(after int64) { p.Break(exportRequest, OnCall(1), after, Stall) }

// fault is one scripted misbehaviour.
type fault struct {
	method string
	when   When
	err    *failure
	hang   bool
	breaks bool
	after  int64
	how    Ending

	seen int
	used bool
}

// faults is the script. The first fault that matches a call strikes; all that
// match count it.
type faults struct {
	mu   sync.Mutex
	list []*fault
}

func (f *faults) add(one *fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, one)
}

// take counts a call and returns the fault that strikes it, or nil.
func (f *faults) take(method string) (struck *fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.list {
		if one.method != method {
			continue
		}
		one.seen++
		if struck == nil && (one.when.every || one.seen == one.when.call) {
			struck = one
			one.used = one.used || !one.breaks // a break once its transfer has failed
		}
	}
	return struck
}

// broke marks a break as used: its transfer has failed.
func (f *faults) broke(one *fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	one.used = true
}

// unused describes the faults that never struck.
func (f *faults) unused() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for _, one := range f.list {
		if !one.used {
			names = append(names, fmt.Sprintf("%s (%d matching calls)", one.method, one.seen))
		}
	}
	return slices.Clip(names)
}

// strike fails the call, or waits for ctx to end.
func (f *fault) strike(ctx context.Context) error {
	if f.hang {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	if f.err != nil {
		return f.err
	}
	return nil
}
