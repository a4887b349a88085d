package xapi_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
)

// twoHosts describes a pool to a scripted host: the master at 127.0.0.1 and, on the backup network, at 127.0.0.3; another host at
// 127.0.0.2 and, by IPv6 first, at fd00::2; a third one that is not on that network.
func (s *server) twoHosts(otherConfig map[string]string) {
	s.handle("pool.get_all_records", func([]any) (any, []string) {
		return map[string]any{"OpaqueRef:pool": map[string]any{"master": "OpaqueRef:master", "other_config": otherConfig}}, nil
	})
	s.handle("network.get_by_uuid", func(args []any) (any, []string) {
		if args[0] != "backup-uuid" {
			return nil, []string{"UUID_INVALID", "network", args[0].(string)}
		}
		return "OpaqueRef:backup", nil
	})
	s.handle("host.get_all_records", func([]any) (any, []string) {
		return map[string]any{
			"OpaqueRef:master": map[string]any{"address": "127.0.0.1"}, "OpaqueRef:other": map[string]any{"address": "127.0.0.2"},
			"OpaqueRef:third": map[string]any{"address": "127.0.0.9"},
		}, nil
	})
	s.handle("PIF.get_all_records", func([]any) (any, []string) {
		return map[string]any{
			"1": map[string]any{"network": "OpaqueRef:management", "host": "OpaqueRef:master", "IP": "127.0.0.1"},
			"2": map[string]any{"network": "OpaqueRef:backup", "host": "OpaqueRef:master", "IP": "127.0.0.3"},
			"3": map[string]any{"network": "OpaqueRef:backup", "host": "OpaqueRef:other", "IP": "127.0.0.4", "IPv6": []string{"fd00::2/64"}, "primary_address_type": "IPv6"},
			"4": map[string]any{"network": "OpaqueRef:backup", "host": "OpaqueRef:third", "IP": ""},
		}, nil
	})
}

func TestTransfersKeepToTheirNetwork(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.twoHosts(map[string]string{"xo:backupNetwork": "backup-uuid"})
	cert := (*authority)(nil).issue(t, time.Hour, "master")
	secure := serveTLS(t, cert, s.mux)
	port := strings.TrimPrefix(secure.URL, "https://127.0.0.1:")
	var dialled atomic.Value
	opts := &xapi.Options{
		Password: password, TransferNetwork: xapi.PoolBackupNetwork, CancelTimeout: time.Second,
		// one pin for each host, whatever address it is reached at
		Pins: map[string][]xapi.Fingerprint{"127.0.0.1": {fingerprintOf(cert)}, "127.0.0.2": {fingerprintOf(cert)}},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			dialled.Store(addr)
			return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+port)
		},
	}
	c, err := xapi.Dial(t.Context(), secure.URL, opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.Equal(t, "127.0.0.1:"+port, dialled.Load())

	var handler string
	s.mux.HandleFunc("GET /export_raw_vdi", func(w http.ResponseWriter, r *http.Request) {
		handler = r.Host
		if r.URL.Query().Get("vdi") != "OpaqueRef:here" && strings.HasPrefix(r.Host, "127.0.0.3") {
			to := url.URL{Scheme: "https", Host: r.URL.Query().Get("format") + ":" + port, Path: r.URL.Path, RawQuery: r.URL.RawQuery}
			http.Redirect(w, r, to.String(), http.StatusFound)
			return
		}
		s.settle(task(r), "success", "")
		_, _ = io.WriteString(w, "disk")
	})
	get := func(vdi xapi.Ref[xapi.VDI], format string) error {
		d, err := c.ExportVDI(t.Context(), vdi, &xapi.ExportVDIOptions{Format: format})
		if err != nil {
			return err
		}
		return d.Finish(t.Context())
	}
	require.NoError(t, get("OpaqueRef:here", ""))
	require.Equal(t, "127.0.0.3:"+port, handler)
	require.NoError(t, get("OpaqueRef:there", "127.0.0.2"))
	require.Equal(t, "[fd00::2]:"+port, handler)
	require.ErrorIs(t, get("OpaqueRef:there", "127.0.0.9"), xapi.ErrNoTransferAddress)
	require.ErrorIs(t, get("OpaqueRef:there", "127.0.0.66"), xapi.ErrProtocol)
	require.Zero(t, s.leftTasks())

	addresses, err := c.TransferAddresses(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[xapi.Ref[xapi.Host]]string{"OpaqueRef:master": "127.0.0.3", "OpaqueRef:other": "fd00::2"}, addresses)
	require.Equal(t, 1, s.called("PIF.get_all_records"))
}

