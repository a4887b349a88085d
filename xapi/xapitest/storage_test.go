package xapitest_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/nbd"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// code is an error of the XenAPI by its code alone.
func code(name string) error { return &xapi.Error{Code: name} }

// chain returns the names of the ancestors of a disk by their uuids, the nearest
// first.
func chain(t *testing.T, c *xapi.Client, ref string) (uuids []string) {
	t.Helper()
	for {
		vdi, err := xapi.Get(t.Context(), c, xapi.Ref[xapi.VDI](ref))
		require.NoError(t, err)
		parent := vdi.SMConfig["vhd-parent"]
		if parent == "" {
			return uuids
		}
		uuids = append(uuids, parent)
		ref = call[string](t, c, "VDI.get_by_uuid", parent)
		require.False(t, call[bool](t, c, "VDI.get_managed", ref))
	}
}

// hidden counts the disks that nobody manages.
func hidden(t *testing.T, c *xapi.Client) (n int) {
	t.Helper()
	all, err := xapi.All[xapi.VDI](t.Context(), c)
	require.NoError(t, err)
	for _, vdi := range all {
		if !vdi.Managed {
			n++
		}
	}
	return n
}

// remove destroys a snapshot with its disks.
func remove(t *testing.T, c *xapi.Client, s xapitest.VMInfo) {
	t.Helper()
	call[any](t, c, "VM.destroy", s.Ref)
	for _, d := range s.Disks {
		call[any](t, c, "VDI.destroy", d.Ref)
	}
}

func TestRemovedSnapshotsAreCoalesced(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Running", 8*mib))
	c := p.Client(t)
	live := p.VM("web").Disks[0]
	require.Empty(t, chain(t, c, live.Ref))
	first := snapshot(t, p, c, "1")
	require.Equal(t, chain(t, c, first.Disks[0].Ref), chain(t, c, live.Ref))
	second := snapshot(t, p, c, "2")
	require.Len(t, chain(t, c, live.Ref), 2)
	require.Len(t, chain(t, c, first.Disks[0].Ref), 1)
	oldest := chain(t, c, first.Disks[0].Ref)[0]

	remove(t, c, first)
	require.Equal(t, []string{oldest}, chain(t, c, live.Ref), "the younger hidden disk is merged into the older")
	require.Equal(t, []string{oldest}, chain(t, c, second.Disks[0].Ref))
	remove(t, c, second)
	require.Empty(t, chain(t, c, live.Ref))
	require.Zero(t, hidden(t, c))
}

func TestHeldStorageGrowsChainsUntilTheyAreTooLong(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 2*mib))
	c := p.Client(t)
	p.HoldCoalesce(true)
	for i := range 29 {
		remove(t, c, snapshot(t, p, c, fmt.Sprint(i)))
	}
	live := p.VM("web").Disks[0].Ref
	require.Len(t, chain(t, c, live), 29)
	err := c.CallAsync(t.Context(), "VM.snapshot", nil, p.VM("web").Ref, "too many")
	require.ErrorIs(t, err, code("SR_BACKEND_FAILURE_109"))
	require.Empty(t, p.Snapshots())
	p.Coalesce()
	require.Empty(t, chain(t, c, live))
	require.Zero(t, hidden(t, c))
	snapshot(t, p, c, "again")
	p.HoldCoalesce(false)
	require.Equal(t, 1, hidden(t, c))
}

// changed returns the blocks whose bits are set.
func changed(t *testing.T, c *xapi.Client, from, to string) (blocks []int) {
	t.Helper()
	bitmap, err := base64.StdEncoding.DecodeString(call[string](t, c, "VDI.list_changed_blocks", from, to))
	require.NoError(t, err)
	for i := range 8 * len(bitmap) {
		if bitmap[i/8]&(0x80>>(i%8)) != 0 {
			blocks = append(blocks, i)
		}
	}
	return blocks
}

