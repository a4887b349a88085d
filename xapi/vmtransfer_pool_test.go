package xapi_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
	"github.com/xenbackup/xenbackup/xva"
)

func vmOf(p *xapitest.Pool) xapi.Ref[xapi.VM] { return xapi.Ref[xapi.VM](p.VM("web").Ref) }

// exported reads a VM to the end of its archive, then asks the pool.
func exported(t *testing.T, c *xapi.Client, vm xapi.Ref[xapi.VM], compression xapi.Compression) ([]byte, error) {
	t.Helper()
	d, err := c.ExportVM(t.Context(), vm, &xapi.ExportVMOptions{Compression: compression})
	if err != nil {
		return nil, err
	}
	defer func() { require.NoError(t, d.Close()) }()
	var raw bytes.Buffer
	r, err := xva.NewReader(io.TeeReader(d, &raw), nil)
	for err == nil {
		_, err = r.Next()
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return raw.Bytes(), errors.Join(err, d.Finish(t.Context()))
}

func requireCopy(t *testing.T, p *xapitest.Pool, content []byte, vms []xapi.Ref[xapi.VM]) {
	t.Helper()
	require.Len(t, vms, 1)
	for _, vm := range p.VMs() {
		if vm.Ref != string(vms[0]) {
			continue
		}
		require.Len(t, vm.Disks, 1)
		got, err := os.ReadFile(vm.Disks[0].Path)
		require.NoError(t, err)
		require.True(t, bytes.Equal(content, got))
		return
	}
	t.Fatalf("no VM %s", vms[0])
}

func TestPoolVMMakesTheRoundTrip(t *testing.T) {
	t.Parallel()
	content := append(pattern(2<<20), append(make([]byte, 3<<20), pattern(1<<20)...)...)
	for _, compression := range []xapi.Compression{xapi.CompressNone, xapi.CompressGzip, xapi.CompressZstd} {
		t.Run("compression "+string(compression), func(t *testing.T) {
			t.Parallel()
			p, c := newPool(t, content)
			raw, err := exported(t, c, vmOf(p), compression)
			require.NoError(t, err)
			vms, err := c.ImportVM(t.Context(), int64(len(raw)), bytes.NewReader(raw), &xapi.ImportVMOptions{SR: xapi.Ref[xapi.SR](p.SR("local").Ref)})
			require.NoError(t, err)
			requireCopy(t, p, content, vms)
			require.Empty(t, p.Leaks())

			vms, err = c.ImportVM(t.Context(), xapi.UnknownLength, bytes.NewReader(raw), nil)
			if compression != xapi.CompressNone {
				require.ErrorIs(t, err, xapi.ErrLengthRequired)
				return
			}
			require.NoError(t, err)
			requireCopy(t, p, content, vms)
		})
	}
}

// From pool to pool, nothing in between, nobody knows the length.
func TestPoolVMIsCopiedToAnotherPool(t *testing.T) {
	t.Parallel()
	content := append(pattern(2<<20), make([]byte, 6<<20)...)
	p, c := newPool(t, content)
	other, to := newPool(t, make([]byte, 1<<20))
	d, err := c.ExportVM(t.Context(), vmOf(p), nil)
	require.NoError(t, err)
	vms, err := to.ImportVM(t.Context(), xapi.UnknownLength, d, nil)
	require.NoError(t, err)
	require.NoError(t, d.Finish(t.Context()))
	requireCopy(t, other, content, vms)
}

func TestPoolVMExportFaultsAreTyped(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]struct {
		how  xapitest.Ending
		want error
	}{
		"cut": {xapitest.Cut, xva.ErrTruncated}, "reset": {xapitest.Reset, nil}, "stall": {xapitest.Stall, xapi.ErrStalled},
		"page": {xapitest.ErrorPage, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, c := newStallingPool(t, pattern(4<<20), patienceFor(fault.how))
			p.Break("GET /export", xapitest.OnCall(1), 3<<20, fault.how)
			_, err := exported(t, c, vmOf(p), xapi.CompressNone)
			require.Error(t, err)
			if fault.want != nil {
				require.ErrorIs(t, err, fault.want)
			}
			require.Empty(t, p.Leaks())
		})
	}
}

func TestPoolVMExportOfARunningVMIsRefused(t *testing.T) {
	t.Parallel()
	p, c := newPool(t, pattern(1<<20))
	require.NoError(t, c.CallAsync(t.Context(), "VM.start", nil, vmOf(p), false, false))
	_, err := exported(t, c, vmOf(p), xapi.CompressNone)
	require.ErrorIs(t, err, xapi.ErrVMBadPowerState)
	require.Empty(t, p.Leaks())
}

func TestPoolKeepsNothingOfABrokenImport(t *testing.T) {
	t.Parallel()
	p, c := newStallingPool(t, pattern(16<<20), 2*time.Second) // more than the kernel buffers on the way
	raw, err := exported(t, c, vmOf(p), xapi.CompressNone)
	require.NoError(t, err)
	damaged := bytes.Clone(raw)
	damaged[len(damaged)/2] ^= 1
	for name, body := range map[string]io.Reader{"damaged": bytes.NewReader(damaged), "short": bytes.NewReader(raw[:len(raw)/2])} {
		vms, err := c.ImportVM(t.Context(), int64(len(raw)), body, nil)
		require.Error(t, err, name)
		require.Empty(t, vms)
		require.Len(t, p.VMs(), 1)
	}
	for _, how := range []xapitest.Ending{xapitest.Cut, xapitest.Reset, xapitest.Stall} {
		p.Break("PUT /import", xapitest.OnCall(1), 1<<20, how)
		vms, err := c.ImportVM(t.Context(), int64(len(raw)), bytes.NewReader(raw), nil)
		require.Error(t, err)
		require.Empty(t, vms)
		require.Len(t, p.VMs(), 1)
	}
	require.Empty(t, p.Leaks())
}

func TestPoolMetadataAndDatabaseAreRead(t *testing.T) {
	t.Parallel()
	p, c := newPool(t, pattern(1<<20))
	d, err := c.ExportMetadata(t.Context(), vmOf(p), nil)
	require.NoError(t, err)
	r, err := xva.NewReader(d, nil)
	require.NoError(t, err)
	var names []string
	for vm := range r.OVA().OfClass("VM") {
		names = append(names, vm.Text("name_label"))
	}
	require.Equal(t, []string{"web"}, names)
	require.NoError(t, d.Finish(t.Context()))

	d, err = c.DumpDatabase(t.Context(), nil)
	require.NoError(t, err)
	dump, err := io.ReadAll(d)
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(strings.TrimSpace(string(dump)), "</database>"), "%.200s", dump)
	require.NoError(t, d.Finish(t.Context()))
	require.Empty(t, p.Leaks())
}
