package xapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
)

// scripted is a pool without a network: it answers calls by function, for tests in which time is simulated.
type scripted func(host, method string, args []any) (any, []string, error)

// RoundTrip implements http.RoundTripper.
func (s scripted) RoundTrip(req *http.Request) (*http.Response, error) {
	var call struct {
		Method string `json:"method"`
		Params []any  `json:"params"`
	}
	defer func() { _ = req.Body.Close() }()
	if err := json.NewDecoder(req.Body).Decode(&call); err != nil {
		return nil, err
	}
	result, failed, err := s(req.URL.Host, call.Method, call.Params)
	if err != nil {
		return nil, err
	}
	if failed == nil && result == nil {
		switch call.Method {
		case "session.login_with_password":
			result = sessionMark
		case "host.get_all_records":
			result = map[string]any{}
		default:
			result = ""
		}
	}
	answer := map[string]any{"jsonrpc": "2.0", "result": result, "id": 1}
	if failed != nil {
		answer = map[string]any{"jsonrpc": "2.0", "error": failed, "id": 1}
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(text)), Request: req,
	}, nil
}

func (s scripted) dial(t *testing.T, change func(*xapi.Options)) *xapi.Client {
	t.Helper()
	opts := &xapi.Options{Password: password, Transport: s}
	if change != nil {
		change(opts)
	}
	c, err := xapi.Dial(t.Context(), "https://master", opts)
	require.NoError(t, err)
	return c
}

func TestCallsRefusedForTheMomentAreRepeated(t *testing.T) {
	t.Parallel()
	busy := func(object string) []string {
		return []string{"OTHER_OPERATION_IN_PROGRESS", "VM", object, "snapshot", "OpaqueRef:task"}
	}
	for name, probe := range map[string]struct {
		method  string
		refusal []string
		repeats bool
	}{
		"booting":                        {"VM.get_record", []string{"HOST_STILL_BOOTING"}, true},
		"too busy":                       {"VM.add_to_other_config", []string{"TOO_BUSY"}, true},
		"too many tasks":                 {"task.create", []string{"TOO_MANY_PENDING_TASKS"}, true},
		"booting, at a later step":       {"VM.snapshot", []string{"HOST_STILL_BOOTING"}, false},
		"too busy, at a later step":      {"VM.snapshot", []string{"TOO_BUSY"}, false},
		"too many tasks, at one":         {"VM.snapshot", []string{"TOO_MANY_PENDING_TASKS"}, false},
		"the object is busy":             {"VM.snapshot", busy("OpaqueRef:vm"), true},
		"another object is busy":         {"VM.snapshot", busy("OpaqueRef:other"), false},
		"a getter's object is busy":      {"VM.get_record", busy("OpaqueRef:other"), true},
		"a host is away, for a getter":   {"VM.get_record", []string{"CANNOT_CONTACT_HOST", "OpaqueRef:host"}, true},
		"a host is away in the middle":   {"VM.snapshot", []string{"CANNOT_CONTACT_HOST", "OpaqueRef:host"}, false},
		"an error that does not go away": {"VM.get_record", []string{"HANDLE_INVALID", "VM", "OpaqueRef:vm"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				attempts := 0
				var pauses []time.Duration
				c := scripted(func(_, method string, _ []any) (any, []string, error) {
					if method != probe.method {
						return nil, nil, nil
					}
					attempts++
					if attempts < 4 {
						return nil, probe.refusal, nil
					}
					return "done", nil, nil
				}).dial(t, func(o *xapi.Options) {
					o.Metrics = &xapi.Metrics{Retry: func(m xapi.RetryMetric) { pauses = append(pauses, m.Wait) }}
				})
				begin := time.Now()
				var result string
				err := c.Call(t.Context(), probe.method, &result, "OpaqueRef:vm")
				if !probe.repeats {
					require.ErrorIs(t, err, &xapi.Error{Code: probe.refusal[0]})
					require.Equal(t, 1, attempts)
					return
				}
				require.NoError(t, err)
				require.Equal(t, "done", result)
				require.Equal(t, 4, attempts)
				require.Len(t, pauses, 3)
				var sum time.Duration
				for i, pause := range pauses {
					whole := time.Second << i
					require.GreaterOrEqual(t, pause, whole/2)
					require.LessOrEqual(t, pause, whole)
					sum += pause
				}
				require.Equal(t, sum, time.Since(begin))
			})
		})
	}
}

func TestRetriesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		pool := scripted(func(_, method string, _ []any) (any, []string, error) {
			if method != "VM.set_tags" {
				return nil, nil, nil
			}
			attempts++
			return nil, []string{"TOO_BUSY"}, nil
		})
		begin := time.Now()
		require.ErrorIs(t, pool.dial(t, nil).Call(t.Context(), "VM.set_tags", nil), xapi.ErrTooBusy)
		require.Equal(t, 8, attempts)
		require.LessOrEqual(t, time.Since(begin), 91*time.Second)
		require.GreaterOrEqual(t, time.Since(begin), 45*time.Second)

		attempts = 0
		c := pool.dial(t, func(o *xapi.Options) {
			o.Retry = xapi.RetryPolicy{Attempts: 20, Wait: time.Minute, MaxWait: time.Minute}
		})
		begin = time.Now()
		require.ErrorIs(t, c.Call(t.Context(), "VM.set_tags", nil), xapi.ErrTooBusy)
		require.Equal(t, 20, attempts)
		require.LessOrEqual(t, time.Since(begin), 19*time.Minute)

		attempts = 0
		c = pool.dial(t, func(o *xapi.Options) { o.Retry.Attempts = 1 })
		require.ErrorIs(t, c.Call(t.Context(), "VM.set_tags", nil), xapi.ErrTooBusy)
		require.Equal(t, 1, attempts)

		// a deadline that the pause would not keep ends it at once, with the pool's answer
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
		defer cancel()
		begin = time.Now()
		require.ErrorIs(t, pool.dial(t, nil).Call(ctx, "VM.set_tags", nil), xapi.ErrTooBusy)
		require.Zero(t, time.Since(begin))

		ctx, stop := context.WithCancelCause(t.Context())
		reason := errors.New("the operator")
		time.AfterFunc(300*time.Millisecond, func() { stop(reason) })
		err := pool.dial(t, nil).Call(ctx, "VM.set_tags", nil)
		require.ErrorIs(t, err, xapi.ErrTooBusy)
		require.ErrorIs(t, err, reason)
	})
}

func TestTasksRefusedForTheMomentAreMadeAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		starts, destroyed := 0, 0
		c := scripted(func(_, method string, _ []any) (any, []string, error) {
			switch method {
			case "Async.VM.snapshot":
				starts++
				return fmt.Sprintf("OpaqueRef:task-%d", starts), nil, nil
			case "event.from":
				return nil, []string{"MESSAGE_METHOD_UNKNOWN", method}, nil
			case "task.get_record":
				if starts < 3 {
					return xapi.Task{Status: "failure", ErrorInfo: []string{"OTHER_OPERATION_IN_PROGRESS", "VM", "OpaqueRef:vm", "snapshot"}}, nil, nil
				}
				return xapi.Task{Status: "success", Result: "<value>OpaqueRef:snapshot</value>"}, nil, nil
			case "task.destroy":
				destroyed++
			}
			return nil, nil, nil
		}).dial(t, nil)
		var snapshot xapi.Ref[xapi.VM]
		require.NoError(t, c.CallAsync(t.Context(), "VM.snapshot", &snapshot, "OpaqueRef:vm", "name"))
		require.Equal(t, xapi.Ref[xapi.VM]("OpaqueRef:snapshot"), snapshot)
		require.Equal(t, 3, starts)
		require.Equal(t, 3, destroyed)
	})
}

// What refuses to make a task has done nothing; what a task fails with may come after half of its work.
func TestATaskThatFailedIsMadeAgainOnlyIfNothingWasDone(t *testing.T) {
	t.Parallel()
	for _, probe := range []struct {
		method, code string
		atStart      bool
		starts       int
	}{
		{"VM.snapshot", "HOST_STILL_BOOTING", true, 3},
		{"VM.snapshot", "TOO_BUSY", true, 3},
		{"VM.snapshot", "TOO_MANY_PENDING_TASKS", true, 3},
		{"VM.snapshot", "HOST_STILL_BOOTING", false, 1},
		{"VM.snapshot", "TOO_BUSY", false, 1},
		{"VM.snapshot", "TOO_MANY_PENDING_TASKS", false, 1},
		{"VM.get_boot_record", "TOO_BUSY", false, 3},
	} {
		synctest.Test(t, func(t *testing.T) {
			starts := 0
			c := scripted(func(_, method string, _ []any) (any, []string, error) {
				switch method {
				case "Async." + probe.method:
					starts++
					if probe.atStart && starts < 3 {
						return nil, []string{probe.code}, nil
					}
					return "OpaqueRef:task", nil, nil
				case "event.from":
					return nil, []string{"MESSAGE_METHOD_UNKNOWN", method}, nil
				case "task.get_record":
					if starts < 3 {
						return xapi.Task{Status: "failure", ErrorInfo: []string{probe.code}}, nil, nil
					}
					return xapi.Task{Status: "success"}, nil, nil
				}
				return nil, nil, nil
			}).dial(t, nil)
			err := c.CallAsync(t.Context(), probe.method, nil, "OpaqueRef:vm")
			require.Equal(t, probe.starts, starts, "%+v", probe)
			if probe.starts == 1 {
				require.ErrorIs(t, err, &xapi.Error{Code: probe.code})
				return
			}
			require.NoError(t, err)
		})
	}
}

