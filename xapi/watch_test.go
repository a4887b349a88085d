package xapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// script is a pool without a network that answers event.from by a function, all else by a string.
type script struct {
	mu      sync.Mutex
	asked   []time.Time           // calls of event.from
	tokens  []string              // that came with them
	from    func(n int) any       // the nth answer, from 1: a result, an *xapi.Error, or an error of the connection
	answers map[string]func() any // other methods
}

// errSilence is a connection that broke without a word.
var errSilence = errors.New("silence")

// dialScript logs in to it.
func dialScript(t *testing.T, s *script) *xapi.Client {
	t.Helper()
	c, err := xapi.Dial(t.Context(), "pool.invalid", &xapi.Options{Transport: roundTripper(s.answer)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (s *script) answer(r *http.Request) (string, error) {
	var call struct {
		Method string
		Params []any
	}
	if err := json.NewDecoder(r.Body).Decode(&call); err != nil {
		return "", err
	}
	var result any = "OpaqueRef:x"
	if call.Method == "event.from" {
		s.mu.Lock()
		s.asked = append(s.asked, time.Now())
		s.tokens = append(s.tokens, call.Params[2].(string))
		n := len(s.asked)
		s.mu.Unlock()
		result = s.from(n)
	} else if other := s.answers[call.Method]; other != nil {
		result = other()
	}
	switch result := result.(type) {
	case nil: // no news
		select {
		case <-time.After(time.Minute):
			return envelope(events("9"))
		case <-r.Context().Done():
			return "", r.Context().Err()
		}
	case *xapi.Error:
		return `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"` + result.Code + `","data":["x"]}}`, nil
	case error:
		if errors.Is(result, errSilence) {
			<-r.Context().Done()
		}
		return "", result
	default:
		return envelope(result)
	}
}

func envelope(result any) (string, error) {
	text, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "result": result})
	return string(text), err
}

// events is an answer with words such as "add vm a": operation, class, reference.
func events(token string, words ...string) map[string]any {
	list := []any{}
	for _, word := range words {
		parts := strings.Fields(word)
		event := map[string]any{"id": "1", "timestamp": "0.0", "operation": parts[0], "class": parts[1], "ref": parts[2]}
		if parts[0] != "del" {
			event["snapshot"] = map[string]any{"uuid": "u-" + parts[2]}
		}
		list = append(list, event)
	}
	return map[string]any{"events": list, "valid_ref_counts": map[string]int{}, "token": token}
}

// watched collects events as words until the last one of want has come.
func watched(t *testing.T, c *xapi.Client, want ...string) {
	t.Helper()
	var got []string
	for event, err := range c.Watch(t.Context(), "vm") {
		require.NoError(t, err)
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s", event.Op, event.Class, event.Ref)))
		if len(got) == len(want) {
			break
		}
	}
	require.Equal(t, want, got)
}

func TestWatchTellsWhatExistsThenWhatChanges(t *testing.T) {
	t.Parallel()
	p, c := newPool(t, pattern(4<<20))
	vm := xapi.Ref[xapi.VM](p.VM("web").Ref)
	names := map[string]string{}
	synced := false
	for event, err := range c.Watch(t.Context(), "VM", "vdi/"+p.VM("web").Disks[0].Ref) {
		require.NoError(t, err)
		switch event.Op {
		case xapi.EventResync:
			clear(names)
		case xapi.EventSynced:
			synced = true
			require.Len(t, names, 3, "the VM, the control domain, a disk")
			require.NoError(t, c.Call(t.Context(), "VM.set_name_label", nil, vm, "renamed"))
		case xapi.EventDel:
			delete(names, event.Ref)
		default:
			var record xapi.VM
			require.NoError(t, json.Unmarshal(event.Snapshot, &record))
			names[event.Ref] = record.NameLabel
		}
		if synced && names[string(vm)] == "renamed" {
			break
		}
	}
}

func TestWatchStartsAnewWhenSomethingMayBeMissed(t *testing.T) {
	t.Parallel()
	for _, code := range []*xapi.Error{xapi.ErrEventsLost, xapi.ErrEventTokenInvalid, xapi.ErrSessionInvalid, xapi.ErrHostIsSlave} {
		t.Run(code.Code, func(t *testing.T) {
			t.Parallel()
			s := &script{from: func(n int) any {
				return []any{events("5", "add vm a", "add vm b"), code, events("7", "add vm b")}[n-1]
			}}
			watched(t, dialScript(t, s), "resync", "add vm a", "add vm b", "synced", "resync", "add vm b", "synced")
			require.Equal(t, []string{"", "5", ""}, s.tokens)
		})
	}
	t.Run("an older database", func(t *testing.T) {
		t.Parallel()
		s := &script{from: func(n int) any {
			return []any{events("5", "add vm a"), events("3", "mod vm b"), events("3", "add vm b")}[n-1]
		}}
		watched(t, dialScript(t, s), "resync", "add vm a", "synced", "resync", "add vm b", "synced")
	})
	t.Run("a session of another", func(t *testing.T) { // who logged in again, at a pool that may have been restored
		t.Parallel()
		p, c := newPool(t, pattern(4<<20))
		resyncs := 0
		for event, err := range c.Watch(t.Context(), "sr") {
			require.NoError(t, err)
			if event.Op == xapi.EventSynced {
				p.ExpireSessions()
				_, err := xapi.All[xapi.SR](t.Context(), c)
				require.NoError(t, err)
				if resyncs++; resyncs == 3 {
					break
				}
			}
		}
	})
}

func TestWatchGoesOnAfterTrouble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("no route to host")
		s := &script{from: func(n int) any {
			switch {
			case n == 1:
				return events("5", "add vm a")
			case n < 12:
				return down
			case n == 12:
				return &xapi.Error{Code: "HOST_STILL_BOOTING"}
			default:
				return events("6", "mod vm a")
			}
		}}
		watched(t, dialScript(t, s), "resync", "add vm a", "synced", "mod vm a")
		require.Equal(t, "5", s.tokens[len(s.tokens)-1], "nothing was missed")
		for i := 2; i < len(s.asked); i++ {
			pause := s.asked[i].Sub(s.asked[i-1])
			require.LessOrEqual(t, pause, 30*time.Second)
			require.GreaterOrEqual(t, pause, min(time.Second<<(i-2), 15*time.Second), "attempt %d", i)
		}
	})
}

