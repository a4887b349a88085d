package xapitest_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

func TestFaultStrikesTheNthCallOfEitherForm(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 8*mib))
	c := p.Client(t)
	p.Fail("VM.snapshot", xapitest.OnCall(2), &xapi.Error{Code: "SR_BACKEND_FAILURE_109", Params: []string{"", "chain too long", ""}})
	vm := p.VM("web").Ref
	require.NoError(t, c.CallAsync(t.Context(), "VM.snapshot", nil, vm, "a"))
	err := c.Call(t.Context(), "VM.snapshot", nil, vm, "b")
	refused, ok := errors.AsType[*xapi.Error](err)
	require.True(t, ok)
	require.Equal(t, []string{"", "chain too long", ""}, refused.Params)
	require.NoError(t, c.CallAsync(t.Context(), "VM.snapshot", nil, vm, "c"))
	require.Len(t, p.Snapshots(), 2)
	calls := p.Calls()
	require.Equal(t, "session.login_with_password", calls[0].Method)
	require.Equal(t, "***", calls[0].Args[1])
	require.Equal(t, "VM.snapshot[map[]]", xapitest.Call{Method: "VM.snapshot", Args: []any{map[string]string{}}}.String())
}

func TestUnusedFaultFailsClose(t *testing.T) {
	t.Parallel()
	p, err := xapitest.Start(xapitest.Inventory{}, nil)
	require.NoError(t, err)
	p.Fail("VM.snapshot", xapitest.OnCall(1), xapi.ErrSRFull)
	p.CutExport(10)
	err = p.Close()
	require.ErrorContains(t, err, "VM.snapshot (0 matching calls), GET /export_raw_vdi (0 matching calls)")
	require.Equal(t, err, p.Close(), "closing again says the same")
}

func TestBrokenExportEndsAtTheByte(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 8*mib))
	c := p.Client(t)
	fill(t, p.VM("web").Disks[0].Path, 0, 4*mib, 1)
	snap := snapshot(t, p, c, "s")
	session := login(t, p)
	for _, after := range []int64{0, 1, 2560, 3 * mib} {
		for _, how := range []xapitest.Ending{xapitest.Cut, xapitest.Reset} {
			p.Break("GET /export_raw_vdi", xapitest.OnCall(1), after, how)
			ref := task(t, c)
			answer, err := talk(t, p, fmt.Sprintf("GET /export_raw_vdi?session_id=%s&task_id=%s&vdi=%s&format=vhd HTTP/1.1\r\n\r\n", session, ref, snap.Disks[0].Ref))
			if how == xapitest.Cut {
				require.NoError(t, err)
				_, body, _ := strings.Cut(answer, "\r\n\r\n")
				require.Len(t, body, int(after))
			} else {
				require.Error(t, err)
			}
			require.EqualValues(t, "failure", finished(t, c, ref).Status)
		}
	}
	require.Empty(t, p.Leaks())
}

func TestFailedTransferShowsInBodyAndTask(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 8*mib))
	c := p.Client(t)
	p.Fail("GET /export_raw_vdi", xapitest.OnCall(1), &xapi.Error{Code: "VDI_IO_ERROR", Params: []string{"disk"}})
	ref := task(t, c)
	answer, err := talk(t, p, fmt.Sprintf("GET /export_raw_vdi?session_id=%s&task_id=%s&vdi=%s HTTP/1.1\r\n\r\n", login(t, p), ref, p.VM("web").Disks[0].Ref))
	require.NoError(t, err)
	_, body, _ := strings.Cut(answer, "\r\n\r\n")
	require.True(t, strings.HasPrefix(body, "HTTP/1.1 500 "))
	require.Equal(t, []string{"VDI_IO_ERROR", "disk"}, finished(t, c, ref).ErrorInfo)
}

func TestStalledExportEndsWithTheClientOrItsTask(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 8*mib))
	c := p.Client(t)
	for name, stop := range map[string]func(body io.Closer, task string){
		"client leaves":  func(body io.Closer, _ string) { require.NoError(t, body.Close()) },
		"task cancelled": func(_ io.Closer, task string) { call[any](t, c, "task.cancel", task) },
	} {
		p.StallExport(600)
		ref := task(t, c)
		resp := get(t, fmt.Sprintf("%s/export_raw_vdi?session_id=%s&task_id=%s&vdi=%s", p.URL(), login(t, p), ref, p.VM("web").Disks[0].Ref))
		defer func() { _ = resp.Body.Close() }()
		_, err := io.ReadFull(resp.Body, make([]byte, 600))
		require.NoError(t, err)
		require.Len(t, p.Leaks(), 2, "a pending task, a disk at the control domain")
		stop(resp.Body, ref)
		require.NotEqual(t, "success", finished(t, c, ref).Status, name)
	}
	require.Empty(t, p.Leaks())
}

func TestBrokenImportFailsItsTask(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, xapitest.Inventory{})
	c := p.Client(t)
	ref, _ := newDisk(t, p, c, 8*mib)
	for _, how := range []xapitest.Ending{xapitest.Cut, xapitest.Reset} {
		p.Break("PUT /import_raw_vdi", xapitest.OnCall(1), 3*mib, how)
		err := c.ImportVDI(t.Context(), xapi.Ref[xapi.VDI](ref), 8*mib, strings.NewReader(strings.Repeat("x", 8*mib)), &xapi.ImportVDIOptions{Format: "raw"})
		require.ErrorIs(t, err, xapi.ErrVDIIOError)
	}
	require.Empty(t, p.Leaks())
}

func TestStalledImportEndsWithItsTask(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, xapitest.Inventory{})
	ref, _ := newDisk(t, p, p.Client(t), 64*mib)
	limit := 300 * time.Millisecond
	c, err := xapi.Dial(t.Context(), p.URL(), &xapi.Options{Password: xapi.Secret(p.Password()), StallTimeout: limit, CancelTimeout: limit})
	require.NoError(t, err)
	p.Break("PUT /import_raw_vdi", xapitest.OnCall(1), 3*mib, xapitest.Stall)
	err = c.ImportVDI(t.Context(), xapi.Ref[xapi.VDI](ref), 64*mib, zeros{}, &xapi.ImportVDIOptions{Format: "raw"})
	require.ErrorIs(t, err, xapi.ErrStalled)
	for _, call := range p.Calls() {
		if call.Method == "PUT /import_raw_vdi" {
			query, _ := call.Args[0].(map[string]string)
			gone(t, c, query["task_id"])
		}
	}
	require.Empty(t, p.Leaks())
	require.NoError(t, c.Close())
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
