package xapi_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// cutting cuts the answer of the nth request after some bytes of its body: with an error, or as if that were all. The first is 1; -1
// cuts all of them.
type cutting struct {
	through http.RoundTripper
	nth     int64
	after   int64
	quietly bool
	seen    atomic.Int64
}

func (c *cutting) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.through.RoundTrip(r)
	if nth := c.seen.Add(1); err != nil || nth != c.nth && c.nth != -1 {
		return resp, err
	}
	var end io.Reader = failing{}
	if c.quietly {
		end = bytes.NewReader(nil)
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(resp.Body, c.after), end), resp.Body}
	return resp, nil
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("connection reset by peer") }

// changes is a pool whose second answer has one of each.
func changes() *script {
	return &script{from: func(n int) any {
		switch {
		case n == 1:
			return pooled(events("5", "add vm a", "add vm c"))
		case n < 4: // the second attempt brings all of it
			return events("6", "add vm b", "mod vm a", "del vm c")
		default:
			return nil
		}
	}}
}

func TestWatchAndInventoryTakeAnswersWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	text, err := envelope(events("6", "add vm b", "mod vm a", "del vm c"))
	require.NoError(t, err)
	for after := range int64(len(text)) {
		for _, quietly := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				cut := &cutting{through: roundTripper(changes().answer), after: after, quietly: quietly}
				c, err := xapi.Dial(t.Context(), "pool.invalid", &xapi.Options{Transport: cut})
				require.NoError(t, err)
				cut.nth = cut.seen.Load() + 2
				defer func() { require.NoError(t, c.Close()) }()
				if after%2 == 0 {
					watched(t, c, "resync", "add vm a", "add vm c", "add pool p", "synced", "add vm b", "mod vm a", "del vm c")
					return
				}
				inv := inventory(t, c)
				_, err = inv.Await(t.Context(), func(s *xapi.Snapshot) bool {
					whole := s.VMs.Get("b") != nil
					require.Equal(t, whole, s.VMs.Get("c") == nil)
					return whole
				})
				require.NoError(t, err)
				require.NoError(t, inv.Close())
			})
		}
	}
}

func TestAllGivesAllOrNothing(t *testing.T) {
	t.Parallel()
	s := &script{answers: map[string]func() any{"VM.get_all_records": func() any {
		return map[string]any{"a": map[string]any{"uuid": "x"}, "b": map[string]any{"uuid": "y"}}
	}}}
	text, err := envelope(s.answers["VM.get_all_records"]())
	require.NoError(t, err)
	for after := range int64(len(text)) {
		synctest.Test(t, func(t *testing.T) {
			cut := &cutting{through: roundTripper(s.answer), after: after, quietly: after%2 == 0}
			c, err := xapi.Dial(t.Context(), "pool.invalid", &xapi.Options{Transport: cut})
			require.NoError(t, err)
			cut.nth = -1
			vms, err := xapi.All[xapi.VM](t.Context(), c)
			require.Error(t, err)
			require.Nil(t, vms)
			cut.nth = 0
			require.NoError(t, c.Close())
		})
	}
}

func TestInventoryOverXMLRPC(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, xapitest.Inventory{VMs: []xapitest.VM{{Name: "web", Disks: []xapitest.Disk{{Size: 1 << 20}}, VIFs: []xapitest.VIF{{}}}}})
	c, err := xapi.Dial(t.Context(), p.URL(), &xapi.Options{Password: xapi.Secret(p.Password()), Protocol: xapi.XMLRPC})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	inv := inventory(t, c)
	require.NoError(t, c.Call(t.Context(), "VM.set_name_label", nil, p.VM("web").Ref, "renamed"))
	require.NoError(t, inv.Sync(t.Context()))
	agrees(t, p.Client(t), inv.Snapshot())
	_, vm := inv.Snapshot().VMs.ByUUID(p.VM("renamed").UUID)
	require.Equal(t, "renamed", vm.NameLabel)
	require.NoError(t, inv.Close())
}
