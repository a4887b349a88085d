package xapitest_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// apply reads a VHD stream to its end, writes its blocks over disk and returns
// their numbers.
func apply(t *testing.T, stream io.Reader, disk []byte) (blocks []uint32, r *vhd.StreamReader) {
	t.Helper()
	r, err := vhd.NewStreamReader(stream)
	require.NoError(t, err)
	buf := make([]byte, 2*mib)
	for {
		index, bitmap, err := r.Next(buf)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.Nil(t, bitmap, "hosts send full blocks")
		blocks = append(blocks, index)
		copy(disk[int(index)*2*mib:], buf)
	}
	require.NoError(t, r.Close())
	return blocks, r
}

// export downloads a disk through the client and applies it to disk.
func export(t *testing.T, c *xapi.Client, vdi, base string, disk []byte) ([]uint32, *vhd.StreamReader) {
	t.Helper()
	d, err := c.ExportVDI(t.Context(), xapi.Ref[xapi.VDI](vdi), &xapi.ExportVDIOptions{Base: xapi.Ref[xapi.VDI](base)})
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	blocks, r := apply(t, d, disk)
	require.NoError(t, d.Finish(t.Context()))
	return blocks, r
}

func TestFullExportHoldsTheFrozenContent(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Running", 9*mib))
	c := p.Client(t)
	live := p.VM("web").Disks[0].Path
	fill(t, live, 3*mib, 1000, 1)
	fill(t, live, 8*mib+100, 100, 2)
	fill(t, live, 0, 4096, 3)
	require.NoError(t, overwrite(live, make([]byte, 4096), 0), "allocated zeros are not data")
	snap := snapshot(t, p, c, "s")
	fill(t, live, 0, 9*mib, 4)
	got := make([]byte, 10*mib)
	blocks, r := export(t, c, snap.Disks[0].Ref, "", got)
	if diff := cmp.Diff([]uint32{1, 4}, blocks); diff != "" {
		t.Error(diff)
	}
	require.Equal(t, vhd.Dynamic, r.Type())
	require.EqualValues(t, 9*mib, r.Size())
	require.True(t, bytes.Equal(content(t, snap.Disks[0].Path), got[:9*mib]))
	require.Empty(t, p.Leaks())
}

func TestDeltaExportHoldsTheBlocksThatDiffer(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 8*mib))
	c := p.Client(t)
	vm := p.VM("web")
	live := vm.Disks[0].Path
	fill(t, live, 0, 6*mib, 1)
	base := snapshot(t, p, c, "base")
	fill(t, live, 2*mib+5, 1, 2)
	require.NoError(t, overwrite(live, make([]byte, 2*mib), 4*mib))
	require.NoError(t, c.CallAsync(t.Context(), "VDI.resize", nil, vm.Disks[0].Ref, int64(11*mib)))
	fill(t, live, 11*mib, 10, 3)
	next := snapshot(t, p, c, "next")
	got := append(content(t, base.Disks[0].Path), make([]byte, 4*mib)...)
	blocks, r := export(t, c, next.Disks[0].Ref, base.Disks[0].Ref, got)
	require.Equal(t, []uint32{1, 2, 5}, blocks)
	require.Equal(t, vhd.Differencing, r.Type())
	require.EqualValues(t, 12*mib, r.Size())
	require.True(t, bytes.Equal(content(t, next.Disks[0].Path), got))
	blocks, _ = export(t, c, next.Disks[0].Ref, next.Disks[0].Ref, got)
	require.Empty(t, blocks)
}

func TestExportStreamEndsWithTheConnection(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 8*mib))
	c := p.Client(t)
	fill(t, p.VM("web").Disks[0].Path, 0, 1, 1)
	snap := snapshot(t, p, c, "s")
	answer, err := talk(t, p, "GET /export_raw_vdi?session_id="+login(t, p)+"&vdi="+snap.Disks[0].UUID+"&format=VHD HTTP/1.1\r\nHost: p\r\n\r\n")
	require.NoError(t, err)
	head, body, found := bytes.Cut([]byte(answer), []byte("\r\n\r\n"))
	require.True(t, found)
	require.Contains(t, string(head), "HTTP/1.1 200 OK\r\nconnection: close")
	require.Contains(t, string(head), "\r\ntask-id: OpaqueRef:")
	require.Contains(t, string(head), "\r\ncontent-type: application/vhd")
	require.NotContains(t, string(head), "content-length")
	require.NotContains(t, string(head), "chunked")
	require.Len(t, body, 2048+512+(512+2*mib)+512)
	require.Equal(t, "caml", string(body[28:32]))
	require.Equal(t, make([]byte, 512), body[1536:2048])
}

func TestRawExportIsTheDisk(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 5*mib))
	c := p.Client(t)
	fill(t, p.VM("web").Disks[0].Path, 3*mib, 2*mib, 1)
	resp := get(t, p.URL()+"/export_raw_vdi?session_id="+login(t, p)+"&vdi="+p.VM("web").Disks[0].Ref)
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.True(t, bytes.Equal(content(t, p.VM("web").Disks[0].Path), got))
	require.EqualValues(t, "success", finished(t, c, resp.Header.Get("task-id")).Status)
}

func TestExportFailsAsAHostDoes(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Running", 8*mib))
	c := p.Client(t)
	session := login(t, p)
	vdi := p.VM("web").Disks[0].Ref
	for _, tt := range []struct {
		name, query string
		status      int
		code        string
		inBody      bool
	}{
		{"bad session", "session_id=OpaqueRef:no&vdi=" + vdi, http.StatusUnauthorized, "SESSION_AUTHENTICATION_FAILED", false},
		{"unknown disk", "session_id=" + session + "&vdi=OpaqueRef:no", http.StatusInternalServerError, "HANDLE_INVALID", false},
		{"unknown base", "session_id=" + session + "&vdi=" + vdi + "&base=no", http.StatusInternalServerError, "UUID_INVALID", false},
		{"unknown format", "session_id=" + session + "&format=gif&vdi=" + vdi, http.StatusNotFound, "INTERNAL_ERROR", false},
		{"disk in use", "session_id=" + session + "&format=vhd&vdi=" + vdi, http.StatusOK, "VDI_IN_USE", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ref := task(t, c)
			resp := get(t, p.URL()+"/export_raw_vdi?"+tt.query+"&task_id="+ref)
			defer func() { _ = resp.Body.Close() }()
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, tt.status, resp.StatusCode)
			require.Equal(t, tt.inBody, bytes.HasPrefix(body, []byte("HTTP/1.1 500 ")))
			rec := finished(t, c, ref)
			require.EqualValues(t, "failure", rec.Status)
			require.Equal(t, tt.code, rec.ErrorInfo[0])
		})
	}
}

func overwrite(path string, b []byte, off int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, off)
	return errors.Join(err, f.Close())
}
