package xapitest

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
)

// The request lines of the transfers, as Calls shows and faults name them.
const (
	exportRequest = "GET /export_raw_vdi"
	importRequest = "PUT /import_raw_vdi"
)

// errBroken ends a transfer that a scripted fault has cut.
var errBroken = errors.New("xapitest: connection cut")

// transfer is one upload or download of a disk.
type transfer struct {
	pool  *Pool
	x     *exchange
	task  string
	fault *fault
	moved int64 // bytes of the body so far
	idled bool  // it has; see Idle
}

// openTransfer authenticates the request and finds its task, or makes one. It
// answers itself, and returns nil, when that fails.
func (p *Pool) openTransfer(ctx context.Context, x *exchange, request string) *transfer {
	query := x.req.URL.Query()
	args := make(map[string]string, len(query))
	for name := range query {
		if name != "session_id" {
			args[name] = query.Get(name)
		}
	}
	p.record(request, []any{args})
	t := &transfer{pool: p, x: x, task: parameter(x.req, "task_id")}
	if !p.authorized(x.req) {
		if t.task != "" {
			p.completeTask(t.task, "", fail("SESSION_AUTHENTICATION_FAILED"))
		}
		x.html(http.StatusUnauthorized, `WWW-Authenticate: Basic realm="`+strings.TrimPrefix(x.req.URL.Path, "/")+`"`)
		return nil
	}
	if err := p.permitTransfer(x.req, request); err != nil {
		if t.task != "" {
			p.completeTask(t.task, "", err)
		}
		x.html(http.StatusForbidden)
		return nil
	}
	t.fault = p.faults.take(request)
	if t.fault != nil && t.fault.reply != nil {
		x.keep = x.keep && x.req.Method == http.MethodGet // a body was not read
		x.replace(ctx, t.fault.reply)
		return nil
	}
	if t.task == "" {
		t.task = p.createTask(request, "")
	} else if rec, err := p.db.record("task", t.task); err != nil || rec.str("status") != "pending" {
		x.html(http.StatusInternalServerError)
		return nil
	}
	return t
}

// authorized accepts a session in the query or the only cookie, or a name and
// password.
func (p *Pool) authorized(r *http.Request) bool {
	if session := parameter(r, "session_id"); session != "" {
		return p.touchSession(session) == nil
	}
	name, password, basic := r.BasicAuth()
	_, _, known := p.user(name, password)
	return basic && known
}

// parameter returns what the query or a cookie says of the session or the task,
// or "".
func parameter(r *http.Request, name string) string {
	value := r.URL.Query().Get(name)
	if value != "" {
		return value
	}
	cookies, separator := r.Header.Get("Cookie"), "&"
	if strings.Contains(cookies, ";") {
		separator = ";" // without trimming the space that browsers put behind it
	}
	for part := range strings.SplitSeq(cookies, separator) {
		if found, ok := strings.CutPrefix(part, name+"="); ok {
			value = found
		}
	}
	return value
}

// permitTransfer fails with RBAC_PERMISSION_DENIED for users who may only read:
// transfers need the role VM Admin, and more.
func (p *Pool) permitTransfer(r *http.Request, request string) error {
	_, path, _ := strings.Cut(request, "/")
	if session := parameter(r, "session_id"); session != "" {
		return p.permitChange(session, "http/"+path)
	}
	name, password, _ := r.BasicAuth()
	if user, _, _ := p.user(name, password); user.ReadOnly {
		return fail("RBAC_PERMISSION_DENIED", "http/"+path, "No permission in user session")
	}
	return nil
}

// run does the work of a transfer in its task: refuse or begin answering first,
// then move the bytes. The connection is closed before the task completes for a
// download, as on a host, so that the end of a body proves nothing.
func (t *transfer) run(ctx context.Context, work func(ctx context.Context) (string, error)) {
	t.x.keep = false
	t.pool.runTask(ctx, t.task, func(ctx context.Context) (string, error) {
		stop := context.AfterFunc(ctx, func() { _ = t.x.conn.SetDeadline(time.Unix(1, 0)) })
		defer stop()
		if t.fault != nil && (t.fault.hang || t.fault.wedge) {
			return "", t.pool.strike(ctx, t.task, t.fault)
		}
		result, err := work(ctx)
		if err != nil && t.fault != nil {
			t.pool.faults.broke(t.fault) // also when the client left before that byte
		}
		return result, err
	})
}

// refuse answers a request that fails before its header with an error page.
func (t *transfer) refuse(status int, err error) (string, error) {
	t.x.html(status)
	return "", err
}

// allowance returns how many of the next n bytes may still move before the
// fault breaks the transfer.
func (t *transfer) allowance(n int64) int64 {
	if t.fault == nil || !t.fault.breaks {
		return n
	}
	return min(n, max(0, t.fault.after-t.moved))
}

// breakNow does what the fault says at this point of the body.
func (t *transfer) breakNow(ctx context.Context) error {
	switch t.fault.how {
	case Reset:
		t.x.reset()
	case Stall:
		t.untilGone(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	case ErrorPage:
		t.x.html(http.StatusInternalServerError)
	case Cut:
	}
	_ = t.x.conn.Close()
	return errBroken
}

// untilGone waits until the client of a download has left, or ctx ends: the
// AfterFunc of run lets the read fail. That the client of an upload has left
// could be seen only by reading on, so there ctx alone ends it.
func (t *transfer) untilGone(ctx context.Context) {
	if t.x.req.Method == http.MethodPut {
		<-ctx.Done()
		return
	}
	var b [1]byte
	for {
		if _, err := t.x.conn.Read(b[:]); err != nil {
			return
		}
	}
}
