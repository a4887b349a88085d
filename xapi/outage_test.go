package xapi_test

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
)

// For 20 seconds nobody is there: what was never heard is said again, what may have been done is not.
func TestCallsOutliveAnOutage(t *testing.T) {
	t.Parallel()
	unreachable := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	for _, probe := range []struct {
		method string
		async  bool
		err    error
		lives  bool
	}{
		{"VM.get_record", false, unreachable, true},
		{"VM.set_name_label", false, unreachable, true},
		{"VM.snapshot", false, unreachable, true},
		{"VM.snapshot", true, unreachable, true},
		{"VM.get_record", false, io.EOF, true},
		{"VM.set_name_label", false, io.EOF, false},
		{"VM.snapshot", false, io.EOF, false},
		{"VM.snapshot", true, io.EOF, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			var back time.Time
			calls := 0
			c := scripted(func(_, method string, _ []any) (any, []string, error) {
				if method == probe.method || method == "Async."+probe.method {
					calls++
					if back.IsZero() {
						back = time.Now().Add(20 * time.Second)
					}
				}
				switch {
				case time.Now().Before(back):
					return nil, nil, probe.err
				case method == "task.get_record":
					return xapi.Task{Status: "success"}, nil, nil
				case method == "event.from":
					return nil, []string{"MESSAGE_METHOD_UNKNOWN", method}, nil
				}
				return nil, nil, nil
			}).dial(t, nil)
			call := c.Call
			if probe.async {
				call = c.CallAsync
			}
			begin := time.Now()
			err := call(t.Context(), probe.method, nil, "OpaqueRef:vm")
			if !probe.lives {
				require.ErrorIs(t, err, xapi.ErrConnectionLost, "%+v", probe)
				require.Equal(t, 1, calls, "%+v", probe)
				return
			}
			require.NoError(t, err, "%+v", probe)
			require.LessOrEqual(t, time.Since(begin), time.Minute, "%+v", probe)
		})
	}
}

// An outage that lasts ends what is asked meanwhile within Options.StallTimeout, and who dials hears at once.
func TestAnOutageThatLastsIsAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dead := false
		pool := scripted(func(string, string, []any) (any, []string, error) {
			if dead {
				return nil, nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("no route to host")}
			}
			return nil, nil, nil
		})
		c := pool.dial(t, func(o *xapi.Options) { o.StallTimeout = 30 * time.Second })
		dead = true
		begin := time.Now()
		require.ErrorIs(t, c.Call(t.Context(), "VM.get_record", nil, "OpaqueRef:vm"), xapi.ErrUnreachable)
		require.LessOrEqual(t, time.Since(begin), 30*time.Second)
		require.GreaterOrEqual(t, time.Since(begin), 5*time.Second)
		begin = time.Now()
		_, err := xapi.Dial(t.Context(), "https://master", &xapi.Options{Password: password, Transport: pool})
		require.ErrorIs(t, err, xapi.ErrUnreachable)
		require.Zero(t, time.Since(begin))
	})
}
