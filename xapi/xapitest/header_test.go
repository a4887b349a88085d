package xapitest_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// A slave that refers to the master tells its certificate to who asks, so that
// the client may trust what it finds there.
func TestSlaveTellsTheThumbprintOfTheMaster(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPoolWith(t, xapitest.Inventory{Hosts: []xapitest.Host{{}, {}}}, &xapitest.Options{TLS: true, Listener: xapitest.NewMemoryListener()})
	client := &http.Client{Transport: p.Transport()}
	sum := sha256.Sum256(p.Hosts()[0].Certificate.Raw)
	for host, asked := range map[int]string{0: "sha-256:master", 1: "sha-256:master", -1: ""} {
		url := p.Hosts()[max(host, -host)].URL
		body := strings.NewReader(`{"id":1,"method":"session.login_with_password","params":["root",""]}`)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/jsonrpc", body)
		require.NoError(t, err)
		if asked != "" {
			req.Header.Set("X-Xenapi-Request-Host-Certificate-Thumbprint", asked)
		}
		resp, err := client.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		got := resp.Header.Get("X-Xenapi-Response-Host-Certificate-Thumbprint")
		if host == 1 {
			require.Equal(t, hex.EncodeToString(sum[:]), strings.ReplaceAll(got, ":", ""))
			require.Len(t, got, 95)
		} else {
			require.Empty(t, got)
		}
	}
	client.CloseIdleConnections()
}

// The 801st client is not refused: it waits until another leaves.
func TestConnectionsBeyondTheLimitWait(t *testing.T) {
	t.Parallel()
	network := xapitest.NewMemoryListener()
	p := xapitest.NewPoolWith(t, xapitest.Inventory{}, &xapitest.Options{Listener: network})
	var conns []net.Conn
	for range 800 {
		conn, err := network.DialContext(t.Context(), "", "")
		require.NoError(t, err)
		conns = append(conns, conn)
	}
	answered := make(chan string)
	go func() {
		conn, err := network.DialContext(t.Context(), "", "")
		if err == nil {
			_, _ = fmt.Fprint(conn, "GET /nothing HTTP/1.0\r\n\r\n")
			answer, _ := io.ReadAll(conn)
			answered <- string(answer)
		}
	}()
	select {
	case <-answered:
		t.Fatal("no one has left")
	default:
	}
	require.NoError(t, conns[0].Close())
	require.True(t, strings.HasPrefix(<-answered, "HTTP/1.0 404"))
	for _, conn := range conns {
		_ = conn.Close()
	}
	require.Empty(t, p.Leaks())
}
