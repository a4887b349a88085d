package xapitest_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// twoHosts is a pool with a repository that both hosts see and one of each.
func twoHosts() xapitest.Inventory {
	disk := func(sr string) []xapitest.Disk { return []xapitest.Disk{{SR: sr, Size: 8 * mib}} }
	return xapitest.Inventory{
		Hosts: []xapitest.Host{{Name: "one"}, {Name: "two"}},
		SRs: []xapitest.SR{
			{Name: "shared", Type: "nfs", Shared: true}, {Name: "local one"}, {Name: "local two", Hosts: []string{"two"}},
		},
		VMs: []xapitest.VM{
			{Name: "web", Disks: disk("shared")}, {Name: "a", Disks: disk("local one")}, {Name: "b", Disks: disk("local two"), Host: "two", PowerState: "Running"},
		},
	}
}

func inMemory(t *testing.T, inv xapitest.Inventory, opts xapitest.Options) *xapitest.Pool {
	t.Helper()
	opts.Listener = xapitest.NewMemoryListener()
	return xapitest.NewPoolWith(t, inv, &opts)
}

// noRedirects is a client of the pool that shows redirects.
func noRedirects(t *testing.T, p *xapitest.Pool) *http.Client {
	t.Helper()
	c := &http.Client{Transport: p.Transport(), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func TestSlavesReferToTheMaster(t *testing.T) {
	t.Parallel()
	p := inMemory(t, twoHosts(), xapitest.Options{})
	hosts := p.Hosts()
	require.True(t, hosts[0].Master)
	require.Equal(t, "127.0.0.2", hosts[1].Address)
	opts := &xapi.Options{Password: "simulated-secret", Transport: p.Transport()}
	c, err := xapi.Dial(t.Context(), hosts[1].URL, opts)
	require.NoError(t, err, "the client follows")
	require.NoError(t, c.Close())
	require.NoError(t, p.SetMaster("two"))
	require.Equal(t, hosts[1].URL, p.URL())
	c, err = xapi.Dial(t.Context(), hosts[0].URL, opts)
	require.NoError(t, err)
	require.Equal(t, hosts[1].Ref, call[map[string]map[string]any](t, c, "pool.get_all_records")[call[[]string](t, c, "pool.get_all")[0]]["master"])
	require.NoError(t, c.Close())
	require.Error(t, p.SetMaster("three"))
}

func TestSlavesListenOnAddressesOfTheirOwn(t *testing.T) {
	t.Parallel()
	p, err := xapitest.Start(twoHosts(), &xapitest.Options{Dir: t.TempDir()})
	if err != nil {
		t.Skipf("this system has no 127.0.0.2: %v", err)
	}
	defer func() { require.NoError(t, p.Close()) }()
	one, err := url.Parse(p.Hosts()[0].URL)
	require.NoError(t, err)
	two, err := url.Parse(p.Hosts()[1].URL)
	require.NoError(t, err)
	require.Equal(t, "127.0.0.2:"+one.Port(), two.Host, "a client that follows HOST_IS_SLAVE keeps the port")
	resp := get(t, two.String()+"/nothing")
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
}

func TestTransfersAreSentToAHostThatSeesTheDisk(t *testing.T) {
	t.Parallel()
	p := inMemory(t, twoHosts(), xapitest.Options{})
	client := noRedirects(t, p)
	hosts := p.Hosts()
	for _, row := range []struct {
		vm       string
		at, goes int
	}{{"web", 0, 0}, {"web", 1, 1}, {"a", 0, 0}, {"a", 1, 0}, {"b", 0, 1}, {"b", 1, 1}} {
		path := "/export_raw_vdi?vdi=" + p.VM(row.vm).Disks[0].Ref + "&format=raw"
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, hosts[row.at].URL+path, http.NoBody)
		require.NoError(t, err)
		req.SetBasicAuth("root", "simulated-secret")
		resp, err := client.Do(req)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, errors.Join(err, resp.Body.Close()))
		if row.at == row.goes {
			require.Equal(t, http.StatusOK, resp.StatusCode, row)
		} else {
			require.Equal(t, http.StatusFound, resp.StatusCode, row)
			require.Equal(t, hosts[row.goes].URL+path, resp.Header.Get("Location"))
		}
	}
	// That a redirect left no task is for Close to find, which lets the exports end first.
}

func TestHostRestartCutsAllAndForgetsTheSessions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		p, err := xapitest.Start(twoHosts(), &xapitest.Options{Dir: dir, Listener: xapitest.NewMemoryListener()})
		require.NoError(t, err)
		opts := &xapi.Options{Password: "simulated-secret", Transport: p.Transport()}
		c, err := xapi.Dial(t.Context(), p.URL(), opts)
		require.NoError(t, err)
		var before, after struct{ Token string }
		for range 50 {
			require.NoError(t, c.Call(t.Context(), "VM.set_name_description", nil, p.VM("a").Ref, "x"))
		}
		require.NoError(t, c.Call(t.Context(), "event.from", &before, []string{"vm"}, "", 0.1))
		p.Hang("VM.snapshot", xapitest.OnCall(1))
		var task string
		require.NoError(t, c.Call(t.Context(), "Async.VM.snapshot", &task, p.VM("a").Ref, "s"))
		synctest.Wait()
		require.NoError(t, p.RestartHost("one"))
		synctest.Wait()
		require.ErrorIs(t, c.Call(t.Context(), "task.get_status", nil, task), xapi.ErrHandleInvalid, "after a new login")
		require.NoError(t, c.Call(t.Context(), "event.from", &after, []string{"vm"}, "", 0.1))
		require.Less(t, after.Token, before.Token, "the generation went back")
		require.Error(t, p.RestartHost("three"))
		require.NoError(t, c.Close())
		require.NoError(t, p.Close())
	})
}

func TestEachHostShowsItsOwnCertificate(t *testing.T) {
	t.Parallel()
	p := inMemory(t, twoHosts(), xapitest.Options{TLS: true})
	require.True(t, strings.HasPrefix(p.URL(), "https://"))
	require.Contains(t, string(p.CertificatePEM()), "BEGIN CERTIFICATE")
	require.Len(t, p.Fingerprint(), 64)
	hosts := p.Hosts()
	require.NotEqual(t, hosts[0].Certificate.Raw, hosts[1].Certificate.Raw)
	c := p.Client(t)
	require.Len(t, call[[]string](t, c, "host.get_all"), 2)
	for _, h := range hosts {
		resp, err := noRedirects(t, p).Get(h.URL + "/nothing") //nolint:noctx // the test's
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, h.Certificate.Raw, resp.TLS.PeerCertificates[0].Raw)
	}
}

func TestGivenCertificateIsShown(t *testing.T) {
	t.Parallel()
	made := xapitest.NewPoolWith(t, xapitest.Inventory{}, &xapitest.Options{TLS: true})
	_ = made.Client(t)
	require.Empty(t, xapitest.NewPool(t, xapitest.Inventory{}).Fingerprint())
	_, err := xapi.Dial(t.Context(), made.URL(), &xapi.Options{Password: "simulated-secret"})
	_, unverified := errors.AsType[*tls.CertificateVerificationError](err)
	require.True(t, unverified, err)
}
