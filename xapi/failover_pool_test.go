package xapi_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// network reaches the hosts of a pool, unless they are dead.
type network struct {
	mu   sync.Mutex
	dead map[string]func() (net.Conn, error) // by address without port; what a connection there comes to
}

func (n *network) kill(address string, how func() (net.Conn, error)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.dead == nil {
		n.dead = make(map[string]func() (net.Conn, error))
	}
	n.dead[address] = how
}

func (n *network) dial(ctx context.Context, kind, address string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(address)
	n.mu.Lock()
	dead := n.dead[host]
	n.mu.Unlock()
	if dead != nil {
		return dead()
	}
	return new(net.Dialer).DialContext(ctx, kind, address)
}

// refused is a host that is off.
func refused() (net.Conn, error) {
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("no route to host")}
}

// hungUp is a host of which a proxy is left, that takes calls and has nobody to give them to.
func hungUp() (net.Conn, error) {
	here, there := net.Pipe()
	go func() {
		_, _ = there.Read(make([]byte, 1<<10))
		_ = there.Close()
	}()
	return here, nil
}

func certificatePin(h xapitest.HostInfo) xapi.Fingerprint {
	return xapi.Fingerprint(fmt.Sprintf("sha256:%x", sha256.Sum256(h.Certificate.Raw)))
}

// TestWatchAndInventoryFollowADeadMaster: nobody makes a call that would find the new master for them.
func TestWatchAndInventoryFollowADeadMaster(t *testing.T) {
	t.Parallel()
	for name, probe := range map[string]struct {
		secure bool
		how    func() (net.Conn, error)
	}{
		"off, plain": {false, refused}, "off, pinned": {true, refused}, "hung up": {false, hungUp},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := xapitest.NewPoolWith(t, xapitest.Inventory{
				Hosts: []xapitest.Host{{Name: "alpha"}, {Name: "beta"}, {Name: "gamma"}}, VMs: []xapitest.VM{{Name: "web"}},
			}, &xapitest.Options{TLS: probe.secure})
			var n network
			opts := &xapi.Options{
				Password: xapi.Secret(p.Password()), DialContext: n.dial, PollInterval: 5 * time.Millisecond, CancelTimeout: time.Second,
			}
			if probe.secure {
				opts.Pins = make(map[string][]xapi.Fingerprint)
				for _, host := range p.Hosts() {
					opts.Pins[host.Address] = []xapi.Fingerprint{certificatePin(host)}
				}
			}
			c, err := xapi.Dial(t.Context(), p.URL(), opts)
			require.NoError(t, err)
			defer func() { require.NoError(t, c.Close()) }()
			inv := inventory(t, c)
			ctx, stop := context.WithTimeout(t.Context(), time.Minute)
			defer stop()
			resyncs, renamed := 0, make(chan error, 1)
			synced := make(chan struct{}, 10)
			go func() {
				for event, err := range c.Watch(ctx, "vm") {
					switch {
					case err != nil:
						renamed <- err
						return
					case event.Op == xapi.EventResync:
						resyncs++
					case event.Op == xapi.EventSynced:
						synced <- struct{}{}
					case strings.Contains(string(event.Snapshot), "www"):
						renamed <- nil
						return
					}
				}
			}()
			<-synced

			n.kill("127.0.0.1", probe.how)
			require.NoError(t, p.SetMaster("beta"))
			fresh := p.Client(t)
			require.NoError(t, fresh.Call(ctx, "VM.set_name_label", nil, p.VM("web").Ref, "www"))
			_, err = inv.Await(ctx, func(s *xapi.Snapshot) bool {
				_, vm := s.VMs.ByUUID(p.VM("www").UUID)
				return vm != nil && vm.NameLabel == "www"
			})
			require.NoError(t, err)
			require.NoError(t, inv.Err())
			require.NoError(t, <-renamed)
			require.GreaterOrEqual(t, resyncs, 2) // one for each session that was lost
			require.NoError(t, inv.Sync(ctx))
			agrees(t, fresh, inv.Snapshot())
			require.NoError(t, inv.Close())
		})
	}
}

