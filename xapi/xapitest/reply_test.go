package xapitest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

func TestRepliesTakeThePlaceOfAnswers(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 8*mib))
	c := p.Client(t)
	vm := p.VM("web")

	p.Reply("VM.snapshot", xapitest.OnCall(2), xapitest.Reply{Status: http.StatusBadGateway, Body: "<p>gone</p>"})
	require.NoError(t, c.CallAsync(t.Context(), "VM.snapshot", nil, vm.Ref, "a"))
	err := c.CallAsync(t.Context(), "VM.snapshot", nil, vm.Ref, "b")
	require.ErrorIs(t, err, xapi.ErrProtocol)
	require.ErrorContains(t, err, "502")
	require.Len(t, p.Snapshots(), 1, "it was not called")

	p.Reply("VM.set_name_description", xapitest.OnCall(1), xapitest.Reply{
		Header: map[string]string{"Content-Type": "application/json"}, Body: `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"NO"}}`, Done: true,
	})
	require.ErrorIs(t, c.Call(t.Context(), "VM.set_name_description", nil, vm.Ref, "new"), &xapi.Error{Code: "NO"})
	require.Equal(t, "new", call[string](t, c, "VM.get_name_description", vm.Ref), "it was called")

	p.Reply("GET /export_raw_vdi", xapitest.OnCall(1), xapitest.Reply{Status: http.StatusFound, Redirect: "http://elsewhere.example"})
	ref := task(t, c)
	path := fmt.Sprintf("/export_raw_vdi?session_id=%s&task_id=%s&vdi=%s", login(t, p), ref, vm.Disks[0].Ref)
	answer, err := talk(t, p, "GET "+path+" HTTP/1.0\r\n\r\n")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(answer, "HTTP/1.1 302 Found\r\n"), answer)
	require.Contains(t, answer, "\r\nLocation: http://elsewhere.example"+path+"\r\n")
	require.Len(t, p.Leaks(), 1, "its task is pending")
	require.NoError(t, c.Call(t.Context(), "task.destroy", nil, ref))
}
