package xapi_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// cable leads to the hosts of a pool. One that is unplugged neither answers nor hangs up: what is written to it is lost.
type cable struct {
	network *xapitest.MemoryListener

	mu        sync.Mutex
	unplugged string // a host
}

func (c *cable) unplug(host string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unplugged = host
}

func (c *cable) cut(host string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unplugged == host
}

func (c *cable) dial(ctx context.Context, kind, address string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(address)
	if c.cut(host) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(30 * time.Second):
			return refused()
		}
	}
	conn, err := c.network.DialContext(ctx, kind, address)
	return &cabledConn{Conn: conn, cable: c, host: host, closed: make(chan struct{})}, err
}

type cabledConn struct {
	net.Conn

	cable  *cable
	host   string
	once   sync.Once
	closed chan struct{}
}

func (c *cabledConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.cable.cut(c.host) {
		<-c.closed
		return 0, net.ErrClosed
	}
	return n, err
}

func (c *cabledConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func (c *cabledConn) Write(p []byte) (int, error) {
	if c.cable.cut(c.host) {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// TestCloseDuringALoginLeavesNoConnection: the login that comes too late is ended, and so is its connection.
func TestCloseDuringALoginLeavesNoConnection(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, r *rig) {
		t.Helper()
		r.pool.ExpireSessions()
		r.pool.Slow("session.login_with_password", xapitest.OnCall(1), 3*time.Second)
		done := make(chan error, 1)
		go func() { done <- getter(t.Context(), r) }()
		synctest.Wait()
		require.NoError(t, r.Close())
		require.ErrorIs(t, <-done, xapi.ErrClosed)
		synctest.Wait()
		require.Zero(t, r.open.Load())
	})
}

// TestASilentMasterIsLeftForTheNewOne: of its kept connections, which look alive, one is waited for.
func TestASilentMasterIsLeftForTheNewOne(t *testing.T) {
	t.Parallel()
	for name, work := range map[string]func(ctx context.Context, c *xapi.Client, vm string) error{
		"task": func(ctx context.Context, c *xapi.Client, vm string) error {
			err := c.CallAsync(ctx, "VM.snapshot", nil, vm, "cut short")
			if errors.Is(err, xapi.ErrConnectionLost) && strings.Contains(err.Error(), "127.0.0.2") { // the new master knows of no task
				return nil
			}
			return fmt.Errorf("snapshot: %w", err)
		},
		"watch": func(ctx context.Context, c *xapi.Client, _ string) error {
			resyncs := 0
			for event, err := range c.Watch(ctx, "vm") {
				if err != nil {
					return err
				}
				if event.Op == xapi.EventSynced {
					resyncs++
				}
				if resyncs == 2 {
					return nil
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, image := t.TempDir(), diskImage(t)
			synctest.Test(t, func(t *testing.T) {
				line := &cable{network: xapitest.NewMemoryListener()}
				p, err := xapitest.Start(twoHosts(image), &xapitest.Options{Dir: dir, Listener: line.network, Now: time.Now})
				require.NoError(t, err)
				defer func() { require.NoError(t, p.Close()) }()
				c, err := xapi.Dial(t.Context(), p.URL(), &xapi.Options{Password: xapi.Secret(p.Password()), DialContext: line.dial})
				require.NoError(t, err)
				defer func() { require.NoError(t, c.Close()) }()
				var answer struct {
					Token string `json:"token"`
				}
				require.NoError(t, c.Call(t.Context(), "event.from", &answer, []string{"pool"}, "", 0.05))
				var many sync.WaitGroup
				for range 6 { // connections that are kept
					many.Go(func() { assert.NoError(t, c.Call(t.Context(), "event.from", nil, []string{"pool"}, answer.Token, 1.5)) })
				}
				many.Wait()
				if name == "task" {
					p.Slow("VM.snapshot", xapitest.OnCall(1), time.Hour)
				}
				began, done := time.Now(), make(chan error, 1)
				go func() { done <- work(t.Context(), c, p.VM("web").Ref) }()
				synctest.Wait()
				line.unplug("pool.invalid")
				require.NoError(t, p.SetMaster("beta"))
				require.NoError(t, <-done)
				require.Less(t, time.Since(began), 160*time.Second) // simulated: one silence, and two attempts to connect
				require.NotContains(t, c.Host(), "pool.invalid")
			})
		})
	}
}