func TestChangedBlocksOutliveTheData(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Running", 9*mib))
	c := p.Client(t)
	live := p.VM("web").Disks[0]
	fill(t, live.Path, 0, mib, 1)
	call[any](t, c, "VDI.enable_cbt", live.Ref)
	call[any](t, c, "VDI.enable_cbt", live.Ref)
	first := snapshot(t, p, c, "1")
	fill(t, live.Path, 64<<10, 1, 2)
	fill(t, live.Path, 9*mib-1, 1, 2)
	require.NoError(t, overwrite(live.Path, make([]byte, 128<<10), 512<<10))
	second := snapshot(t, p, c, "2")
	from, to := first.Disks[0].Ref, second.Disks[0].Ref
	want := []int{1, 8, 9, 143}
	require.Equal(t, want, changed(t, c, from, to))
	require.True(t, call[bool](t, c, "VDI.get_cbt_enabled", from))

	call[any](t, c, "VM.destroy", first.Ref)
	call[any](t, c, "VDI.data_destroy", from)
	call[any](t, c, "VDI.data_destroy", from)
	require.NoFileExists(t, first.Disks[0].Path)
	require.Equal(t, "cbt_metadata", call[string](t, c, "VDI.get_type", from))
	require.Equal(t, want, changed(t, c, from, to))
	require.Len(t, chain(t, c, live.Ref), 1, "its part of the chain is coalesced")

	for _, method := range []string{"VDI.snapshot", "VDI.clone", "VDI.enable_cbt", "VDI.disable_cbt", "VDI.get_nbd_info"} {
		require.ErrorIs(t, c.Call(t.Context(), method, nil, from), code("VDI_INCOMPATIBLE_TYPE"), method)
	}
	require.ErrorIs(t, c.Call(t.Context(), "VDI.resize", nil, from, 20*mib), code("VDI_INCOMPATIBLE_TYPE"))
	unrelated := code("SR_BACKEND_FAILURE_460")
	require.ErrorIs(t, c.Call(t.Context(), "VDI.list_changed_blocks", nil, to, from), unrelated)
	require.ErrorIs(t, c.Call(t.Context(), "VDI.list_changed_blocks", nil, to, to), unrelated)
	require.ErrorIs(t, c.Call(t.Context(), "VDI.list_changed_blocks", nil, from, live.Ref), xapi.ErrVDIInUse)
	call[any](t, c, "VDI.destroy", from)

	call[any](t, c, "VDI.disable_cbt", live.Ref)
	call[any](t, c, "VDI.enable_cbt", live.Ref)
	third := snapshot(t, p, c, "3")
	require.ErrorIs(t, c.Call(t.Context(), "VDI.list_changed_blocks", nil, to, third.Disks[0].Ref), unrelated)
}

func TestDataIsDestroyedOnlyOfTrackedSnapshotsThatNobodyHas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		listener := xapitest.NewMemoryListener()
		p, err := xapitest.Start(oneVM("Running", 2*mib), &xapitest.Options{Listener: listener, Dir: t.TempDir()})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, p.Close()) })
		c := p.Client(t)
		live := p.VM("web").Disks[0].Ref
		require.ErrorIs(t, c.Call(t.Context(), "VDI.data_destroy", nil, live), code("OPERATION_NOT_ALLOWED"))
		plain := snapshot(t, p, c, "1")
		require.ErrorIs(t, c.Call(t.Context(), "VDI.data_destroy", nil, plain.Disks[0].Ref), code("VDI_NO_CBT_METADATA"))
		call[any](t, c, "VDI.enable_cbt", live)
		tracked := snapshot(t, p, c, "2")
		start := time.Now()
		require.ErrorIs(t, c.Call(t.Context(), "VDI.data_destroy", nil, tracked.Disks[0].Ref), xapi.ErrVDIInUse)
		require.Equal(t, 4*time.Second, time.Since(start))
		require.ErrorIs(t, c.Call(t.Context(), "VDI.list_changed_blocks", nil, plain.Disks[0].Ref, tracked.Disks[0].Ref), code("VDI_NO_CBT_METADATA"))
	})
}

