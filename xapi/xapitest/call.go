package xapitest

import (
	"fmt"
	"slices"
)

// Call is one request that the pool received.
type Call struct {
	// Method is the name of an RPC as it was called ("Async.VM.snapshot"), or
	// the request line of a transfer ("GET /export_raw_vdi").
	Method string
	// Args are the arguments after the session, as JSON values; for a transfer
	// one map[string]string of the query without the session. Passwords are
	// replaced by three asterisks.
	Args []any
}

// String returns the call as one line.
func (c Call) String() string { return fmt.Sprintf("%s%v", c.Method, c.Args) }

// maxCalls bounds the record of a pool that runs for long.
const maxCalls = 100_000

// record notes a call. login_with_password is the one with a secret in it.
func (p *Pool) record(method string, args []any) {
	if method == "session.login_with_password" && len(args) > 1 {
		args = slices.Clone(args)
		args[1] = "***"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.calls) == maxCalls {
		p.calls = slices.Delete(p.calls, 0, maxCalls/2)
	}
	p.calls = append(p.calls, Call{Method: method, Args: args})
}

// Calls returns the calls that the pool has received, oldest first; of very
// many, the latest.
func (p *Pool) Calls() []Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}
