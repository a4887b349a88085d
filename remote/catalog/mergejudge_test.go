package catalog_test

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/vhd"
)

// stateOf is the state of a merge as Xen Orchestra writes it.
func stateOf(parent, child, step string, chain ...string) []byte {
	return fmt.Appendf(nil, `{"child":{"uuid":%q},"parent":{"uuid":%q},"chain":["%s"],"currentBlock":0,"mergedDataSize":0,"step":%q,"diskSize":0}`,
		child, parent, strings.Join(chain, `","`), step)
}

// Of two children of a disk Xen Orchestra sees one, and merges that.
func TestMergeThatTakesTheParentOfAnotherDiskIsNotResumed(t *testing.T) {
	_, fsys, dir := backups(t, 0)
	vm := filepath.Join(dir, testVMDir)
	id := func(n byte) vhd.UUID { return vhd.UUID{6: 0x40, 8: 0x80, 15: n} }
	file := func(n int) string { return fmt.Sprintf("2026010%dT000000Z.vhd", n) }
	place := filepath.Join(vm, "vdis/j/v")
	writeVHD(t, filepath.Join(place, file(1)), vhd.Layout{Type: vhd.Dynamic, UUID: id(1)})
	for n := 2; n <= 3; n++ {
		writeVHD(t, filepath.Join(place, file(n)), vhd.Layout{Type: vhd.Differencing, UUID: id(byte(n)), ParentUUID: id(1), ParentName: file(1)})
		text := fmt.Sprintf(`{"mode":"delta","vhds":{"r":"vdis/j/v/%s"},"timestamp":%d}`, file(n), n)
		require.NoError(t, os.WriteFile(filepath.Join(vm, strings.Replace(file(n), ".vhd", ".json", 1)), []byte(text), 0o600))
	}
	state := filepath.Join(place, vhd.MergeStateName(file(1)))
	require.NoError(t, os.WriteFile(state, stateOf(id(1).String(), id(2).String(), "mergeBlocks", file(1), file(2)), 0o600))

	c := openCatalog(t, fsys)
	report := mergeAll(t, c, testVM)
	require.NotEmpty(t, report.Unknown)
	require.Empty(t, report.Merged)
	require.Empty(t, report.Removed)
	for _, p := range listPoints(t, c, testVM) {
		_, err := readDisk(t.Context(), c, p, "r")
		require.NoError(t, err)
	}

	// Without a point nobody needs the other.
	require.NoError(t, lockAndDelete(t, c, testVMDir+"/"+strings.Replace(file(3), ".vhd", ".json", 1)))
	report = mergeAll(t, c, testVM)
	require.Len(t, report.Merged, 1)
	require.NoFileExists(t, filepath.Join(place, file(1)))
	for _, p := range listPoints(t, c, testVM) {
		_, err := readDisk(t.Context(), c, p, "r")
		require.NoError(t, err)
	}
}

func TestMergeThatTakesTheDataOfAnotherAliasIsNotResumed(t *testing.T) {
	_, fsys := newDirectories(t, 3)
	ctx := t.Context()
	c := openCatalog(t, fsys)
	require.NoError(t, lockAndDelete(t, c, pointName(1)))
	oldest, youngest := aliasOf(diskName(0, 1)), aliasOf(diskName(0, 2))
	require.NoError(t, remote.WriteFile(ctx, fsys, youngest, []byte("data/"+path.Base(diskName(0, 3)))))
	state := path.Join(path.Dir(oldest), vhd.MergeStateName(path.Base(oldest)))
	require.NoError(t, remote.WriteFile(ctx, fsys, state, stateOf(snapshotVDI(0, 1), snapshotVDI(0, 2), "mergeBlocks", path.Base(oldest), path.Base(youngest))))
	before := listFiles(t, fsys, path.Dir(oldest))
	report := mergeAll(t, c, testVM)
	require.Contains(t, findings(report.Unknown), relative(oldest))
	require.Equal(t, before, listFiles(t, fsys, path.Dir(oldest)))
}

// A disk that a merge is about to remove is no base: what were made on it would
// lose its parent.
func TestDiskThatAMergeWillRemoveIsNoBase(t *testing.T) {
	m, fsys := newRepository(t, 3)
	ctx := t.Context()
	c := openCatalog(t, fsys)
	require.NoError(t, lockAndDelete(t, c, pointName(1)))
	require.NoError(t, lockAndDelete(t, c, pointName(2)))
	var chain []string
	for n := 1; n <= 3; n++ {
		chain = append(chain, path.Base(diskName(0, n)))
	}
	dir := path.Dir(diskName(0, 1))
	require.NoError(t, remote.WriteFile(ctx, fsys, path.Join(dir, vhd.MergeStateName(chain[0])),
		stateOf(snapshotVDI(0, 1), snapshotVDI(0, 3), "mergeBlocks", chain...)))
	s := lockVM(t, c, testVM)
	for n := 1; n <= 3; n++ {
		base, err := s.FindBase(ctx, testJob, sourceVDI(0), snapshotVDI(0, n))
		require.NoError(t, err)
		require.Equal(t, n == 3, base != nil, "disk %d", n)
	}
	report, err := s.Merge(ctx, nil)
	require.NoError(t, err)
	require.Empty(t, report.Unknown)
	_, err = m.check(ctx, fsys)
	require.NoError(t, err)
}