// nbdInfo is one answer of VDI.get_nbd_info.
type nbdInfo struct {
	ExportName string `json:"exportname"`
	Address    string
	Port       int
	Cert       string
	Subject    string
}

// dialNBD connects as the answer says.
func dialNBD(ctx context.Context, info nbdInfo) (*nbd.Client, error) {
	var opts nbd.ClientOptions
	if info.Cert != "" {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(info.Cert))
		opts.TLS = &tls.Config{RootCAs: roots, ServerName: info.Subject, MinVersion: tls.VersionTLS12}
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(info.Address, fmt.Sprint(info.Port)))
	if err != nil {
		return nil, err
	}
	return nbd.NewClient(ctx, conn, info.ExportName, &opts)
}

func TestDisksAreServedByNBD(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Running", 9*mib))
	c := p.Client(t)
	snap := snapshot(t, p, c, "s")
	disk := snap.Disks[0]
	fill(t, disk.Path, 5*mib, 1000, 3)
	require.Empty(t, call[[]nbdInfo](t, c, "VDI.get_nbd_info", disk.Ref), "no network is for it")
	network := call[[]string](t, c, "network.get_all")[0]
	for _, purpose := range []string{"nbd", "insecure_nbd"} {
		call[any](t, c, "network.add_purpose", network, purpose)
		other := map[string]string{"nbd": "insecure_nbd", "insecure_nbd": "nbd"}[purpose]
		require.ErrorIs(t, c.Call(t.Context(), "network.add_purpose", nil, network, other), code("NETWORK_INCOMPATIBLE_PURPOSES"))
		infos := call[[]nbdInfo](t, c, "VDI.get_nbd_info", disk.Ref)
		require.Len(t, infos, 1)
		require.Equal(t, purpose == "nbd", infos[0].Cert != "")
		client, err := dialNBD(t.Context(), infos[0])
		require.NoError(t, err)
		require.Equal(t, purpose == "nbd", client.Secure())
		got := make([]byte, client.Size())
		_, err = client.ReadAt(got, 0)
		require.NoError(t, err)
		require.True(t, bytes.Equal(content(t, disk.Path), got))
		require.ErrorIs(t, c.Call(t.Context(), "VDI.destroy", nil, disk.Ref), xapi.ErrVDIInUse)
		require.Len(t, p.Leaks(), 1)
		require.NoError(t, client.Close())
		detached(t, p, c)

		wrong := infos[0]
		wrong.ExportName = "/" + disk.UUID + "?session_id=OpaqueRef:other"
		_, err = dialNBD(t.Context(), wrong)
		require.ErrorIs(t, err, nbd.ErrUnknownExport)
		call[any](t, c, "network.remove_purpose", network, purpose)
	}
	require.Empty(t, call[[]nbdInfo](t, c, "VDI.get_nbd_info", disk.Ref))
}

// detached waits until nothing is attached to the control domain.
func detached(t *testing.T, p *xapitest.Pool, c *xapi.Client) {
	t.Helper()
	token := ""
	for len(p.Leaks()) > 0 {
		var batch struct{ Token string }
		require.NoError(t, c.Call(t.Context(), "event.from", &batch, []string{"vbd"}, token, 30.1))
		token = batch.Token
	}
}

