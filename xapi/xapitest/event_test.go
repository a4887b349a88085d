package xapitest_test

import (
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

type batch struct {
	Token          string
	ValidRefCounts map[string]int `json:"valid_ref_counts"`
	Events         []struct {
		Class, Operation, Ref, ID, Timestamp string
		Snapshot                             map[string]any
	}
}

func TestEventsTellWhatChangedSinceTheToken(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 8*mib))
	c := p.Client(t)
	vm := p.VM("web").Ref
	from := func(token string, classes ...string) (b batch) {
		require.NoError(t, c.Call(t.Context(), "event.from", &b, classes, token, 30.1))
		return b
	}
	all := from("", "vm")
	require.Len(t, all.Events, 2, "the VM and the control domain")
	require.Equal(t, 2, all.ValidRefCounts["vm"])
	require.Equal(t, "add", all.Events[0].Operation)
	require.Equal(t, "0.0", all.Events[0].Timestamp)
	require.Regexp(t, `^\d{20},\d{20}$`, all.Token)

	call[any](t, c, "VM.set_name_description", vm, "db")
	snap := snapshot(t, p, c, "s")
	changes := from(all.Token, "VM")
	require.Len(t, changes.Events, 2)
	require.Equal(t, "add", changes.Events[0].Operation)
	require.Equal(t, snap.Ref, changes.Events[0].Ref)
	require.Equal(t, "mod", changes.Events[1].Operation)
	require.Equal(t, "db", changes.Events[1].Snapshot["name_description"])

	call[any](t, c, "VM.destroy", snap.Ref)
	gone := from(changes.Token, "vm/"+snap.Ref)
	require.Len(t, gone.Events, 1)
	require.Equal(t, "del", gone.Events[0].Operation)
	require.Nil(t, gone.Events[0].Snapshot)
	require.Len(t, from(all.Token, "vm").Events, 1, "what came and went in between does not appear")

	barrier := call[string](t, c, "event.inject", "VM", vm)
	require.GreaterOrEqual(t, from(gone.Token, "*").Token, barrier)
}

func TestEventsRefuseWhatTheyCannotRead(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, xapitest.Inventory{})
	c := p.Client(t)
	require.ErrorIs(t, c.Call(t.Context(), "event.from", nil, []string{"vm"}, "x", 1.1), xapi.ErrEventTokenInvalid)
	require.ErrorIs(t, c.Call(t.Context(), "event.from", nil, []string{"vm/"}, "", 1.1), &xapi.Error{Code: "EVENT_SUBSCRIPTION_PARSE_FAILURE"})
}

func TestWaitingForEventsEndsWithTheSession(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		p, err := xapitest.Start(xapitest.Inventory{}, &xapitest.Options{Dir: dir, Listener: xapitest.NewMemoryListener()})
		require.NoError(t, err)
		client := &http.Client{Transport: p.Transport()}
		ask := func(method, params string) string {
			body := strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":[` + params + `]}`)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL()+"/jsonrpc", body)
			require.NoError(t, err)
			resp, err := client.Do(req)
			require.NoError(t, err)
			answer, err := io.ReadAll(resp.Body)
			require.NoError(t, errors.Join(err, resp.Body.Close()))
			return string(answer)
		}
		session := regexp.MustCompile(`OpaqueRef:[^"]*`).FindString(ask("session.login_with_password", `"root","simulated-secret"`))
		ended := make(chan string)
		go func() { ended <- ask("event.from", `"`+session+`",["vbd"],"",60`) }()
		synctest.Wait()
		began := time.Now()
		p.ExpireSessions()
		require.Contains(t, <-ended, "SESSION_INVALID")
		require.Zero(t, time.Since(began))
		client.CloseIdleConnections()
		require.NoError(t, p.Close())
	})
}

// A token that is too old is answered with EVENTS_LOST by the queue itself: a
// script has only to make enough changes.
func TestEventsAreLostBeyondTheQueue(t *testing.T) {
	t.Parallel()
	p, err := xapitest.Start(xapitest.Inventory{VMs: xapitest.Fleet(20)}, &xapitest.Options{Dir: t.TempDir(), EventQueue: 50})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	c := p.Client(t)
	from := func(token string) (b batch, err error) {
		err = c.Call(t.Context(), "event.from", &b, []string{"vm"}, token, 0.0)
		return b, err
	}
	all, err := from("")
	require.NoError(t, err)
	for range 40 {
		call[any](t, c, "VM.set_name_description", p.VM("vm-00001").Ref, "x")
	}
	few, err := from(all.Token)
	require.NoError(t, err)
	require.Len(t, few.Events, 1)
	p.Flood("event.from", xapitest.OnCall(1))
	_, err = from(few.Token)
	require.ErrorIs(t, err, xapi.ErrEventsLost)
	_, err = from(few.Token)
	require.ErrorIs(t, err, xapi.ErrEventsLost, "the token does not become younger")
	again, err := from("")
	require.NoError(t, err, "from the beginning all are there")
	require.Len(t, again.Events, 21)
	_, err = from(again.Token)
	require.NoError(t, err)
	call[any](t, c, "event.register", []string{"vm"})
	p.Flood("VM.get_uuid", xapitest.OnCall(1))
	call[any](t, c, "VM.get_uuid", p.VM("vm-00001").Ref)
	require.ErrorIs(t, c.Call(t.Context(), "event.next", nil), xapi.ErrEventsLost)

	resyncs := 0
	for event, err := range c.Watch(t.Context(), "VM") {
		require.NoError(t, err)
		if event.Op == xapi.EventSynced {
			p.Flood("event.from", xapitest.OnCall(1))
		}
		if event.Op == xapi.EventResync {
			if resyncs++; resyncs == 2 {
				break // the client has started anew
			}
		}
	}
}
