package xapitest_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// ask makes a call on its own connection and returns the answer, or how the
// connection ended.
func ask(t *testing.T, p *xapitest.Pool, method string, params ...string) (string, error) {
	t.Helper()
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":["%s"]}`, method, strings.Join(params, `","`))
	return talk(t, p, fmt.Sprintf("POST /jsonrpc HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
}

func TestSessionExpiresEveryFewCalls(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 8*mib))
	p.Expire("*", xapitest.Every(3))
	c := p.Client(t)
	for range 10 {
		require.Len(t, call[[]string](t, c, "SR.get_all"), 1, "the client logs in again")
	}
	logins := 0
	for _, one := range p.Calls() {
		if one.Method == "session.login_with_password" {
			logins++
		}
	}
	require.Greater(t, logins, 3)
	require.Panics(t, func() { xapitest.Every(0) })
}

func TestAnswerBreaksAfterTheCallWasRun(t *testing.T) {
	t.Parallel()
	p, err := xapitest.Start(oneVM("Halted", 8*mib), &xapitest.Options{Dir: t.TempDir()})
	require.NoError(t, err)
	session, vm := login(t, p), p.VM("web").Ref
	for i, how := range []xapitest.Ending{xapitest.Cut, xapitest.Reset, xapitest.ErrorPage} {
		p.Break("VM.set_name_description", xapitest.OnCall(1), 20, how)
		answer, err := ask(t, p, "VM.set_name_description", session, vm, fmt.Sprint(i))
		switch how {
		case xapitest.Cut:
			require.NoError(t, err)
			require.Len(t, answer, 20)
		case xapitest.Reset:
			require.Error(t, err)
		default:
			require.Equal(t, "HTTP/1.1 500 ", answer[20:33])
		}
		answer, err = ask(t, p, "VM.get_name_description", session, vm)
		require.NoError(t, err)
		require.Contains(t, answer, fmt.Sprintf(`"result":"%d"`, i))
	}
	p.Break("VM.get_name_description", xapitest.OnCall(1), 10_000, xapitest.Cut)
	_, err = ask(t, p, "VM.get_name_description", session, vm)
	require.NoError(t, err)
	require.ErrorContains(t, p.Close(), "VM.get_name_description (1 matching calls)", "the answer was shorter")
}

func TestErrorPageFollowsTheFirstBytesOfAnExport(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 8*mib))
	c := p.Client(t)
	p.Break("GET /export_raw_vdi", xapitest.OnCall(1), mib, xapitest.ErrorPage)
	ref := task(t, c)
	answer, err := talk(t, p, fmt.Sprintf("GET /export_raw_vdi?session_id=%s&task_id=%s&vdi=%s HTTP/1.1\r\n\r\n", login(t, p), ref, p.VM("web").Disks[0].Ref))
	require.NoError(t, err)
	_, body, _ := strings.Cut(answer, "\r\n\r\n")
	require.Equal(t, "HTTP/1.1 500", body[mib:mib+12])
	require.EqualValues(t, "failure", finished(t, c, ref).Status)
}