func TestSuspendedMemoryIsADisk(t *testing.T) {
	t.Parallel()
	inv := oneVM("Running", 2*mib)
	inv.VMs[0].Memory = 16 * mib
	p := xapitest.NewPool(t, inv)
	c := p.Client(t)
	web := p.VM("web").Ref
	state := func(ref string) string { return call[string](t, c, "VM.get_power_state", ref) }
	image := func(ref string) string { return call[string](t, c, "VM.get_suspend_VDI", ref) }

	var saved string
	require.NoError(t, c.CallAsync(t.Context(), "VM.checkpoint", &saved, web, "with memory"))
	require.Equal(t, "Running", state(web))
	require.Equal(t, "Suspended", state(saved))
	require.EqualValues(t, 16*mib, call[int64](t, c, "VDI.get_virtual_size", image(saved)))

	require.NoError(t, c.CallAsync(t.Context(), "VM.suspend", nil, web))
	require.Equal(t, "Suspended", state(web))
	memory := image(web)
	require.Equal(t, "suspend", call[string](t, c, "VDI.get_type", memory))
	require.Contains(t, call[[]string](t, c, "VM.get_allowed_operations", web), "resume")
	rec := call[map[string]json.RawMessage](t, c, "VM.get_record", web)
	made := call[string](t, c, "VM.create", rec)
	require.Equal(t, "Suspended", state(made), "a record with all of it makes a suspended VM")
	require.NoError(t, c.Call(t.Context(), "VM.destroy", nil, made))
	snap := snapshot(t, p, c, "without")
	require.Equal(t, "Halted", state(snap.Ref))

	require.NoError(t, c.CallAsync(t.Context(), "VM.clone", nil, web, "twin"))
	require.Equal(t, "Suspended", state(p.VM("twin").Ref))
	require.NotEqual(t, memory, image(p.VM("twin").Ref))
	require.NoError(t, c.CallAsync(t.Context(), "VM.resume", nil, web, false, false))
	require.Equal(t, "Running", state(web))
	require.Equal(t, "OpaqueRef:NULL", image(web))
	require.Error(t, c.Call(t.Context(), "VDI.get_record", nil, memory), "resumed memory is gone")

	require.NoError(t, c.CallAsync(t.Context(), "VM.revert", nil, saved))
	require.Equal(t, "Suspended", state(web))
	require.NotEqual(t, image(saved), image(web))
}

func TestRevertedVMHasTheDisksOfTheSnapshot(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Running", 8*mib))
	c := p.Client(t)
	before := p.VM("web")
	fill(t, before.Disks[0].Path, mib, mib, 1)
	want := content(t, before.Disks[0].Path)
	mac := call[string](t, c, "VIF.get_MAC", call[[]string](t, c, "VM.get_VIFs", before.Ref)[0])
	snap := snapshot(t, p, c, "s")
	fill(t, before.Disks[0].Path, 0, 8*mib, 2)
	require.NoError(t, c.CallAsync(t.Context(), "VM.revert", nil, snap.Ref))
	after := p.VM("web")
	require.Equal(t, before.UUID, after.UUID)
	require.NotEqual(t, before.Disks[0].UUID, after.Disks[0].UUID)
	require.True(t, bytes.Equal(want, content(t, after.Disks[0].Path)))
	require.NoFileExists(t, before.Disks[0].Path)
	require.Equal(t, mac, call[string](t, c, "VIF.get_MAC", call[[]string](t, c, "VM.get_VIFs", after.Ref)[0]))
	require.Equal(t, []string{snap.Disks[0].Ref}, call[[]string](t, c, "VDI.get_snapshots", after.Disks[0].Ref))
	require.Equal(t, []string{snap.Ref}, call[[]string](t, c, "VM.get_snapshots", after.Ref))
	require.ErrorIs(t, c.Call(t.Context(), "VM.revert", nil, after.Ref), code("OPERATION_NOT_ALLOWED"))
}