func TestDialWaitsForAHostThatBoots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logins := 0
		scripted(func(_, method string, _ []any) (any, []string, error) {
			if method == "session.login_with_password" {
				if logins++; logins < 3 {
					return nil, []string{"HOST_STILL_BOOTING"}, nil
				}
			}
			return nil, nil, nil
		}).dial(t, nil)
		require.Equal(t, 3, logins)
	})
}

func TestAnotherHostKnowsTheNewMaster(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	var asked []string
	master, dead := "master", map[string]bool{}
	pool := scripted(func(host, method string, args []any) (any, []string, error) {
		asked = append(asked, host+" "+method)
		switch {
		case dead[host]:
			return nil, nil, refusedConnection(t, s)
		case method == "session.login_with_password" && host != master:
			return nil, []string{"HOST_IS_SLAVE", master}, nil
		case method == "session.login_with_password":
			return sessionMark + host, nil, nil
		case method == "host.get_all_records":
			return map[string]any{"1": map[string]any{"address": "master"}, "2": map[string]any{"address": "fd00::2"}, "3": map[string]any{"address": "third"}}, nil, nil
		case args[0] != sessionMark+host:
			return nil, []string{"SESSION_INVALID", fmt.Sprint(args[0])}, nil
		default:
			return host, nil, nil
		}
	})
	c := pool.dial(t, func(o *xapi.Options) { o.Retry.Attempts = 1 })
	var from string
	require.NoError(t, c.Call(t.Context(), "VM.start", &from))
	require.Equal(t, "master", from)

	dead["master"], dead["[fd00::2]"], master = true, true, "third"
	require.NoError(t, c.Call(t.Context(), "VM.start", &from)) // nothing of it was sent to the old master
	require.Equal(t, "third", from)
	require.Equal(t, "third", c.Host())

	dead["third"] = true
	asked = nil
	err := c.Call(t.Context(), "VM.start", &from)
	require.ErrorIs(t, err, xapi.ErrUnreachable)
	require.ErrorContains(t, err, "third")
	requireNoSecret(t, err)
	for _, call := range asked {
		require.NotContains(t, call, "logout")
	}

	dead, master = map[string]bool{"master": true, "third": true}, "[fd00::2]"
	require.NoError(t, c.Call(t.Context(), "VM.start", &from))
	require.Equal(t, "[fd00::2]", from)
}

// refusedConnection is a real one.
func refusedConnection(t *testing.T, s *server) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:1/", http.NoBody)
	require.NoError(t, err)
	resp, err := s.Client().Transport.RoundTrip(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	require.Error(t, err)
	return err
}

func TestPasswordsMayComeFromASource(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	asked := 0
	sealed := errors.New("the vault is sealed")
	source := func(context.Context) (xapi.Secret, error) {
		if asked++; asked > 2 {
			return "", sealed
		}
		return password, nil
	}
	s.handle("pool.get_all", func([]any) (any, []string) { return nil, []string{"INTERNAL_ERROR", "said " + password} })
	c := s.dial(t, func(o *xapi.Options) { o.Password, o.PasswordSource = "", source })
	s.mu.Lock()
	clear(s.sessions)
	s.mu.Unlock()
	err := c.Call(t.Context(), "pool.get_all", nil)
	require.ErrorIs(t, err, xapi.ErrInternal)
	requireNoSecret(t, err)
	require.Equal(t, 2, asked)

	_, err = xapi.Dial(t.Context(), s.URL, &xapi.Options{PasswordSource: source})
	require.ErrorIs(t, err, sealed)
}
