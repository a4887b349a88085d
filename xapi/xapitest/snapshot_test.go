package xapitest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

func TestSnapshotFreezesWhileTheDiskIsWritten(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Running", 8*mib))
	c := p.Client(t)
	live := p.VM("web").Disks[0].Path
	fill(t, live, 3*mib, mib, 1)
	before := content(t, live)
	snap := snapshot(t, p, c, "first")
	fill(t, live, 3*mib, 2*mib, 2)
	require.Equal(t, before, content(t, snap.Disks[0].Path))
	require.NotEqual(t, before, content(t, live))
}

func TestSnapshotRecordDescribesItsVM(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Running", 8*mib))
	c := p.Client(t)
	vm := p.VM("web")
	call[any](t, c, "VM.add_to_blocked_operations", vm.Ref, "migrate_send", "backup")
	p.Expect("migrate_send is blocked")
	call[any](t, c, "VDI.add_to_other_config", vm.Disks[0].Ref, "k", "v")
	snap := snapshot(t, p, c, "first")
	rec, err := xapi.Get(t.Context(), c, xapi.Ref[xapi.VM](snap.Ref))
	require.NoError(t, err)
	require.True(t, rec.IsASnapshot)
	require.True(t, rec.IsATemplate)
	require.Equal(t, vm.Ref, string(rec.SnapshotOf))
	require.Equal(t, []string{"prod"}, rec.Tags)
	require.Empty(t, rec.BlockedOperations)
	require.Len(t, rec.VIFs, 1)
	require.EqualValues(t, "Halted", rec.PowerState)
	disk, err := xapi.Get(t.Context(), c, xapi.Ref[xapi.VDI](snap.Disks[0].Ref))
	require.NoError(t, err)
	require.True(t, disk.IsASnapshot)
	require.Equal(t, vm.Disks[0].Ref, string(disk.SnapshotOf))
	require.Equal(t, "v", disk.OtherConfig["k"])
	require.Equal(t, []string{snap.Ref}, call[[]string](t, c, "VM.get_snapshots", vm.Ref))
	require.Equal(t, snap.Ref, call[string](t, c, "VM.get_parent", vm.Ref))

	call[any](t, c, "VM.destroy", snap.Ref)
	require.Empty(t, call[[]string](t, c, "VM.get_snapshots", vm.Ref))
	require.FileExists(t, snap.Disks[0].Path, "destroying a VM keeps its disks")
	call[any](t, c, "VDI.destroy", snap.Disks[0].Ref)
	require.NoFileExists(t, snap.Disks[0].Path)
}

func TestSnapshotLeavesIgnoredDisksOut(t *testing.T) {
	t.Parallel()
	inv := oneVM("Halted", 8*mib)
	inv.VMs[0].Disks = append(inv.VMs[0].Disks, xapitest.Disk{Name: "scratch", Size: 8 * mib})
	p := xapitest.NewPool(t, inv)
	c := p.Client(t)
	vm := p.VM("web")
	var ref string
	require.NoError(t, c.CallAsync(t.Context(), "VM.snapshot", &ref, vm.Ref, "s", []string{vm.Disks[1].Ref}))
	snap := p.Snapshots()[0]
	require.Len(t, snap.Disks, 1)
	require.Equal(t, "root", snap.Disks[0].Name)
}

func TestSnapshotKeepsNoDiskWhenOneFails(t *testing.T) {
	t.Parallel()
	inv := oneVM("Halted", 8*mib)
	inv.VMs[0].Disks = append(inv.VMs[0].Disks, xapitest.Disk{Size: 8 * mib})
	p := xapitest.NewPool(t, inv)
	c := p.Client(t)
	vm := p.VM("web")
	require.NoError(t, os.Remove(vm.Disks[1].Path))
	require.Error(t, c.CallAsync(t.Context(), "VM.snapshot", nil, vm.Ref, "s"))
	require.Empty(t, p.Snapshots())
	files, err := filepath.Glob(filepath.Join(filepath.Dir(vm.Disks[0].Path), "*.raw"))
	require.NoError(t, err)
	require.Equal(t, []string{vm.Disks[0].Path}, files)
}

func TestPowerStatesAndBlockedOperationsAreHonoured(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 8*mib))
	c := p.Client(t)
	vm := p.VM("web")
	ctx := t.Context()
	call[any](t, c, "VM.add_to_blocked_operations", vm.Ref, "start", "not now")
	err := c.CallAsync(ctx, "VM.start", nil, vm.Ref, false, false)
	require.ErrorIs(t, err, xapi.ErrOperationBlocked)
	call[any](t, c, "VM.remove_from_blocked_operations", vm.Ref, "start")
	require.NoError(t, c.CallAsync(ctx, "VM.start", nil, vm.Ref, false, false))
	require.ErrorIs(t, c.Call(ctx, "VM.destroy", nil, vm.Ref), xapi.ErrVMBadPowerState)
	require.ErrorIs(t, c.Call(ctx, "VDI.destroy", nil, vm.Disks[0].Ref), xapi.ErrVDIInUse)
	require.NoError(t, c.CallAsync(ctx, "VM.clean_shutdown", nil, vm.Ref))
	call[any](t, c, "VM.set_is_a_template", vm.Ref, true)
	require.ErrorIs(t, c.Call(ctx, "VM.start", nil, vm.Ref, false, false), xapi.ErrVMIsTemplate)
	call[any](t, c, "VM.destroy", vm.Ref)
	call[any](t, c, "VDI.destroy", vm.Disks[0].Ref)
	require.Empty(t, p.VM("web").Ref)
}