func TestCopiesShareNothing(t *testing.T) {
	t.Parallel()
	inv := oneVM("Halted", 4*mib)
	inv.SRs = []xapitest.SR{{Name: "Local storage"}, {Name: "small", Size: 5 * mib}, {Name: "discs", Type: "iso"}, {Name: "luns", Type: "rawhba"}}
	p := xapitest.NewPool(t, inv)
	c := p.Client(t)
	web := p.VM("web")
	fill(t, web.Disks[0].Path, 0, 3*mib, 1)
	require.NoError(t, c.CallAsync(t.Context(), "VM.copy", nil, web.Ref, "copy", p.SR("small").Ref))
	copied := p.VM("copy").Disks[0]
	require.Equal(t, p.SR("small").Ref, call[string](t, c, "VDI.get_SR", copied.Ref))
	require.Equal(t, content(t, web.Disks[0].Path), content(t, copied.Path))
	require.Empty(t, chain(t, c, copied.Ref))
	require.Zero(t, hidden(t, c))
	err := c.CallAsync(t.Context(), "VM.copy", nil, web.Ref, "again", p.SR("small").Ref)
	require.ErrorIs(t, err, xapi.ErrSRFull)
	require.Empty(t, p.VM("again").Ref)
	require.ErrorIs(t, c.Call(t.Context(), "VDI.copy", nil, web.Disks[0].Ref, p.SR("discs").Ref), code("SR_OPERATION_NOT_SUPPORTED"))

	lun := call[string](t, c, "VDI.copy", web.Disks[0].Ref, p.SR("luns").Ref)
	require.ErrorIs(t, importVHD(t, c, lun, image(t, vhd.Dynamic, make([]byte, 4*mib), 0)), code("VDI_IO_ERROR"), "not zeroed before")

	little, _ := newDisk(t, p, c, 2*mib)
	null := "OpaqueRef:NULL"
	require.ErrorIs(t, c.Call(t.Context(), "VDI.copy", nil, web.Disks[0].Ref, null, null, little), code("VDI_TOO_SMALL"))
	large, path := newDisk(t, p, c, 6*mib)
	fill(t, path, 0, 6*mib, 9)
	require.Equal(t, large, call[string](t, c, "VDI.copy", web.Disks[0].Ref, null, null, large))
	require.Equal(t, append(content(t, web.Disks[0].Path), make([]byte, 2*mib)...), content(t, path))
}

func TestAllowedOperationsFollowTheState(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Running", 2*mib))
	c := p.Client(t)
	web := p.VM("web")
	vm := func() []string { return call[[]string](t, c, "VM.get_allowed_operations", web.Ref) }
	vdi := func() []string { return call[[]string](t, c, "VDI.get_allowed_operations", web.Disks[0].Ref) }
	require.Contains(t, vm(), "suspend")
	require.NotContains(t, vdi(), "destroy")
	call[any](t, c, "VM.add_to_blocked_operations", web.Ref, "suspend", "no")
	require.NotContains(t, vm(), "suspend")
	call[any](t, c, "VM.hard_shutdown", web.Ref)
	require.Contains(t, vm(), "start")
	require.Contains(t, vdi(), "destroy")
	require.True(t, slices.IsSorted(vdi()))
}

func TestRepositoriesCountWhatIsShared(t *testing.T) {
	t.Parallel()
	inv := oneVM("Halted", 8*mib)
	inv.SRs = []xapitest.SR{{Name: "s", Size: 64 * mib}}
	p := xapitest.NewPool(t, inv)
	c := p.Client(t)
	fill(t, p.VM("web").Disks[0].Path, 0, 4*mib, 1)
	used := func() int64 {
		call[any](t, c, "SR.scan", p.SR("s").Ref)
		return call[int64](t, c, "SR.get_physical_utilisation", p.SR("s").Ref)
	}
	require.InDelta(t, 4*mib, used(), 64<<10)
	snap := snapshot(t, p, c, "s")
	require.InDelta(t, 4*mib, used(), 64<<10, "a snapshot takes nothing")
	fill(t, p.VM("web").Disks[0].Path, 4*mib, 2*mib, 2)
	require.InDelta(t, 6*mib, used(), 64<<10, "what is written since does")
	remove(t, c, snap)
	require.InDelta(t, 6*mib, used(), 64<<10)
	require.NoError(t, os.Truncate(p.VM("web").Disks[0].Path, 0))
	require.InDelta(t, 0, used(), 64<<10)
}
