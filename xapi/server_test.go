package xapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
)

const (
	password    = "correct-horse-battery"
	sessionMark = "OpaqueRef:session-canary" // begins every session reference
)

// server is a scripted host: sessions, tasks and event.from as a host does them, all else by handler.
type server struct {
	*httptest.Server
	mux *http.ServeMux

	mu          sync.Mutex
	override    http.Handler  // instead of the mux
	changed     chan struct{} // closed and replaced when a task changes
	handlers    map[string]func(args []any) (any, []string)
	sessions    map[string]bool
	tasks       map[string]*xapi.Task
	logins      int
	uses        int
	expireEvery int // sessions end after that many calls; 0 is never
	calls       []string
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{
		mux: http.NewServeMux(), changed: make(chan struct{}), handlers: map[string]func([]any) (any, []string){},
		sessions: map[string]bool{}, tasks: map[string]*xapi.Task{},
	}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		h := s.override
		s.mu.Unlock()
		if h == nil {
			h = s.mux
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	s.mux.HandleFunc("POST /jsonrpc", s.rpc)
	return s
}

func (s *server) dial(t *testing.T, change func(*xapi.Options)) *xapi.Client {
	t.Helper()
	opts := &xapi.Options{
		Password: password, PollInterval: 5 * time.Millisecond, CancelTimeout: 2 * time.Second,
		Retry: xapi.RetryPolicy{Wait: time.Millisecond, MaxWait: time.Millisecond},
	}
	if change != nil {
		change(opts)
	}
	c, err := xapi.Dial(t.Context(), s.URL, opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// serve answers everything with h from now on.
func (s *server) serve(h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.override = h
}

func (s *server) handle(method string, h func(args []any) (any, []string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers[method] = h
}

func (s *server) rpc(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Method string `json:"method"`
		Params []any  `json:"params"`
		ID     any    `json:"id"`
	}
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		http.Error(w, "Internal Error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	result, failed := s.dispatch(r, req.Method, req.Params)
	answer := map[string]any{"jsonrpc": "2.0", "id": req.ID}
	if failed != nil {
		answer["error"] = map[string]any{"code": 1, "message": failed[0], "data": failed[1:]}
	} else {
		answer["result"] = result
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (s *server) dispatch(r *http.Request, method string, params []any) (any, []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if method == "session.login_with_password" {
		if params[1] != password {
			return nil, []string{"SESSION_AUTHENTICATION_FAILED", fmt.Sprint(params[0]), "refused: " + fmt.Sprint(params[1])}
		}
		s.logins++
		session := fmt.Sprintf("%s-%d", sessionMark, s.logins)
		s.sessions[session] = true
		return session, nil
	}
	session := fmt.Sprint(params[0])
	s.uses++
	if s.expireEvery > 0 && s.uses%s.expireEvery == 0 {
		clear(s.sessions)
	}
	if !s.sessions[session] {
		return nil, []string{"SESSION_INVALID", session}
	}
	s.calls = append(s.calls, method)
	if h := s.handlers[method]; h != nil {
		s.mu.Unlock()
		defer s.mu.Lock()
		return h(params[1:])
	}
	return s.builtin(r, method, session, params[1:])
}

func (s *server) builtin(r *http.Request, method, session string, args []any) (any, []string) {
	switch method {
	case "session.logout":
		delete(s.sessions, session)
		return "", nil
	case "task.create":
		return s.newTask(fmt.Sprint(args[0])), nil
	case "event.from":
		return s.wait(r, strings.TrimPrefix(args[0].([]any)[0].(string), "task/"), args[1] == ""), nil
	case "task.get_record", "task.cancel", "task.destroy":
		ref := fmt.Sprint(args[0])
		task := s.tasks[ref]
		switch {
		case task == nil:
			return nil, []string{"HANDLE_INVALID", "task", ref}
		case method == "task.cancel" && task.Status == "pending":
			task.Status = "cancelled"
			s.wake()
		case method == "task.destroy":
			delete(s.tasks, ref)
		}
		return *task, nil
	default:
		return nil, []string{"MESSAGE_METHOD_UNKNOWN", method}
	}
}

// newTask needs the lock.
func (s *server) newTask(name string) string {
	ref := fmt.Sprintf("OpaqueRef:task-%d", len(s.calls))
	s.tasks[ref] = &xapi.Task{NameLabel: name, Status: "pending", ErrorInfo: []string{}}
	return ref
}

// wake needs the lock.
func (s *server) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// wait needs the lock. It is event.from on one task.
func (s *server) wait(r *http.Request, ref string, first bool) any {
	task := s.tasks[ref]
	if !first && task != nil && task.Status == "pending" {
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-r.Context().Done():
		}
		s.mu.Lock()
	}
	events := []any{}
	if task := s.tasks[ref]; task != nil {
		events = append(events, map[string]any{"class": "task", "operation": "mod", "ref": ref, "snapshot": *task})
	}
	return map[string]any{"token": "1", "events": events, "valid_ref_counts": map[string]int{"task": 1}}
}

// settle ends a task as the pool would.
func (s *server) settle(ref, status, result string, info ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if task := s.tasks[ref]; task != nil && task.Status == "pending" {
		task.Status, task.Result, task.ErrorInfo = status, result, info
		s.wake()
	}
}

// async makes method a task that is settled at once by run, or left pending when that is nil.
func (s *server) async(method string, run func(ref string)) {
	s.handle("Async."+method, func([]any) (any, []string) {
		s.mu.Lock()
		ref := s.newTask(method)
		s.mu.Unlock()
		if run != nil {
			run(ref)
		}
		return ref, nil
	})
}

func (s *server) leftTasks() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tasks)
}

func (s *server) called(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, call := range s.calls {
		if call == method {
			n++
		}
	}
	return n
}
