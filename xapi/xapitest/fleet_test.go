package xapitest_test

import (
	"os"
	"path/filepath"
	"runtime"
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

	disk := p.VM("vm-00001").Disks[0]
	files, err := os.ReadDir(filepath.Dir(disk.Path))
	require.NoError(t, err)
	require.Len(t, files, 1, "a disk has no file before someone asks for it")
	info, err := os.Stat(disk.Path)
	require.NoError(t, err)
	require.Equal(t, disk.Size, info.Size())
	path, err := p.VDIPath(call[string](t, c, "VDI.get_uuid", call[string](t, c, "VDI.clone", p.VM("vm-00002").Disks[0].Ref)))
	require.NoError(t, err)
	require.FileExists(t, path)
}

// The metric MB is what the pool keeps in memory, files the disks that have one.
func BenchmarkStartWithTenThousandMachines(b *testing.B) {
	var kept uint64
	files := 0
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		before := heap()
		b.StartTimer()
		p, err := xapitest.Start(xapitest.Inventory{VMs: xapitest.Fleet(10_000)}, &xapitest.Options{Dir: dir})
		b.StopTimer()
		require.NoError(b, err)
		kept = heap() - before
		entries, err := os.ReadDir(dir)
		require.NoError(b, err)
		files = len(entries)
		require.NoError(b, p.Close())
		b.StartTimer()
	}
	b.ReportMetric(float64(kept)/1e6, "MB")
	b.ReportMetric(float64(files), "files")
}

// heap returns the bytes in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