func TestTransferNetworkMayBeNamedOrMissing(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.twoHosts(nil)
	export := func(network string) error {
		c := s.dial(t, func(o *xapi.Options) {
			o.TransferNetwork = network
			o.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, strings.TrimPrefix(s.URL, "http://"))
			}
		})
		d, err := c.ExportVDI(t.Context(), "OpaqueRef:vdi", nil)
		if err != nil {
			return err
		}
		return d.Finish(t.Context())
	}
	host := ""
	s.mux.HandleFunc("GET /export_raw_vdi", func(_ http.ResponseWriter, r *http.Request) {
		host, _, _ = net.SplitHostPort(r.Host)
		s.settle(task(r), "success", "")
	})
	require.NoError(t, export(xapi.PoolBackupNetwork)) // which the pool does not name
	require.Equal(t, "127.0.0.1", host)
	require.NoError(t, export("backup-uuid"))
	require.Equal(t, "127.0.0.3", host)
	require.ErrorIs(t, export("no-such-network"), xapi.ErrUUIDInvalid)
}

func TestMetricsCountCallsBytesAndWaits(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	data := pattern(300_000)
	s.mux.HandleFunc("GET /export_raw_vdi", func(w http.ResponseWriter, r *http.Request) {
		s.settle(task(r), "success", "")
		_, _ = w.Write(data)
	})
	s.raw("PUT /import_raw_vdi", func(conn *net.TCPConn, in *bufio.Reader, r *http.Request) {
		accept(conn)
		_, _ = io.CopyN(io.Discard, in, r.ContentLength)
		s.settle(task(r), "success", "")
	})
	var up, down, tasks, sent, received atomic.Int64
	outcomes := make(chan xapi.CallMetric, 100)
	c := s.dial(t, func(o *xapi.Options) {
		o.Metrics = &xapi.Metrics{
			Call: func(m xapi.CallMetric) {
				outcomes <- m
				sent.Add(m.Up)
				received.Add(m.Down)
			},
			Task:  func(xapi.TaskMetric) { tasks.Add(1) },
			Moved: func(u, d int) { up.Add(int64(u)); down.Add(int64(d)) },
		}
	})
	d, err := c.ExportVDI(t.Context(), "OpaqueRef:vdi", nil)
	require.NoError(t, err)
	require.NoError(t, d.Finish(t.Context()))
	require.NoError(t, c.ImportVDI(t.Context(), "OpaqueRef:vdi", int64(len(data)), bytes.NewReader(data), nil))
	require.ErrorIs(t, c.Call(t.Context(), "VM.none", nil), xapi.ErrMessageMethodUnknown)
	require.Equal(t, int64(len(data)), up.Load())
	require.Equal(t, int64(len(data)), down.Load())
	require.Equal(t, int64(2), tasks.Load())
	require.Greater(t, sent.Load(), int64(500))
	require.Greater(t, received.Load(), int64(500))
	require.NoError(t, c.Close())
	close(outcomes)
	seen := map[string]string{}
	for m := range outcomes {
		require.Equal(t, strings.TrimPrefix(s.URL, "http://"), m.Host)
		seen[m.Method] = m.Outcome
	}
	require.Empty(t, seen["session.login_with_password"])
	require.Equal(t, "MESSAGE_METHOD_UNKNOWN", seen["VM.none"])
}

// A host may refer to another one's address on the transfer network at once. Who is there must be the host, not just anybody.
func TestARedirectToATransferAddressIsProvenByTheHostsPin(t *testing.T) {
	t.Parallel()
	for _, genuine := range []bool{false, true} {
		s := newServer(t)
		s.twoHosts(map[string]string{"xo:backupNetwork": "backup-uuid"})
		authority := (*authority)(nil)
		masters, others := authority.issue(t, time.Hour, "master"), authority.issue(t, time.Hour, "other")
		here, there := serveTLS(t, masters, s.mux), serveTLS(t, others, s.mux)
		if !genuine {
			there = serveTLS(t, authority.issue(t, time.Hour, "somebody"), s.mux)
		}
		s.mux.HandleFunc("GET /export_raw_vdi", func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.Host, "127.0.0.3:") {
				http.Redirect(w, r, "https://[fd00::2]:"+port(t, here.URL)+r.URL.String(), http.StatusFound)
				return
			}
			s.settle(task(r), "success", "")
		})
		c, err := xapi.Dial(t.Context(), here.URL, &xapi.Options{
			Password: password, TransferNetwork: xapi.PoolBackupNetwork, CancelTimeout: time.Second, InsecureTLS: true,
			Pins: map[string][]xapi.Fingerprint{"127.0.0.1": {fingerprintOf(masters)}, "127.0.0.2": {fingerprintOf(others)}},
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				to := here.Listener.Addr().String()
				if strings.HasPrefix(address, "[fd00::2]:") {
					to = there.Listener.Addr().String()
				}
				return new(net.Dialer).DialContext(ctx, network, to)
			},
		})
		require.NoError(t, err)
		d, err := c.ExportVDI(t.Context(), "OpaqueRef:vdi", nil)
		if genuine {
			require.NoError(t, err)
			require.NoError(t, d.Finish(t.Context()))
			require.Equal(t, 1, there.seen())
		} else {
			require.ErrorIs(t, err, xapi.ErrUntrusted)
			requireNoSecret(t, err)
			require.Zero(t, there.seen())
		}
		require.NoError(t, c.Close())
		require.Zero(t, s.leftTasks())
	}
}
