package xapi_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// newPool is a simulated pool with one VM, web, whose one disk holds content.
func newPool(t *testing.T, content []byte) (*xapitest.Pool, *xapi.Client) {
	t.Helper()
	return newStallingPool(t, content, time.Minute)
}

// newStallingPool is for faults after which nothing moves.
func newStallingPool(t *testing.T, content []byte, stall time.Duration) (*xapitest.Pool, *xapi.Client) {
	t.Helper()
	image := filepath.Join(t.TempDir(), "disk.raw")
	require.NoError(t, os.WriteFile(image, content, 0o600))
	p := xapitest.NewPool(t, xapitest.Inventory{
		SRs: []xapitest.SR{{Name: "local"}},
		VMs: []xapitest.VM{{Name: "web", Disks: []xapitest.Disk{{Name: "root", Content: image}}}},
	})
	c, err := xapi.Dial(t.Context(), p.URL(), &xapi.Options{
		Password: xapi.Secret(p.Password()), StallTimeout: stall, CancelTimeout: 2 * time.Second,
		PollInterval: 20 * time.Millisecond,
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return p, c
}

// patienceFor is short where it will be needed.
func patienceFor(fault xapitest.Ending) time.Duration {
	if fault == xapitest.Stall {
		return time.Second
	}
	return time.Minute
}

func vdiOf(p *xapitest.Pool) xapi.Ref[xapi.VDI] { return xapi.Ref[xapi.VDI](p.VM("web").Disks[0].Ref) }

func TestPoolRawRoundTrip(t *testing.T) {
	t.Parallel()
	content := pattern(4 << 20)
	p, c := newPool(t, content)
	record, err := xapi.Get(t.Context(), c, vdiOf(p))
	require.NoError(t, err)
	require.Equal(t, int64(len(content)), record.VirtualSize)

	d, err := c.ExportVDI(t.Context(), vdiOf(p), &xapi.ExportVDIOptions{Format: "raw"})
	require.NoError(t, err)
	got, err := io.ReadAll(d)
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, got))
	require.NoError(t, d.Finish(t.Context()))

	var vdi xapi.Ref[xapi.VDI]
	disk := xapi.VDI{NameLabel: "copy", SR: record.SR, VirtualSize: record.VirtualSize, Type: "user"}
	require.NoError(t, c.CallAsync(t.Context(), "VDI.create", &vdi, disk))
	require.NoError(t, c.ImportVDI(t.Context(), vdi, int64(len(content)), bytes.NewReader(content), &xapi.ImportVDIOptions{Format: "raw"}))
	made, err := xapi.Get(t.Context(), c, vdi)
	require.NoError(t, err)
	path, err := p.VDIPath(made.UUID)
	require.NoError(t, err)
	written, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, written))
	require.Empty(t, p.Leaks())
}

func TestPoolExportFaultsAreTyped(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]struct {
		how  xapitest.Ending
		want error
	}{
		"cut": {xapitest.Cut, xapi.ErrVDIIOError}, "reset": {xapitest.Reset, xapi.ErrVDIIOError}, "stall": {xapitest.Stall, xapi.ErrStalled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, c := newStallingPool(t, pattern(8<<20), patienceFor(fault.how))
			p.Break("GET /export_raw_vdi", xapitest.OnCall(1), 3<<20, fault.how)
			d, err := c.ExportVDI(t.Context(), vdiOf(p), nil)
			require.NoError(t, err)
			_, _ = io.Copy(io.Discard, d)
			require.ErrorIs(t, d.Finish(t.Context()), fault.want)
			require.NoError(t, d.Close())
			require.Empty(t, p.Leaks())
		})
	}
}

func TestPoolImportFaultsAreTyped(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]xapitest.Ending{"cut": xapitest.Cut, "reset": xapitest.Reset, "stall": xapitest.Stall} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := pattern(16 << 20) // more than the kernel buffers on the way
			p, c := newStallingPool(t, make([]byte, len(data)), patienceFor(how))
			p.Break("PUT /import_raw_vdi", xapitest.OnCall(1), 1<<20, how)
			err := c.ImportVDI(t.Context(), vdiOf(p), int64(len(data)), bytes.NewReader(data), &xapi.ImportVDIOptions{Format: "raw"})
			require.Error(t, err)
			if how == xapitest.Stall {
				require.ErrorIs(t, err, xapi.ErrStalled)
			}
			require.Empty(t, p.Leaks())
		})
	}
}

func TestPoolCancelsAHangingSnapshot(t *testing.T) {
	t.Parallel()
	p, c := newPool(t, make([]byte, 1<<20))
	p.Hang("VM.snapshot", xapitest.OnCall(1))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := c.CallAsync(ctx, "VM.snapshot", nil, p.VM("web").Ref, "never")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Empty(t, p.Snapshots())
	require.Empty(t, p.Leaks())
}

func TestPoolSessionsEndDuringWork(t *testing.T) {
	t.Parallel()
	p, c := newPool(t, make([]byte, 1<<20))
	for range 3 {
		p.ExpireSessions()
		var snapshot xapi.Ref[xapi.VM]
		require.NoError(t, c.CallAsync(t.Context(), "VM.snapshot", &snapshot, p.VM("web").Ref, "s"))
		p.ExpireSessions()
		_, err := xapi.Get(t.Context(), c, snapshot)
		require.NoError(t, err)
		p.ExpireSessions()
		d, err := c.ExportVDI(t.Context(), vdiOf(p), nil)
		require.NoError(t, err)
		require.NoError(t, d.Finish(t.Context()))
	}
	require.Len(t, p.Snapshots(), 3)
}

func TestPoolErrorsKeepTheirCode(t *testing.T) {
	t.Parallel()
	p, c := newPool(t, make([]byte, 1<<20))
	_, err := xapi.ByUUID[xapi.VM](t.Context(), c, "no-such-uuid")
	require.ErrorIs(t, err, xapi.ErrUUIDInvalid)
	_, err = xapi.Get(t.Context(), c, xapi.Ref[xapi.VDI]("OpaqueRef:gone"))
	require.ErrorIs(t, err, xapi.ErrHandleInvalid)
	p.Fail("VDI.destroy", xapitest.OnCall(1), xapi.ErrVDIInUse)
	require.ErrorIs(t, c.CallAsync(t.Context(), "VDI.destroy", nil, vdiOf(p)), xapi.ErrVDIInUse)
}
