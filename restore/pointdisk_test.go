package restore_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/restore"
	"github.com/xenbackup/xenbackup/xapi"
)

func TestEachDiskOfAPointIsOpenedByEitherName(t *testing.T) {
	w := newWorld(t)
	want := w.repo.Backups["/"+secondPoint].Disks[dataDisk]
	for _, name := range []string{dataDisk, dataSnap} {
		d, err := restore.OpenDisk(t.Context(), w.cat, w.point(t, secondPoint), name)
		require.NoError(t, err)
		h := sha256.New()
		_, err = io.Copy(h, io.NewSectionReader(d, 0, d.Size()))
		require.NoError(t, err)
		require.Equal(t, want.SHA256, hex.EncodeToString(h.Sum(nil)))
		require.Equal(t, want.Size, d.Size())
		require.Equal(t, dataDisk, d.Info.SourceVDI)
		require.Equal(t, 2, d.Links())
		require.NoError(t, d.Confirm(t.Context()))
		require.NoError(t, d.Close())
	}
	_, err := restore.OpenDisk(t.Context(), w.cat, w.point(t, secondPoint), "none")
	require.ErrorIs(t, err, restore.ErrUnknownDisk)
	require.ErrorContains(t, err, dataDisk, "it says which there are")
}

func TestDisksOfAFullPointAreOpenedHoweverItIsCompressed(t *testing.T) {
	s := newSource(t)
	vm := s.pool.VM("machine")
	var snapshot string
	require.NoError(t, s.client.CallAsync(t.Context(), "VM.snapshot", &snapshot, vm.Ref, "snapshot"))
	for name, opts := range map[string]*xapi.ExportVMOptions{"plain": nil, "zstd": {Compression: xapi.CompressZstd}} {
		t.Run(name, func(t *testing.T) {
			p := s.backUp(t, "machine", snapshot, opts)
			cat := s.catalog(t)
			infos, err := restore.Disks(t.Context(), cat, p)
			require.NoError(t, err)
			require.Len(t, infos, 2)
			for i, info := range infos {
				d, err := restore.OpenDisk(t.Context(), cat, p, info.VDI)
				require.NoError(t, err)
				content, err := io.ReadAll(io.NewSectionReader(d, 0, d.Size()))
				require.NoError(t, err)
				want, err := os.ReadFile(vm.Disks[i].Path)
				require.NoError(t, err)
				require.True(t, bytes.Equal(want, content[:len(want)]), info.Name)
				require.Zero(t, d.Links())
				require.NoError(t, d.Confirm(t.Context()))
				if i == 1 {
					if name == "zstd" { // once: it takes seconds to see that a lease is alive
						session, err := cat.LockVM(t.Context(), vm.UUID)
						require.NoError(t, err)
						require.ErrorIs(t, session.Delete(t.Context(), p.ID), catalog.ErrLeased)
						require.NoError(t, session.Close(t.Context()))
					}
					require.NoError(t, os.Remove(s.dir+"/"+p.ID))
					require.Error(t, d.Confirm(t.Context()), "another tool has deleted it")
				}
				require.NoError(t, d.Close())
			}
			_, err = restore.OpenDisk(t.Context(), cat, p, infos[0].VDI)
			require.ErrorIs(t, err, fs.ErrNotExist)
		})
	}
}
