package xapitest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

func TestEnvelopesAreThoseOfTheXenAPI(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, xapitest.Inventory{Name: "lab"})
	s := login(t, p)
	for _, c := range []struct{ name, body, want string }{
		{"2.0", `{"jsonrpc":"2.0","id":"a","method":"pool.get_all_records_where","params":["S","false"]}`, `{"id":"a","jsonrpc":"2.0","result":{}}`},
		{"void is an empty string", `{"jsonrpc":"2.0","id":7,"method":"session.set_other_config","params":["S","S",{}]}`, `{"id":7,"jsonrpc":"2.0","result":""}`},
		{
			"2.0 failure", `{"jsonrpc":"2.0","id":1,"method":"VM.get_uuid","params":["S","OpaqueRef:x"]}`,
			`{"error":{"code":1,"data":["VM","OpaqueRef:x"],"message":"HANDLE_INVALID"},"id":1,"jsonrpc":"2.0"}`,
		},
		{"1.0", `{"id":1,"method":"VM.get_by_name_label","params":["S","none"]}`, `{"error":null,"id":1,"result":[]}`},
		{"1.0 failure", `{"id":1,"method":"VM.get_by_uuid","params":["S","u"]}`, `{"error":["UUID_INVALID","VM","u"],"id":1,"result":null}`},
		{
			"no session", `{"jsonrpc":"2.0","id":1,"method":"VM.get_all","params":["OpaqueRef:x"]}`,
			`{"error":{"code":1,"data":["OpaqueRef:x"],"message":"SESSION_INVALID"},"id":1,"jsonrpc":"2.0"}`,
		},
		{
			"unknown method", `{"jsonrpc":"2.0","id":1,"method":"VM.fly","params":["S"]}`,
			`{"error":{"code":1,"data":["VM.fly"],"message":"MESSAGE_METHOD_UNKNOWN"},"id":1,"jsonrpc":"2.0"}`,
		},
		{
			"wrong number of arguments", `{"jsonrpc":"2.0","id":1,"method":"VM.snapshot","params":["S","v"]}`,
			`{"error":{"code":1,"data":["VM.snapshot","3","1"],"message":"MESSAGE_PARAMETER_COUNT_MISMATCH"},"id":1,"jsonrpc":"2.0"}`,
		},
		{
			"wrong type", `{"jsonrpc":"2.0","id":1,"method":"VM.set_name_label","params":["S","v",1.5]}`,
			`{"error":{"code":1,"data":["value"],"message":"FIELD_TYPE_ERROR"},"id":1,"jsonrpc":"2.0"}`,
		},
		{
			"wrong password", `{"jsonrpc":"2.0","id":1,"method":"session.login_with_password","params":["root","x","1.0","me"]}`,
			`{"error":{"code":1,"data":["root","Authentication failure"],"message":"SESSION_AUTHENTICATION_FAILED"},"id":1,"jsonrpc":"2.0"}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			status, kind, answer := post(t, p, strings.ReplaceAll(c.body, `"S"`, `"`+s+`"`))
			require.Equal(t, 200, status)
			require.Equal(t, "application/json", kind)
			if diff := cmp.Diff(c.want, answer); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUnusableRequestsAreErrorPages(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, xapitest.Inventory{})
	for name, body := range map[string]string{
		"no json": "hello", "no id": `{"jsonrpc":"2.0","method":"a.b","params":[]}`, "no params": `{"jsonrpc":"2.0","id":1,"method":"a.b"}`,
		"null id": `{"jsonrpc":"2.0","id":null,"method":"a.b","params":[]}`, "too long": `{"id":1,"method":"a.b","params":["` + strings.Repeat("x", 300<<10) + `"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			head := fmt.Sprintf("POST /jsonrpc HTTP/1.1\r\nHost: p\r\nContent-Length: %d\r\n\r\n", len(body))
			if len(body) > 300<<10 {
				body = "" // refused by its length alone
			}
			answer, _ := talk(t, p, head+body)
			require.Contains(t, answer, "HTTP/1.1 500 Internal Server Error\r\n")
			require.Contains(t, answer, "content-type: text/html\r\n")
			require.Contains(t, answer, "connection: close\r\n")
		})
	}
}

func TestHTTPServerHasTheLimitsOfAHost(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, xapitest.Inventory{})
	for _, c := range []struct{ name, request, want string }{
		{"long header", "GET / HTTP/1.1\r\nHost: p\r\nX: " + strings.Repeat("y", 1000) + "\r\n\r\n", " 431 "},
		{"chunked call", "POST /jsonrpc HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", " 500 "},
		{"unknown path", "GET /nothing HTTP/1.1\r\nHost: p\r\n\r\n", " 404 "},
		{"unknown upload", "PUT /nothing HTTP/1.1\r\nHost: p\r\n\r\n", " 403 "},
		{"unknown method", "DELETE / HTTP/1.1\r\nHost: p\r\n\r\n", " 501 "},
		{"version is mirrored", "POST /jsonrpc HTTP/1.0\r\nContent-Length: 0\r\n\r\n", "HTTP/1.0 500 "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			answer, _ := talk(t, p, c.request)
			require.Contains(t, answer, c.want)
		})
	}
}
