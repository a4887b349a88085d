package xapitest_test

import (
	"bytes"
	"fmt"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
	"github.com/xenbackup/xenbackup/xva"
)

func TestSuspendedVMTakesItsMemoryAlong(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Suspended", 2*mib))
	c := p.Client(t)
	vm := p.VM("web")
	image := call[string](t, c, "VDI.create", map[string]any{
		"SR": p.SR("Local storage").Ref, "virtual_size": 2 * mib, "type": "suspend", "sharable": false, "read_only": false,
		"other_config": map[string]string{}, "name_label": "memory of web",
	})
	call[any](t, c, "VM.set_suspend_VDI", vm.Ref, image)
	path, err := p.VDIPath(call[string](t, c, "VDI.get_uuid", image))
	require.NoError(t, err)
	fill(t, path, 0, 4096, 7)

	_, body, _ := download(t, p, c, "/export", url.Values{"ref": {vm.Ref}})
	got := importedVM(t, p, upload(t, p, c, "/import", url.Values{}, body))
	require.Equal(t, "Halted", call[string](t, c, "VM.get_power_state", got.Ref))
	require.Equal(t, "OpaqueRef:NULL", call[string](t, c, "VM.get_suspend_VDI", got.Ref))

	_, body, _ = download(t, p, c, "/export", url.Values{"ref": {vm.Ref}, "preserve_power_state": {"true"}})
	got = importedVM(t, p, upload(t, p, c, "/import", url.Values{}, body))
	require.Equal(t, "Suspended", call[string](t, c, "VM.get_power_state", got.Ref))
	other := call[string](t, c, "VM.get_suspend_VDI", got.Ref)
	require.NotEqual(t, image, other)
	require.Equal(t, "suspend", call[string](t, c, "VDI.get_type", other))
	copied, err := p.VDIPath(call[string](t, c, "VDI.get_uuid", other))
	require.NoError(t, err)
	require.True(t, bytes.Equal(content(t, path), content(t, copied)))
}

func TestTPMAndCDDriveAndNetworkComeAlong(t *testing.T) {
	t.Parallel()
	p, other := xapitest.NewPool(t, oneVM("Halted", 2*mib)), xapitest.NewPool(t, xapitest.Inventory{
		Networks: []xapitest.Network{{Name: "somewhere else", Bridge: "xenbr9"}},
	})
	c, d := p.Client(t), other.Client(t)
	vm := p.VM("web")
	call[any](t, c, "VTPM.set_contents", call[string](t, c, "VTPM.create", vm.Ref, true), "c2VjcmV0")
	call[any](t, c, "VBD.create", map[string]any{
		"VM": vm.Ref, "VDI": "OpaqueRef:NULL", "userdevice": "3", "bootable": false, "mode": "RO", "type": "CD", "unpluggable": true,
		"empty": true, "other_config": map[string]string{}, "qos_algorithm_type": "", "qos_algorithm_params": map[string]string{},
	})
	_, body, _ := download(t, p, c, "/export", url.Values{"ref": {vm.Ref}})
	r, err := xva.NewReader(bytes.NewReader(body), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	for tpm := range r.OVA().OfClass("VTPM") {
		require.Equal(t, "c2VjcmV0", tpm.Text("vTPM'_content"))
	}

	got := importedVM(t, other, upload(t, other, d, "/import", url.Values{}, body))
	tpms := call[[]string](t, d, "VM.get_VTPMs", got.Ref)
	require.Len(t, tpms, 1)
	require.Equal(t, "c2VjcmV0", call[string](t, d, "VTPM.get_contents", tpms[0]))
	require.Len(t, call[[]string](t, d, "VM.get_VBDs", got.Ref), 2)
	require.Len(t, got.Disks, 1)
	vif := call[[]string](t, d, "VM.get_VIFs", got.Ref)[0]
	network := call[string](t, d, "VIF.get_network", vif)
	require.Equal(t, "Pool-wide network associated with eth0", call[string](t, d, "network.get_name_label", network))
	again := importedVM(t, other, upload(t, other, d, "/import", url.Values{}, body))
	require.Equal(t, network, call[string](t, d, "VIF.get_network", call[[]string](t, d, "VM.get_VIFs", again.Ref)[0]), "found by its name")
}

func TestBrokenImportOfAVMLeavesNothing(t *testing.T) {
	t.Parallel()
	p := twoDisks(t)
	c := p.Client(t)
	_, body, _ := download(t, p, c, "/export", url.Values{"ref": {p.VM("web").Ref}})
	disks := len(call[[]string](t, c, "VDI.get_all"))
	half := int64(len(body) / 2)
	p.Break("PUT /import", xapitest.OnCall(1), half, xapitest.Cut)
	p.Fail("PUT /import", xapitest.OnCall(2), &xapi.Error{Code: "SR_FULL", Params: []string{"1", "0"}})
	p.Break("PUT /import", xapitest.OnCall(3), half, xapitest.Stall)
	require.Equal(t, "failure", upload(t, p, c, "/import", url.Values{}, body).Status)
	require.Equal(t, []string{"SR_FULL", "1", "0"}, upload(t, p, c, "/import", url.Values{}, body).ErrorInfo)

	ref := task(t, c)
	answered := make(chan string)
	request := fmt.Sprintf("PUT /import?session_id=%s&task_id=%s HTTP/1.1\r\nHost: p\r\nContent-Length: %d\r\n\r\n%s",
		login(t, p), ref, len(body), body[:half+1])
	go func() {
		answer, _ := talk(t, p, request)
		answered <- answer
	}()
	for token := ""; call[map[string]string](t, c, "task.get_other_config", ref)["object_creation"] != "complete"; {
		var batch struct{ Token string }
		require.NoError(t, c.Call(t.Context(), "event.from", &batch, []string{"task/" + ref}, token, 30.1))
		token = batch.Token
	}
	require.Len(t, p.VMs(), 2, "the machine is there while its disks are on the way")
	call[any](t, c, "task.cancel", ref)
	require.Contains(t, <-answered, " 200 OK")
	require.Equal(t, "cancelled", finished(t, c, ref).Status)
	require.Len(t, p.VMs(), 1)
	require.Len(t, call[[]string](t, c, "VDI.get_all"), disks)
	require.Empty(t, p.Leaks())
}
