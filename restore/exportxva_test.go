package restore_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/restore"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xva"
)

// The last delta of each VM of Xen Orchestra, as one archive: a pool makes the VM of it
// that a restore would have made.
func TestDeltaPointBecomesAnArchiveThatPoolsImport(t *testing.T) {
	golden := newWorld(t)
	w := golden.withPool(t)
	exported := 0
	last := map[string]string{} // points by VM
	for id, b := range golden.repo.Backups {
		last[b.VM] = max(last[b.VM], id)
	}
	for _, id := range last {
		p, want := w.point(t, id), golden.repo.Backups[id]
		var archive bytes.Buffer
		opts := &restore.ExportOptions{Compression: xva.Compression(exported % 3)}
		err := restore.ExportXVA(t.Context(), w.cat, p, &archive, opts)
		if want.Mode != "delta" {
			require.ErrorIs(t, err, restore.ErrMode)
			continue
		}
		require.NoError(t, err, id)
		exported++
		proof := xva.NewProof()
		_, err = proof.Write(archive.Bytes())
		require.NoError(t, err)
		require.NoError(t, proof.Close())
		require.Equal(t, opts.Compression, proof.Compression())

		refs, err := w.client.ImportVM(t.Context(), int64(archive.Len()), &archive, nil)
		require.NoError(t, err, id)
		require.Len(t, refs, 1)
		vm := record(t, w, refs[0])
		require.Equal(t, want.VM, vm.NameLabel)
		require.Equal(t, "Halted", vm.PowerState)
		require.NotContains(t, vm.OtherConfig, "xo:backup:job")
		sums := map[string]bool{}
		for _, ref := range vm.VBDs {
			vdi := record(t, w, record(t, w, ref).VDI)
			for _, content := range want.Disks {
				if content.Size <= vdi.VirtualSize && w.sum(t, vdi.UUID, content.Size) == content.SHA256 {
					sums[content.SHA256] = true
				}
			}
		}
		for _, info := range w.cat.Disks(p) {
			if info.VDI != info.SourceVDI { // no memory image
				require.True(t, sums[want.Disks[info.SourceVDI].SHA256], "%s: %s", id, info.Name)
			}
		}
	}
	require.GreaterOrEqual(t, exported, 6)
}

func TestArchiveOfADeltaPointHasWhatTheVMHad(t *testing.T) {
	w := newWorld(t).withPool(t)
	var archive bytes.Buffer
	require.NoError(t, restore.ExportXVA(t.Context(), w.cat, w.point(t, secondPoint), &archive, &restore.ExportOptions{Name: "VM"}))
	refs, err := w.client.ImportVM(t.Context(), int64(archive.Len()), &archive, &xapi.ImportVMOptions{
		SR: xapi.Ref[xapi.SR](w.pool.SR("other").Ref), Restore: true, // uuid and addresses are kept
	})
	require.NoError(t, err)
	vm := record(t, w, refs[0])
	require.Equal(t, "VM", vm.NameLabel)
	require.Equal(t, deltaVM, vm.UUID)
	require.Equal(t, "description of vm-delta-files", vm.NameDescription)
	require.ElementsMatch(t, []string{"prod"}, vm.Tags)
	require.EqualValues(t, 1<<30, vm.MemoryStaticMax)
	require.EqualValues(t, 2, vm.VCPUsMax)
	require.Equal(t, map[string]string{"firmware": "bios", "order": "cdn"}, vm.HVMBootParams)
	require.Len(t, vm.VIFs, 1)
	require.Equal(t, "02:16:3e:00:00:02", record(t, w, vm.VIFs[0]).MAC)
	require.Len(t, vm.VBDs, 2)
	for i, ref := range vm.VBDs {
		vbd := record(t, w, ref)
		require.Equal(t, i == 0, vbd.Bootable)
		vdi := record(t, w, vbd.VDI)
		require.Equal(t, "vm-delta-files disk "+vbd.Userdevice, vdi.NameLabel)
		require.Empty(t, vdi.OtherConfig)
	}
	require.Empty(t, w.pool.Leaks())
}

// watched calls back before the first byte.
type watched struct {
	bytes.Buffer
	first func()
}

func (w *watched) Write(p []byte) (int, error) {
	if w.Len() == 0 {
		w.first()
	}
	return w.Buffer.Write(p)
}

func TestPointIsUnderALeaseWhileItIsExported(t *testing.T) {
	w := newWorld(t)
	leases := func() []os.DirEntry {
		entries, err := os.ReadDir(filepath.Join(w.repo.Dir, ".xenbackup", "leases", deltaVM))
		require.NoError(t, err)
		return entries
	}
	archive := &watched{}
	archive.first = func() { require.Len(t, leases(), 1) }
	require.NoError(t, restore.ExportXVA(t.Context(), w.cat, w.point(t, secondPoint), archive, nil))
	require.NotZero(t, archive.Len())
	require.Empty(t, leases())

	gone := w.point(t, firstPoint)
	require.NoError(t, os.Remove(filepath.Join(w.repo.Dir, filepath.FromSlash(gone.ID))))
	archive.Reset()
	require.ErrorIs(t, restore.ExportXVA(t.Context(), w.cat, gone, archive, nil), fs.ErrNotExist)
	require.Zero(t, archive.Len())
}

// The first point of a chain is deleted, and merged into the next one, while it is
// exported: all of what was read may be of the next point.
func TestExportOfAPointThatExpiresIsNoArchive(t *testing.T) {
	w := newWorld(t)
	archive := &watched{first: func() { w.expire(t) }}
	err := restore.ExportXVA(t.Context(), w.cat, w.point(t, firstPoint), archive, nil)
	require.True(t, errors.Is(err, catalog.ErrExpired) || errors.Is(err, catalog.ErrLeaseLost), err) // whatever is noticed first
	proof := xva.NewProof()
	_, err = proof.Write(archive.Bytes())
	require.NoError(t, err)
	require.ErrorIs(t, proof.Close(), xva.ErrTruncated)
}

func TestFieldWithoutANameIsNoPanic(t *testing.T) {
	w := newWorld(t)
	p := w.point(t, secondPoint)
	p.Metadata.VM = append([]byte(`{"":"OpaqueRef:1",`), bytes.TrimSpace(p.Metadata.VM)[1:]...)
	require.NotPanics(t, func() { _ = restore.ExportXVA(t.Context(), w.cat, p, io.Discard, nil) })
}

func TestExportOfADamagedChainIsNoArchive(t *testing.T) {
	w := newWorld(t)
	p := w.point(t, secondPoint)
	for _, info := range w.cat.Disks(p) {
		require.NoError(t, os.Truncate(filepath.Join(w.repo.Dir, "xo-vm-backups", deltaVM, info.Path), 4096))
	}
	var archive bytes.Buffer
	require.Error(t, restore.ExportXVA(t.Context(), w.cat, p, &archive, nil))
	proof := xva.NewProof()
	_, _ = proof.Write(archive.Bytes())
	require.Error(t, proof.Close())
}