// TestPinnedNamesAreFollowedAsThePoolKnowsThem: pins by name serve a pool whose database has addresses.
func TestPinnedNamesAreFollowedAsThePoolKnowsThem(t *testing.T) {
	t.Parallel()
	home, other, foreign := newServer(t), newServer(t), newServer(t)
	mine, theirs := newAuthority(t).issue(t, time.Hour, "x"), newAuthority(t).issue(t, time.Hour, "y")
	here, there, elsewhere := serveTLS(t, mine, home.mux), serveTLS(t, theirs, other.mux), serveTLS(t, theirs, foreign.mux)
	for _, s := range []*server{home, other} {
		s.handle("host.get_all_records", func([]any) (any, []string) {
			return map[string]any{
				"OpaqueRef:1": map[string]any{"address": "10.0.0.1", "hostname": "alpha"}, "OpaqueRef:2": map[string]any{"address": "10.0.0.2", "hostname": "beta"},
			}, nil
		})
	}
	other.handle("VM.get_all", func([]any) (any, []string) { return []any{}, nil })
	gone := false
	c, err := xapi.Dial(t.Context(), "https://alpha.example", &xapi.Options{
		Password: password, CancelTimeout: time.Second,
		Pins: map[string][]xapi.Fingerprint{
			"alpha.example": {fingerprintOf(mine)}, "beta.example": {fingerprintOf(theirs)}, "another-pool.example": {fingerprintOf(theirs)},
		},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			to := map[string]string{
				"alpha.example:443": here.Listener.Addr().String(), "beta.example:443": there.Listener.Addr().String(),
				"another-pool.example:443": elsewhere.Listener.Addr().String(),
			}[address]
			if to == "" || gone && strings.HasPrefix(address, "alpha") {
				return refused()
			}
			return new(net.Dialer).DialContext(ctx, network, to)
		},
	})
	require.NoError(t, err)
	gone = true
	here.CloseClientConnections()
	require.NoError(t, c.Call(t.Context(), "VM.get_all", nil))
	require.Equal(t, "beta.example:443", c.Host()+":443")
	require.Zero(t, elsewhere.seen()) // a pin says who somebody is, not that he shall have the password
	require.NoError(t, c.Close())
}

// A new master cancels what the old one was at: the caller hears of it, in the terms of the pool or of the connection.
func TestMasterChangeInTheMiddleOfWorkIsTyped(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, xapitest.Inventory{
		Hosts: []xapitest.Host{{Name: "alpha"}, {Name: "beta"}}, SRs: []xapitest.SR{{Name: "shared", Shared: true}},
		VMs: []xapitest.VM{{Name: "web", Disks: []xapitest.Disk{{Size: 64 << 20}}}},
	})
	c, err := xapi.Dial(t.Context(), p.URL(), &xapi.Options{
		Password: xapi.Secret(p.Password()), PollInterval: 5 * time.Millisecond, CancelTimeout: time.Second, StallTimeout: 2 * time.Second,
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	p.MoveMaster("VM.snapshot", xapitest.OnCall(1), "beta")
	err = c.CallAsync(t.Context(), "VM.snapshot", nil, p.VM("web").Ref, "s")
	require.True(t, errors.Is(err, xapi.ErrConnectionLost) || errors.Is(err, xapi.ErrHandleInvalid), "%v", err)
	require.Empty(t, p.Snapshots())

	d, err := c.ExportVDI(t.Context(), vdiOf(p), &xapi.ExportVDIOptions{Format: "raw"}) // by the new one
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(c.Host(), "127.0.0.2:"))
	_, err = io.CopyN(io.Discard, d, 1000)
	require.NoError(t, err)
	require.NoError(t, p.SetMaster("alpha"))
	err = d.Finish(t.Context())
	require.Error(t, err)
	require.NotErrorIs(t, err, io.EOF)
	require.Empty(t, p.Leaks())
}
