package pipeline_test

import (
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/restore"
	"github.com/xenbackup/xenbackup/xapi"
)

func TestRestoredVMHasTheDisksOfItsPoint(t *testing.T) {
	w := newWorld(t, "r")
	for i := range 4 {
		w.write(0, int64(i)*4*mib, 3*mib, byte(40*i))
		w.mustRun()
	}
	points := w.points("r")
	require.Len(t, points, 3)
	for i, p := range points {
		res, err := restore.VM(t.Context(), w.client, w.remotes["r"], p, &restore.Options{SR: w.pool.SR("second").UUID, NewMACs: i > 0})
		require.NoError(t, err)
		vm, err := xapi.Get(t.Context(), w.client, res.Ref)
		require.NoError(t, err)
		require.Equal(t, res.VM, vm.UUID)
		for _, info := range w.remotes["r"].Disks(p) {
			path, err := w.pool.VDIPath(res.Disks[info.VDI])
			require.NoError(t, err)
			f, err := os.Open(path)
			require.NoError(t, err)
			require.Equal(t, w.frozen[p.ID][info.SourceVDI], sum(t, io.NewSectionReader(f, 0, info.Size)), info.Name)
			require.NoError(t, f.Close())
		}
		require.Empty(t, vm.BlockedOperations, "neither the block of the import nor that of the backup")
		require.Equal(t, "kept", vm.OtherConfig["note"])
		for key := range vm.OtherConfig {
			require.NotContains(t, key, "xo:backup:", "a restored VM belongs to no job")
		}
		_, seeded := vm.OtherConfig["mac_seed"]
		require.Equal(t, i == 0, seeded, "with new addresses, no seed of the old ones")
	}
	w.checkClean()
}
