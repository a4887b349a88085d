package xapitest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

func TestFleetHasItsDevicesInPlace(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, xapitest.Inventory{VMs: xapitest.Fleet(300)})
	c := p.Client(t)
	vms, err := xapi.All[xapi.VM](t.Context(), c)
	require.NoError(t, err)
	require.Len(t, vms, 301, "with the control domain")
	sr := call[map[string]any](t, c, "SR.get_record", p.SR("Local storage").Ref)
	require.Len(t, sr["VDIs"], 300)
	vm := call[map[string]any](t, c, "VM.get_record", p.VM("vm-00001").Ref)
	require.Equal(t, "Running", vm["power_state"])
	require.Len(t, vm["VBDs"], 1)
	require.Len(t, vm["VIFs"], 1)
	host := call[map[string]any](t, c, "host.get_record", p.Hosts()[0].Ref)
	require.Len(t, host["resident_VMs"], 241, "running and paused ones, and the control domain")
	gold := call[map[string]any](t, c, "VM.get_all_records_where", `field "power_state" = "Paused"`)
	require.Len(t, gold, 60)
}

func BenchmarkStartWithTenThousandMachines(b *testing.B) {
	for b.Loop() {
		p, err := xapitest.Start(xapitest.Inventory{VMs: xapitest.Fleet(10_000)}, &xapitest.Options{Dir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := p.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
