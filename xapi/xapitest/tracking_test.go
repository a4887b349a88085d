package xapitest_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// needsLeases ends a test where nobody can tell that no one else writes a file:
// contents are compared there, which other tests show.
func needsLeases(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("no leases on files here")
	}
}

func importRaw(t *testing.T, c *xapi.Client, vdi string, b []byte) {
	t.Helper()
	require.NoError(t, c.ImportVDI(t.Context(), xapi.Ref[xapi.VDI](vdi), int64(len(b)), bytes.NewReader(b), &xapi.ImportVDIOptions{Format: "raw"}))
}

// Like a host, which goes by what is allocated, the pool sends a block that was
// written with what it held before: so it has not compared.
func TestBlocksWrittenThroughTheAPIAreTracked(t *testing.T) {
	t.Parallel()
	needsLeases(t)
	p := xapitest.NewPool(t, oneVM("Halted", 12*mib))
	c := p.Client(t)
	live := p.VM("web").Disks[0]
	importRaw(t, c, live.Ref, random(8*mib, 1))
	call[any](t, c, "VDI.enable_cbt", live.Ref)
	first := snapshot(t, p, c, "1").Disks[0].Ref
	same := content(t, live.Path)
	require.NoError(t, p.WriteVDI(live.UUID, same[5*mib:5*mib+10], 5*mib))
	require.NoError(t, p.WriteVDI(live.UUID, []byte("new"), 11*mib))
	second := snapshot(t, p, c, "2").Disks[0].Ref
	disk := make([]byte, 12*mib)
	blocks, _ := export(t, c, second, first, disk)
	require.Equal(t, []uint32{2, 5}, blocks)
	require.Equal(t, []int{80, 176}, changed(t, c, first, second))

	clone := call[string](t, c, "VDI.clone", first)
	importRaw(t, c, clone, random(mib, 1))
	blocks, _ = export(t, c, second, clone, disk)
	require.Equal(t, []uint32{0, 2, 5}, blocks, "what either has written since they were one")
	blocks, _ = export(t, c, clone, second, disk)
	require.Equal(t, []uint32{0, 2, 5}, blocks)

	fresh := call[string](t, c, "VDI.copy", first, p.SR("Local storage").Ref)
	blocks, _ = export(t, c, fresh, first, disk)
	require.Empty(t, blocks)
}

// Whoever writes the file itself is noticed, also when they write what the API
// wrote just before, or while the file stays open.
func TestForeignWritesAreNoticed(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 12*mib))
	c := p.Client(t)
	live := p.VM("web").Disks[0]
	shot := func() string { return snapshot(t, p, c, "s").Disks[0].Ref }
	disk := make([]byte, 12*mib)
	older := shot()
	delta := func() []uint32 {
		younger := shot()
		blocks, _ := export(t, c, younger, older, disk)
		older = younger
		require.True(t, bytes.Equal(disk, content(t, live.Path)))
		return blocks
	}
	for round := range byte(8) {
		require.NoError(t, p.WriteVDI(live.UUID, random(100, round+1), 0))
		fill(t, live.Path, 4*mib, 100, round+1)
		require.NoError(t, p.WriteVDI(live.UUID, random(100, round+1), 8*mib))
		require.Equal(t, []uint32{0, 2, 4}, delta())
	}
	f, err := os.OpenFile(live.Path, os.O_RDWR, 0)
	require.NoError(t, err)
	for round := range byte(4) {
		_, err := f.WriteAt(random(100, round+20), 2*mib)
		require.NoError(t, err)
		require.NoError(t, p.WriteVDI(live.UUID, random(100, round+20), 6*mib))
		require.Equal(t, []uint32{1, 3}, delta())
	}
	require.NoError(t, f.Close())
}

// Whatever is written in whichever way, what differs between two disks is in the
// difference that the pool tells.
func TestNothingThatDiffersIsLeftOut(t *testing.T) {
	t.Parallel()
	const size = 8 * mib
	for seed := range uint64(2) {
		p := xapitest.NewPool(t, oneVM("Halted", size))
		c := p.Client(t)
		r := rand.New(rand.NewPCG(seed, 1))
		live := p.VM("web").Disks[0]
		call[any](t, c, "VDI.enable_cbt", live.Ref)
		var taken []xapitest.DiskInfo
		for step := range 18 {
			n := r.Int64N(200<<10) + 1
			off := r.Int64N(size - n)
			switch r.IntN(6) {
			case 0:
				fill(t, live.Path, off, n, byte(step))
			case 1:
				importRaw(t, c, live.Ref, random(n, byte(step)))
			case 2, 3:
				require.NoError(t, p.WriteVDI(live.UUID, random(n, byte(step)), off))
			default:
				taken = append(taken, snapshot(t, p, c, "s").Disks[0])
			}
		}
		for i, younger := range taken {
			for _, older := range taken[max(0, i-2):i] {
				a, b := content(t, older.Path), content(t, younger.Path)
				told := changed(t, c, older.Ref, younger.Ref)
				for block := range size / (64 << 10) {
					at := block * (64 << 10)
					if !bytes.Equal(a[at:at+64<<10], b[at:at+64<<10]) {
						require.True(t, slices.Contains(told, block), "seed %d: block %d", seed, block)
					}
				}
				export(t, c, younger.Ref, older.Ref, a)
				require.True(t, bytes.Equal(a, b), "seed %d", seed)
			}
		}
	}
}

func TestWriteVDIWritesOnlyDisksThatLive(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Running", 4*mib))
	c := p.Client(t)
	live := p.VM("web").Disks[0].UUID
	frozen := snapshot(t, p, c, "s").Disks[0].UUID
	require.NoError(t, p.WriteVDI(live, []byte("end"), 4*mib-3))
	require.Error(t, p.WriteVDI(live, []byte("end"), 4*mib-2))
	require.Error(t, p.WriteVDI(live, []byte("end"), -1))
	require.Error(t, p.WriteVDI(frozen, []byte("end"), 0))
	require.ErrorContains(t, p.WriteVDI("nothing", nil, 0), "UUID_INVALID")
}

// A foreign writer that opens, writes and closes the file again and again while
// the pool writes and copies it does not slip through.
func TestWritersAtTheSameTimeAreNoticed(t *testing.T) {
	t.Parallel()
	const size = 4 * mib
	p := xapitest.NewPool(t, oneVM("Halted", size))
	c := p.Client(t)
	live := p.VM("web").Disks[0]
	call[any](t, c, "VDI.enable_cbt", live.Ref)
	stop, stopped := make(chan struct{}), make(chan error)
	go func() {
		for i := byte(0); ; i++ {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			if err := overwrite(live.Path, []byte{i}, int64(i)*8<<10); err != nil {
				stopped <- err
				return
			}
		}
	}()
	var taken []xapitest.DiskInfo
	for i := range byte(12) {
		for range 20 {
			require.NoError(t, p.WriteVDI(live.UUID, []byte{i}, 3*mib+int64(i)*64<<10))
		}
		taken = append(taken, snapshot(t, p, c, "s").Disks[0])
	}
	close(stop)
	require.NoError(t, <-stopped)
	for i, younger := range taken[1:] {
		a, b := content(t, taken[i].Path), content(t, younger.Path)
		told := changed(t, c, taken[i].Ref, younger.Ref)
		for at := 0; at < size; at += 64 << 10 {
			if !bytes.Equal(a[at:at+64<<10], b[at:at+64<<10]) {
				require.Contains(t, told, at/(64<<10))
			}
		}
	}
}
