package pipeline_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/restore"
	"github.com/xenbackup/xenbackup/xapi"
)

// memoryOf returns the head of the memory of a VM that is suspended.
func (w *world) memoryOf(ref xapi.Ref[xapi.VM]) string {
	w.t.Helper()
	vm, err := xapi.Get(w.t.Context(), w.client, ref)
	require.NoError(w.t, err)
	require.Equal(w.t, "Suspended", vm.PowerState)
	image, err := xapi.Get(w.t.Context(), w.client, vm.SuspendVDI)
	require.NoError(w.t, err)
	path, err := w.pool.VDIPath(image.UUID)
	require.NoError(w.t, err)
	data, err := os.ReadFile(path)
	require.NoError(w.t, err)
	require.Contains(w.t, string(data[:100]), "memory of "+w.vm().UUID)
	return string(data)
}

// memoryDisk returns the memory image among the disks of a point.
func (w *world) memoryDisk(p *catalog.Point) catalog.DiskInfo {
	w.t.Helper()
	for _, info := range w.remotes["r"].Disks(p) {
		if info.Memory {
			require.Equal(w.t, info.VDI, info.SourceVDI, "nobody's snapshot")
			require.False(w.t, p.Metadata.IsVHDDifferencing[info.Ref], "always full")
			return info
		}
	}
	w.t.Fatal("no memory in " + p.ID)
	return catalog.DiskInfo{}
}

func TestCheckpointsAreDeltasWithMemory(t *testing.T) {
	w := newWorld(t, "r")
	w.tagVM("xo-memory-backup")
	w.set(`{"exportRetention":2}`)
	for i := range 3 {
		w.write(0, int64(i)*mib, mib, byte(50+i))
		w.mustRun()
		w.checkGuest()
	}
	require.Equal(t, 3, w.called("VM.checkpoint"))
	require.Len(t, w.pool.Snapshots(), 1)
	points := w.points("r")
	require.Len(t, points, 2)
	require.Equal(t, w.vm().UUID, points[0].VM())
	var images []string
	for _, p := range points {
		info := w.memoryDisk(p)
		images = append(images, filepath.Base(filepath.Dir(info.Path)))
		disk, err := w.remotes["r"].OpenDisk(t.Context(), p, info.Ref)
		require.NoError(t, err)
		want := make([]byte, disk.Size())
		_, err = io.ReadFull(io.NewSectionReader(disk, 0, disk.Size()), want)
		require.NoError(t, err)
		require.NoError(t, disk.Close())

		res, err := restore.VM(t.Context(), w.client, w.remotes["r"], p, nil)
		require.NoError(t, err)
		require.Equal(t, strings.TrimRight(string(want), "\x00"), strings.TrimRight(w.memoryOf(res.Ref), "\x00"))
		for _, d := range w.remotes["r"].Disks(p) {
			if d.Memory {
				continue
			}
			path, err := w.pool.VDIPath(res.Disks[d.VDI])
			require.NoError(t, err)
			f, err := os.Open(path)
			require.NoError(t, err)
			require.Equal(t, w.frozen[p.ID][d.SourceVDI], sum(t, io.NewSectionReader(f, 0, d.Size)), d.Name)
			require.NoError(t, f.Close())
		}
	}
	// What belonged to the point that expired is gone.
	dirs, err := os.ReadDir(filepath.Join(w.dirs["r"], "xo-vm-backups", w.vm().UUID, "vdis", w.job.ID))
	require.NoError(t, err)
	kept := map[string]bool{}
	for _, d := range dirs {
		files, err := os.ReadDir(filepath.Join(w.dirs["r"], "xo-vm-backups", w.vm().UUID, "vdis", w.job.ID, d.Name()))
		require.NoError(t, err)
		kept[d.Name()] = len(files) > 0
	}
	for _, image := range images {
		require.True(t, kept[image])
		delete(kept, image)
	}
	for _, d := range w.vm().Disks {
		delete(kept, d.UUID)
	}
	for name, full := range kept {
		require.False(t, full, name)
	}
}

func TestRestoredMemoryIsResumedOrLeftOut(t *testing.T) {
	w := newWorld(t, "r")
	w.set(`{"exportRetention":2,"checkpointSnapshot":true}`)
	w.mustRun()
	p := w.points("r")[0]
	state := func(opts *restore.Options) string {
		res, err := restore.VM(t.Context(), w.client, w.remotes["r"], p, opts)
		require.NoError(t, err)
		vm, err := xapi.Get(t.Context(), w.client, res.Ref)
		require.NoError(t, err)
		return vm.PowerState
	}
	require.Equal(t, "Running", state(&restore.Options{Start: true}))
	require.Equal(t, "Halted", state(&restore.Options{MapSRs: map[string]string{w.memoryDisk(p).VDI: ""}}))
	w.checkClean()
}

func TestArchiveOfACheckpointHasTheMemory(t *testing.T) {
	w := newFullWorld(t, "r")
	w.set(`{"exportRetention":2,"checkpointSnapshot":true}`)
	w.mustRun()
	w.checkGuest()
	require.Empty(t, w.pool.Snapshots())
	res, err := restore.VM(t.Context(), w.client, w.remotes["r"], w.points("r")[0], nil)
	require.NoError(t, err)
	w.memoryOf(res.Ref)
}

func TestVMThatIsDownHasAPlainSnapshot(t *testing.T) {
	w := newWorld(t, "r")
	w.set(`{"exportRetention":2,"checkpointSnapshot":true}`)
	w.enter("Halted")
	w.mustRun()
	require.Equal(t, "snapshot export", w.order())
}

// What the memory knows of must not be missing.
func TestSnapshotThatLeavesDisksOutHasNoMemory(t *testing.T) {
	w := newWorld(t, "r")
	w.set(`{"exportRetention":2,"checkpointSnapshot":true}`)
	data := xapi.Ref[xapi.VDI](w.vm().Disks[1].Ref)
	require.NoError(t, w.client.Call(t.Context(), "VDI.set_name_label", nil, data, "data [NOBAK]"))
	run := w.mustRun()
	require.Equal(t, "snapshot export", w.order())
	require.Equal(t, []string{"snapshot without memory, since disks are left out"}, messages(find(run, "backup VM")[0].Warnings()))
}
