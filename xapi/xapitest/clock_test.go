package xapitest_test

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// clock is one that a test sets.
type clock struct {
	mu      sync.Mutex
	present time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.present
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.present = c.present.Add(d)
}

func timed(t *testing.T) (*xapitest.Pool, *clock) {
	t.Helper()
	c := &clock{present: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)}
	return xapitest.NewPoolWith(t, oneVM("Halted", 8*mib), &xapitest.Options{Now: c.now}), c
}

func TestIdleSessionsEndAfterADay(t *testing.T) {
	t.Parallel()
	p, clock := timed(t)
	idle, used := login(t, p), login(t, p)
	for range 5 {
		clock.pass(8 * time.Hour)
		answer, err := ask(t, p, "VM.get_all", used)
		require.NoError(t, err)
		require.Contains(t, answer, "result")
	}
	answer, err := ask(t, p, "VM.get_all", idle)
	require.NoError(t, err)
	require.Contains(t, answer, "SESSION_INVALID")
}

func TestSessionsOfAnOriginatorAreLimited(t *testing.T) {
	t.Parallel()
	p, clock := timed(t)
	logIn := func(originator string) string {
		_, _, answer := post(t, p, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"session.login_with_password","params":["root","simulated-secret","1.0",%q]}`, originator))
		return regexp.MustCompile(`OpaqueRef:[^"]*`).FindString(answer)
	}
	alive := func(session string) bool {
		_, _, answer := post(t, p, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"VM.get_all","params":[%q]}`, session))
		return !strings.Contains(answer, "SESSION_INVALID")
	}
	other, first, second := logIn("other"), logIn("mine"), logIn("mine")
	require.True(t, alive(first))
	clock.pass(20 * time.Minute)
	require.True(t, alive(first), "used later than the second")
	for range 499 {
		logIn("mine")
	}
	require.True(t, alive(other))
	require.True(t, alive(first))
	require.False(t, alive(second), "idle for longest")
}

func TestTasksAreForgottenInTime(t *testing.T) {
	t.Parallel()
	p, clock := timed(t)
	c := p.Client(t)
	done, pending := task(t, c), task(t, c)
	call[any](t, c, "task.set_status", done, "success")
	clock.pass(time.Hour)
	require.Equal(t, "success", call[string](t, c, "task.get_status", done))
	clock.pass(6 * time.Minute)
	require.ErrorIs(t, c.Call(t.Context(), "task.get_status", nil, done), xapi.ErrHandleInvalid)
	for range 3 {
		clock.pass(8 * time.Hour)
		call[any](t, c, "VM.get_all")
	}
	require.ErrorIs(t, c.Call(t.Context(), "task.get_status", nil, pending), xapi.ErrHandleInvalid)
}

func TestEventsAreGatheredAndThePoolBeats(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		p, err := xapitest.Start(oneVM("Halted", 8*mib), &xapitest.Options{
			Dir: dir, Listener: xapitest.NewMemoryListener(), EventDelay: 50 * time.Millisecond, Heartbeat: 5 * time.Second,
		})
		require.NoError(t, err)
		c, err := xapi.Dial(t.Context(), p.URL(), &xapi.Options{Password: "simulated-secret", Transport: p.Transport()})
		require.NoError(t, err)
		from := func(token string, class string) (b batch, took time.Duration) {
			began := time.Now()
			require.NoError(t, c.Call(t.Context(), "event.from", &b, []string{class}, token, 60.1))
			return b, time.Since(began)
		}
		b, took := from("", "vm")
		require.Equal(t, 50*time.Millisecond, took)
		_, took = from(b.Token, "pool")
		require.GreaterOrEqual(t, took, 5*time.Second, "the heartbeat")
		require.Less(t, took, 6*time.Second)
		var ref string
		require.NoError(t, c.Call(t.Context(), "task.create", &ref, "t", ""))
		_, took = from(b.Token, "task")
		require.Zero(t, took, "tasks alone are told at once")
		require.NoError(t, c.Call(t.Context(), "task.set_status", nil, ref, "success"))
		require.NoError(t, c.Close())
		require.NoError(t, p.Close())
	})
}

func TestRegisteredEventsAreToldOnceAndLostBeyondTheQueue(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, xapitest.Inventory{VMs: xapitest.Fleet(100)})
	c := p.Client(t)
	vm := p.VM("vm-00001").Ref
	require.ErrorIs(t, c.Call(t.Context(), "event.next", nil), &xapi.Error{Code: "SESSION_NOT_REGISTERED"})
	call[any](t, c, "event.register", []string{"VM"})
	before := call[int64](t, c, "event.get_current_id")
	call[any](t, c, "VM.set_name_description", vm, "x")
	events := call[[]map[string]any](t, c, "event.next")
	require.Len(t, events, 1)
	require.Equal(t, "mod", events[0]["operation"])
	require.Greater(t, call[int64](t, c, "event.get_current_id"), before)
	p.Flood("VM.get_uuid", xapitest.EachCall())
	for range 25 { // each changes more than 500 objects
		call[any](t, c, "VM.get_uuid", vm)
	}
	err := c.Call(t.Context(), "event.next", nil)
	require.ErrorIs(t, err, xapi.ErrEventsLost)
	call[any](t, c, "VM.set_name_description", vm, "y")
	require.Len(t, call[[]map[string]any](t, c, "event.next"), 1)
	call[any](t, c, "event.unregister", []string{"vm"})
	require.ErrorIs(t, c.Call(t.Context(), "event.next", nil), &xapi.Error{Code: "SESSION_NOT_REGISTERED"})
}

func TestReadOnlyUserChangesNothing(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPoolWith(t, oneVM("Halted", 8*mib), &xapitest.Options{Users: []xapitest.User{{Name: "eye", Password: "open", ReadOnly: true}}})
	c, err := xapi.Dial(t.Context(), p.URL(), &xapi.Options{Username: "eye", Password: "open"})
	require.NoError(t, err)
	vm := p.VM("web")
	require.Equal(t, "web", call[string](t, c, "VM.get_name_label", vm.Ref))
	denied := &xapi.Error{Code: "RBAC_PERMISSION_DENIED"}
	require.ErrorIs(t, c.Call(t.Context(), "VM.snapshot", nil, vm.Ref, "s"), denied)
	require.ErrorIs(t, c.Call(t.Context(), "Async.VM.destroy", nil, vm.Ref), denied)
	d, err := c.ExportVDI(t.Context(), xapi.Ref[xapi.VDI](vm.Disks[0].Ref), nil)
	if err == nil {
		err = d.Finish(t.Context())
	}
	require.Error(t, err)
	require.NoError(t, c.Close())
	require.Empty(t, p.Leaks())
}
