package xapitest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// The limits are exact: one byte more is refused, what just fits is not.
func TestLimitsAreThoseOfAHost(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, xapitest.Inventory{})
	call := func(length int) string {
		body := `{"id":1,"method":"system.listMethods","params":[]}`
		body += strings.Repeat(" ", length-len(body))
		return fmt.Sprintf("POST /jsonrpc HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s", length, body)
	}
	answer, _ := talk(t, p, call(300<<10))
	require.True(t, strings.HasPrefix(answer, "HTTP/1.0 200 OK\r\n"))
	answer, _ = talk(t, p, strings.TrimRight(call(300<<10+1), " "))
	require.True(t, strings.HasPrefix(answer, "HTTP/1.0 500 Internal Server Error\r\n"))

	header := func(length int) string {
		const rest = "GET /nothing HTTP/1.0\r\nX: \r\n\r\n"
		return strings.Replace(rest, "X: ", "X: "+strings.Repeat("y", length-len(rest)), 1)
	}
	answer, _ = talk(t, p, header(1024))
	require.True(t, strings.HasPrefix(answer, "HTTP/1.0 404 Not Found\r\n"))
	answer, _ = talk(t, p, header(1025))
	require.True(t, strings.HasPrefix(answer, "HTTP/1.1 431 Request Header Fields Too Large\r\n"))
}

func TestUsersWhoMayOnlyReadTransferNothing(t *testing.T) {
	t.Parallel()
	p, err := xapitest.Start(oneVM("Halted", 2*mib), &xapitest.Options{
		Dir: t.TempDir(), Users: []xapitest.User{{Name: "guest", Password: "guest", ReadOnly: true}, {Name: "other", Password: "other"}},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	c := p.Client(t)
	_, _, answer := post(t, p, `{"id":1,"method":"session.login_with_password","params":["guest","guest"]}`)
	_, session, _ := strings.Cut(answer, `"result":"`)
	session, _, _ = strings.Cut(session, `"`)
	for _, path := range []string{"/export?uuid=" + p.VM("web").UUID, "/export_raw_vdi?vdi=" + p.VM("web").Disks[0].UUID, "/pool/xmldbdump?"} {
		ref := task(t, c)
		resp := get(t, p.URL()+path+"&session_id="+session+"&task_id="+ref)
		require.Equal(t, http.StatusForbidden, resp.StatusCode, path)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, "RBAC_PERMISSION_DENIED", finished(t, c, ref).ErrorInfo[0], path)
		for user, want := range map[string]int{"guest": 403, "other": 200, "nobody": 401} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL()+path, http.NoBody)
			require.NoError(t, err)
			req.SetBasicAuth(user, user)
			resp, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			require.Equal(t, want, resp.StatusCode, "%s %s", user, path)
			require.NoError(t, resp.Body.Close())
		}
	}
	p.Expect("is pending") // downloads that nobody has read
}
