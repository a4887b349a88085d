package xapitest_test

import (
	"bufio"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

const mib = 1 << 20

// oneVM is a pool with a VM called web that has one disk.
func oneVM(state string, size int64) xapitest.Inventory {
	return xapitest.Inventory{VMs: []xapitest.VM{{
		Name: "web", PowerState: state, Tags: []string{"prod"},
		Disks: []xapitest.Disk{{Name: "root", Size: size, Bootable: true}}, VIFs: []xapitest.VIF{{}},
	}}}
}

// post sends a body to /jsonrpc and returns the status, the content type and
// the answer.
func post(t *testing.T, p *xapitest.Pool, body string) (int, string, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL()+"/jsonrpc", strings.NewReader(body))
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(answer)
}

// login returns the reference of a new session.
func login(t *testing.T, p *xapitest.Pool) string {
	t.Helper()
	_, _, answer := post(t, p, `{"jsonrpc":"2.0","id":1,"method":"session.login_with_password","params":["root","simulated-secret"]}`)
	var result struct{ Result string }
	require.NoError(t, json.Unmarshal([]byte(answer), &result))
	require.Contains(t, result.Result, "OpaqueRef:")
	return result.Result
}

// talk sends bytes to the pool as they are and returns all it answers until it
// closes the connection.
func talk(t *testing.T, p *xapitest.Pool, request string) (answer string, err error) {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(p.URL(), "http://"))
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, request)
	require.NoError(t, err)
	all, err := io.ReadAll(bufio.NewReader(conn))
	return string(all), err
}

// cutTalk sends bytes and then closes its half of the connection. What the pool
// answers does not matter.
func cutTalk(t *testing.T, p *xapitest.Pool, request string) {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(p.URL(), "http://"))
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, request)
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.CloseWrite() // the pool may have been faster
	}
	_, _ = io.Copy(io.Discard, conn)
}

// call runs a method through the client of package xapi.
func call[T any](t *testing.T, c *xapi.Client, method string, args ...any) T {
	t.Helper()
	var result T
	require.NoError(t, c.Call(t.Context(), method, &result, args...))
	return result
}

// task creates a task as clients do before a transfer.
func task(t *testing.T, c *xapi.Client) string {
	t.Helper()
	return call[string](t, c, "task.create", "test", "")
}

// finished waits until a task is not pending and returns it.
func finished(t *testing.T, c *xapi.Client, ref string) *xapi.Task {
	t.Helper()
	token := ""
	for {
		rec, err := xapi.Get(t.Context(), c, xapi.Ref[xapi.Task](ref))
		require.NoError(t, err)
		if rec.Status != "pending" {
			return rec
		}
		var batch struct{ Token string }
		require.NoError(t, c.Call(t.Context(), "event.from", &batch, []string{"task/" + ref}, token, 30.1))
		token = batch.Token
	}
}

// gone waits until a task does not exist any more: its client has marked it.
func gone(t *testing.T, c *xapi.Client, ref string) {
	t.Helper()
	token := ""
	for c.Call(t.Context(), "task.get_status", nil, ref) == nil {
		var batch struct{ Token string }
		require.NoError(t, c.Call(t.Context(), "event.from", &batch, []string{"task/" + ref}, token, 30.1))
		token = batch.Token
	}
}

// fill writes n random bytes at off of a disk's file.
func fill(t *testing.T, path string, off, n int64, seed byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(random(n, seed), off)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func random(n int64, seed byte) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // never fails
	return b
}

// content reads a file.
func content(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Clean(path))
	require.NoError(t, err)
	return b
}

// snapshot makes a snapshot of web and returns it.
func snapshot(t *testing.T, p *xapitest.Pool, c *xapi.Client, name string) xapitest.VMInfo {
	t.Helper()
	var ref string
	require.NoError(t, c.CallAsync(t.Context(), "VM.snapshot", &ref, p.VM("web").Ref, name))
	for _, s := range p.Snapshots() {
		if s.Ref == ref {
			return s
		}
	}
	t.Fatalf("no snapshot %s", ref)
	return xapitest.VMInfo{}
}

func get(t *testing.T, url string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}