func TestMasterRestartsOrMovesInTheMiddleOfAJob(t *testing.T) {
	t.Parallel()
	p := inMemory(t, twoHosts(), xapitest.Options{})
	client := noRedirects(t, p)
	post := func(host int, method string, params ...string) (string, error) {
		body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":["%s"]}`, method, strings.Join(params, `","`))
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.Hosts()[host].URL+"/jsonrpc", strings.NewReader(body))
		require.NoError(t, err)
		resp, err := client.Do(req)
		if err != nil {
			return "", err
		}
		defer func() { _ = resp.Body.Close() }()
		answer, err := io.ReadAll(resp.Body)
		return string(answer), err
	}
	logIn := func(host int) string {
		answer, err := post(host, "session.login_with_password", "root", "simulated-secret")
		require.NoError(t, err)
		_, session, _ := strings.Cut(answer, `"result":"`)
		return strings.TrimRight(session, `"}`+"\n")
	}
	session := logIn(0)
	p.Restart("VM.get_all", xapitest.OnCall(1))
	_, err := post(0, "VM.get_all", session)
	require.Error(t, err, "no answer")
	answer, err := post(0, "VM.get_all", session)
	require.NoError(t, err)
	require.Contains(t, answer, "SESSION_INVALID")

	session = logIn(0)
	p.MoveMaster("*", xapitest.OnCall(2), "two")
	answer, err = post(0, "VM.get_all", session)
	require.NoError(t, err)
	require.Contains(t, answer, "result")
	_, err = post(0, "VM.get_all", session)
	require.Error(t, err)
	answer, err = post(0, "VM.get_all", session)
	require.NoError(t, err)
	require.Contains(t, answer, `"data":["127.0.0.2"]`)
	require.Contains(t, answer, "HOST_IS_SLAVE")
	answer, err = post(1, "VM.get_all", logIn(1))
	require.NoError(t, err)
	require.Contains(t, answer, "result")
	require.Panics(t, func() { p.MoveMaster("*", xapitest.OnCall(2), "three") })
}

func TestFloodShowsEverythingAsChanged(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, xapitest.Inventory{VMs: xapitest.Fleet(50)})
	c := p.Client(t)
	var b batch
	require.NoError(t, c.Call(t.Context(), "event.from", &b, []string{"vm"}, "", 0.1))
	p.Flood("event.from", xapitest.OnCall(1))
	require.NoError(t, c.Call(t.Context(), "event.from", &b, []string{"vm"}, b.Token, 30.1))
	require.Len(t, b.Events, 51)
	require.Equal(t, "mod", b.Events[0].Operation)
}

func TestSlowAndWedgedCalls(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		p, err := xapitest.Start(oneVM("Halted", 8*mib), &xapitest.Options{Dir: dir, Listener: xapitest.NewMemoryListener()})
		require.NoError(t, err)
		c, err := xapi.Dial(t.Context(), p.URL(), &xapi.Options{Password: "simulated-secret", Transport: p.Transport()})
		require.NoError(t, err)
		vm := p.VM("web")
		p.Slow("VM.get_uuid", xapitest.OnCall(1), time.Minute)
		began := time.Now()
		require.NoError(t, c.Call(t.Context(), "VM.get_uuid", nil, vm.Ref))
		require.Equal(t, time.Minute, time.Since(began))

		p.Slow("GET /export_raw_vdi", xapitest.OnCall(1), time.Second)
		began = time.Now()
		d, err := c.ExportVDI(t.Context(), xapi.Ref[xapi.VDI](vm.Disks[0].Ref), &xapi.ExportVDIOptions{Format: "raw"})
		require.NoError(t, err)
		n, err := io.Copy(io.Discard, d)
		require.NoError(t, err)
		require.EqualValues(t, 8*mib, n)
		require.NoError(t, d.Finish(t.Context()))
		require.GreaterOrEqual(t, time.Since(began), 4*time.Second, "for each block")

		p.Wedge("VM.snapshot", xapitest.OnCall(1))
		var task, status string
		require.NoError(t, c.Call(t.Context(), "Async.VM.snapshot", &task, vm.Ref, "s"))
		synctest.Wait()
		require.NoError(t, c.Call(t.Context(), "task.cancel", nil, task))
		synctest.Wait()
		require.NoError(t, c.Call(t.Context(), "task.get_status", &status, task))
		require.Equal(t, "pending", status)
		require.Len(t, p.Leaks(), 1, "nobody waits for it")
		require.NoError(t, p.RestartHost("host-1"))
		synctest.Wait()
		require.ErrorIs(t, c.Call(t.Context(), "task.get_status", nil, task), xapi.ErrHandleInvalid)
		require.NoError(t, c.Close())
		require.NoError(t, p.Close())
	})
}