func TestWatchAsksForAMinuteAndNoticesSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{from: func(n int) any {
			return []any{events("5"), nil, errSilence, events("9", "add vm a")}[n-1]
		}}
		watched(t, dialScript(t, s), "resync", "synced", "add vm a")
		require.Equal(t, time.Minute, s.asked[2].Sub(s.asked[1]))
		quiet := s.asked[3].Sub(s.asked[2])
		require.Greater(t, quiet, time.Minute)
		require.Less(t, quiet, 80*time.Second)
	})
}

func TestWatchEndsWithAnError(t *testing.T) {
	t.Parallel()
	last := func(c *xapi.Client, ctx context.Context, classes ...string) (last error) {
		for _, err := range c.Watch(ctx, classes...) {
			require.NoError(t, last, "the error is the last pair")
			last = err
		}
		return last
	}
	p, c := newPool(t, pattern(4<<20))
	require.ErrorIs(t, last(c, t.Context(), "vm/"), &xapi.Error{Code: "EVENT_SUBSCRIPTION_PARSE_FAILURE"})
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(enough)
	require.ErrorIs(t, last(c, ctx), enough)
	p.Fail("event.from", xapitest.OnCall(1), xapi.ErrPermissionDenied)
	require.ErrorIs(t, last(c, t.Context()), xapi.ErrPermissionDenied)
	require.NoError(t, c.Close())
	require.ErrorIs(t, last(c, t.Context()), xapi.ErrClosed)
}

func TestWatchNeverSpins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // a pool that loses all events at once
		s := &script{from: func(n int) any {
			if n%2 == 1 {
				return events("5", "add vm a")
			}
			return xapi.ErrEventsLost
		}}
		c := dialScript(t, s)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		for _, err := range c.Watch(ctx) {
			if err != nil {
				require.ErrorIs(t, err, context.DeadlineExceeded)
			}
		}
		require.Less(t, len(s.asked), 600)
	})
}

func TestWatchRefusesAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	for _, odd := range []any{
		"x",
		map[string]any{"events": []any{}},
		map[string]any{"token": "6", "events": []any{1}},
		map[string]any{"token": "6", "events": 5},
		map[string]any{"token": "6", "events": []any{map[string]any{"class": "vm", "ref": 5, "operation": "add"}}},
		map[string]any{"token": "6", "events": []any{map[string]any{"class": "vm", "ref": "a", "operation": "explode"}}},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{from: func(n int) any {
				return []any{events("5", "add vm a"), odd, events("6", "mod vm a")}[n-1]
			}}
			watched(t, dialScript(t, s), "resync", "add vm a", "synced", "mod vm a")
			require.True(t, slices.Equal([]string{"", "5", "5"}, s.tokens))
		})
	}
}
