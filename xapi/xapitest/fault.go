package xapitest

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/xenbackup/xenbackup/xapi"
)

// When says which calls a fault strikes, counted from when it was scripted.
type When struct {
	call  int
	each  int
	every bool
}

// OnCall strikes the nth call from now on, and no other. The first is 1.
func OnCall(n int) When { return When{call: n} }

// EachCall strikes all calls.
func EachCall() When { return When{every: true} }

// Every strikes each kth call: k, 2k, 3k and so on. It panics unless k is
// positive.
func Every(k int) When {
	if k <= 0 {
		panic("xapitest: Every of no calls")
	}
	return When{each: k}
}

func (w When) strikes(n int) bool {
	return w.every || n == w.call || w.each > 0 && n%w.each == 0
}

// Ending is how a transfer, or the answer of a call, breaks.
type Ending uint8

const (
	// Cut closes the connection as if all were well (TCP FIN).
	Cut Ending = iota
	// Reset aborts the connection (TCP RST).
	Reset
	// Stall moves no more bytes but keeps the connection, until the client
	// leaves, the task is cancelled or the pool is closed.
	Stall
	// ErrorPage writes a second answer, an HTTP 500 in HTML, into the body and
	// closes the connection, as a host does whose stream fails after the 200.
	ErrorPage
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
//
// For the name of a method it breaks the HTTP answer of the call after so many
// bytes of it, the header included; what the call does is done.
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

	delay   time.Duration
	looks   int
	wedge   bool
	expire  bool
	flood   bool
	restart bool
	reply   *Reply        // instead of the answer
	master  string        // name of the host that becomes it
	release chan struct{} // closed to end a wedge

	seen int
	used bool
}

// anyCall is the name under which a fault strikes every call with a session.
const anyCall = "*"

// faults is the script. The first fault that matches a call strikes; all that
// match count it.
type faults struct {
	mu     sync.Mutex
	list   []*fault
	closed bool
}

func (f *faults) add(one *fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	one.release = make(chan struct{})
	f.list = append(f.list, one)
}

// take counts a call, which goes by any of the names, and returns the fault that
// strikes it, or nil.
func (f *faults) take(names ...string) (struck *fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.list {
		if !slices.Contains(names, one.method) {
			continue
		}
		one.seen++
		if struck == nil && one.when.strikes(one.seen) {
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

// releaseAll lets everything go on that is wedged; for good, when the pool is
// being closed.
func (f *faults) releaseAll(closing bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.list {
		if !one.wedge || f.closed {
			continue
		}
		close(one.release)
		if !closing {
			one.release = make(chan struct{})
		}
	}
	f.closed = f.closed || closing
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

// releases returns the channel that ends a wedge.
func (f *faults) releases(one *fault) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return one.release
}
