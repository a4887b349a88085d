package vhd_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

func TestDirectoriesThatWeWriteReadRight(t *testing.T) {
	for _, filter := range []vhd.ChunkFilter{vhd.FilterNone, vhd.FilterGzip, vhd.FilterBrotli} {
		t.Run("filter "+string(filter), func(t *testing.T) {
			folder := t.TempDir()
			dir := vhd.OSDir(openRoot(t, folder)).(vhd.DirMaker)
			base := noise(1, oddSize, 0, 2)
			l := vhd.Layout{Type: vhd.Dynamic, UUID: uuidOf(1)}
			require.NoError(t, vhd.FlattenDirectory(t.Context(), dir, "data/a.vhd", base, l, filter, nil))
			require.NoError(t, vhd.WriteAlias(t.Context(), dir, "a.alias.vhd", "data/a.vhd"))

			leaf := bytes.Clone(base)
			copy(leaf[disk.BlockSize:], noise(2, disk.BlockSize, 0))
			l = vhd.Layout{Type: vhd.Differencing, Size: oddSize, UUID: uuidOf(2), ParentUUID: uuidOf(1), ParentName: "a.alias.vhd"}
			w, err := vhd.NewDirectoryWriter(t.Context(), dir, "data/b.vhd", l, filter)
			require.NoError(t, err)
			require.NoError(t, w.WriteBlock(t.Context(), 1, leaf[disk.BlockSize:2*disk.BlockSize]))
			require.NoError(t, w.Close(t.Context()))
			require.Error(t, w.WriteBlock(t.Context(), 0, nil))
			require.NoError(t, vhd.WriteAlias(t.Context(), dir, "b.alias.vhd", "data/b.vhd"))

			for name, want := range map[string]ramDisk{"a.alias.vhd": base, "b.alias.vhd": leaf} {
				chain, err := vhd.OpenDirChain(t.Context(), dir, name, nil)
				require.NoError(t, err)
				require.True(t, bytes.Equal(want, readAll(t, chain)), name)
				require.NoError(t, chain.Close())
			}
			requireAsXO(t, filepath.Join(folder, "data/a.vhd"), filter)
			_, err = vhd.NewDirectoryWriter(t.Context(), dir, "data/b.vhd", l, filter)
			require.ErrorIs(t, err, fs.ErrExist)
		})
	}
}

// requireAsXO wants the files that XO expects: each block whole behind a full
// bitmap, and a bitmap of blocks that is 8 times as long as it needs to be.
func requireAsXO(t *testing.T, dir string, filter vhd.ChunkFilter) {
	t.Helper()
	filters, err := os.ReadFile(filepath.Join(dir, "chunk-filters.json"))
	if filter != vhd.FilterNone {
		require.NoError(t, err)
		var names []string
		require.NoError(t, json.Unmarshal(filters, &names))
		require.Equal(t, []string{string(filter)}, names)
		return
	}
	require.ErrorIs(t, err, fs.ErrNotExist)
	table, err := os.ReadFile(filepath.Join(dir, "bat"))
	require.NoError(t, err)
	require.Equal(t, []byte{0xa0, 0, 0}, table)
	for _, name := range []string{"0", "2"} {
		block, err := os.ReadFile(filepath.Join(dir, "blocks/0", name))
		require.NoError(t, err)
		require.Len(t, block, 512+disk.BlockSize)
		require.Equal(t, bytes.Repeat([]byte{0xff}, 512), block[:512])
	}
	header, err := os.ReadFile(filepath.Join(dir, "header"))
	require.NoError(t, err)
	require.Len(t, header, 1024)
	footer, err := os.ReadFile(filepath.Join(dir, "footer"))
	require.NoError(t, err)
	require.Len(t, footer, 512)
	alias, err := os.ReadFile(filepath.Join(dir, "../../a.alias.vhd"))
	require.NoError(t, err)
	require.Equal(t, "data/a.vhd", string(alias))
}

func TestAliasesAreRelativeAndStayInside(t *testing.T) {
	folder := t.TempDir()
	dir := vhd.OSDir(openRoot(t, folder)).(vhd.DirMaker)
	require.NoError(t, dir.MkdirAll(t.Context(), "x/y"))
	require.NoError(t, vhd.WriteAlias(t.Context(), dir, "x/y/a.alias.vhd", "x/data/b.vhd"))
	got, err := os.ReadFile(filepath.Join(folder, "x/y/a.alias.vhd"))
	require.NoError(t, err)
	require.Equal(t, "../data/b.vhd", string(got))
	for alias, target := range map[string]string{
		"a.vhd": "data/b.vhd", "a.alias.vhd": "data/b", "b.alias.vhd": "c.alias.vhd", "../a.alias.vhd": "b.vhd", "c.alias.vhd": "../b.vhd",
	} {
		require.ErrorIs(t, vhd.WriteAlias(t.Context(), dir, alias, target), vhd.ErrUnsupported, alias)
	}
}
