package xapitest_test

import (
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// BenchmarkExport downloads a disk of 256 MiB of data as a VHD.
func BenchmarkExport(b *testing.B) {
	const size = 256 * mib
	p := xapitest.NewPool(b, oneVM("Halted", size))
	c := p.Client(b)
	disk := p.VM("web").Disks[0]
	f, err := os.OpenFile(disk.Path, os.O_WRONLY, 0)
	require.NoError(b, err)
	for off := int64(0); off < size; off += 16 * mib {
		_, err := f.WriteAt(random(16*mib, byte(off>>24)+1), off)
		require.NoError(b, err)
	}
	require.NoError(b, f.Close())
	b.SetBytes(size)
	b.ReportAllocs()
	buf := make([]byte, 2*mib)
	for b.Loop() {
		d, err := c.ExportVDI(b.Context(), xapi.Ref[xapi.VDI](disk.Ref), nil)
		require.NoError(b, err)
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{d}, buf)
		require.NoError(b, err)
		require.NoError(b, d.Finish(b.Context()))
		require.NoError(b, d.Close())
	}
}

// BenchmarkImport uploads a raw disk of 256 MiB.
func BenchmarkImport(b *testing.B) {
	const size = 256 * mib
	p := xapitest.NewPool(b, oneVM("Halted", size))
	c := p.Client(b)
	disk := p.VM("web").Disks[0]
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		require.NoError(b, c.ImportVDI(b.Context(), xapi.Ref[xapi.VDI](disk.Ref), size, zeros{}, &xapi.ImportVDIOptions{Format: "raw"}))
	}
}

// BenchmarkInventory reads all records of a pool of 1,000 VMs.
func BenchmarkInventory(b *testing.B) {
	inv := xapitest.Inventory{VMs: make([]xapitest.VM, 1000)}
	p := xapitest.NewPool(b, inv)
	c := p.Client(b)
	for b.Loop() {
		all, err := xapi.All[xapi.VM](b.Context(), c)
		require.NoError(b, err)
		require.Len(b, all, 1001)
	}
}
