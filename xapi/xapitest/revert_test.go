package xapitest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

func TestRevertBringsBackMachinesThatAreGone(t *testing.T) {
	t.Parallel()
	p := xapitest.NewPool(t, oneVM("Halted", 4*mib))
	c := p.Client(t)
	vm := p.VM("web")
	call[any](t, c, "VM.set_name_label", vm.Ref, `we'b\`)
	vm = p.VM(`we'b\`)
	require.NoError(t, p.WriteVDI(vm.Disks[0].UUID, random(mib, 1), 0))
	var first, second string
	require.NoError(t, c.CallAsync(t.Context(), "VM.snapshot", &first, vm.Ref, "1"))
	require.NoError(t, c.CallAsync(t.Context(), "VM.snapshot", &second, vm.Ref, "2"))
	call[any](t, c, "VM.destroy", vm.Ref)
	call[any](t, c, "VDI.destroy", vm.Disks[0].Ref)
	require.NoError(t, c.CallAsync(t.Context(), "VM.revert", nil, first))

	again := p.VM(`we'b\`)
	require.Equal(t, vm.UUID, again.UUID)
	require.NotEqual(t, vm.Ref, again.Ref)
	require.Equal(t, random(mib, 1), content(t, again.Disks[0].Path)[:mib])
	rec, err := xapi.Get(t.Context(), c, xapi.Ref[xapi.VM](again.Ref))
	require.NoError(t, err)
	require.False(t, rec.IsATemplate)
	require.False(t, rec.IsASnapshot)
	require.Len(t, rec.VIFs, 1)
	require.Len(t, rec.Snapshots, 2, "also the other one is its")
	require.NoError(t, c.CallAsync(t.Context(), "VM.start", nil, again.Ref, false, false))
	require.NoError(t, c.CallAsync(t.Context(), "VM.revert", nil, second), "a second time it is there")
	require.Equal(t, again.Ref, p.VM(`we'b\`).Ref)
}

func TestDisksMoveAndRevert(t *testing.T) {
	t.Parallel()
	inv := oneVM("Halted", 4*mib)
	inv.SRs = []xapitest.SR{{Name: "one"}, {Name: "two", Type: "lvm", Size: 6 * mib}}
	p := xapitest.NewPool(t, inv)
	c := p.Client(t)
	disk := p.VM("web").Disks[0]
	require.NoError(t, p.WriteVDI(disk.UUID, []byte("before"), 0))
	frozen := snapshot(t, p, c, "s").Disks[0]
	require.NoError(t, p.WriteVDI(disk.UUID, []byte("after."), 0))
	require.NoError(t, c.CallAsync(t.Context(), "VDI.revert", nil, frozen.Ref))
	require.Equal(t, "before", string(content(t, disk.Path)[:6]))
	require.ErrorIs(t, c.Call(t.Context(), "VDI.revert", nil, disk.Ref), code("OPERATION_NOT_ALLOWED"))

	var moved string
	require.NoError(t, c.CallAsync(t.Context(), "VDI.pool_migrate", &moved, disk.Ref, p.SR("two").Ref, map[string]string{}))
	require.Equal(t, p.SR("two").Ref, call[string](t, c, "VDI.get_SR", moved))
	require.Equal(t, "before", string(content(t, disk.Path)[:6]))
	other := call[string](t, c, "VDI.create", map[string]any{
		"SR": p.SR("one").Ref, "virtual_size": "4194304", "type": "user", "sharable": false, "read_only": false, "other_config": map[string]string{},
	})
	err := c.CallAsync(t.Context(), "VDI.pool_migrate", nil, other, p.SR("two").Ref, map[string]string{})
	require.ErrorIs(t, err, xapi.ErrSRFull)
	call[any](t, c, "VDI.enable_cbt", other)
	require.ErrorIs(t, c.CallAsync(t.Context(), "VDI.pool_migrate", nil, other, p.SR("one").Ref, map[string]string{}), code("VDI_CBT_ENABLED"))
	call[any](t, c, "VDI.forget", other)
	require.ErrorIs(t, c.Call(t.Context(), "VDI.get_uuid", nil, other), xapi.ErrHandleInvalid)
}

func TestMachinesMoveToHostsThatSeeTheirDisks(t *testing.T) {
	t.Parallel()
	inv := oneVM("Running", 4*mib)
	inv.Hosts = []xapitest.Host{{Name: "alpha"}, {Name: "beta"}}
	inv.SRs = []xapitest.SR{{Name: "shared", Shared: true}, {Name: "local"}}
	inv.VMs = append(inv.VMs, xapitest.VM{Name: "bound", PowerState: "Running", Disks: []xapitest.Disk{{Size: mib, SR: "local"}}})
	p := xapitest.NewPoolWith(t, inv, &xapitest.Options{Listener: xapitest.NewMemoryListener()})
	c := p.Client(t)
	beta := p.Hosts()[1].Ref
	move := func(name string) error {
		return c.CallAsync(t.Context(), "VM.pool_migrate", nil, p.VM(name).Ref, beta, map[string]string{"live": "true"})
	}
	require.NoError(t, move("web"))
	require.Equal(t, beta, call[string](t, c, "VM.get_resident_on", p.VM("web").Ref))
	require.ErrorIs(t, move("bound"), code("VM_REQUIRES_SR"))
	call[any](t, c, "VM.add_to_blocked_operations", p.VM("web").Ref, "pool_migrate", "backup")
	require.ErrorIs(t, move("web"), xapi.ErrOperationBlocked)
	call[any](t, c, "VM.remove_from_blocked_operations", p.VM("web").Ref, "pool_migrate")

	vif := call[[]string](t, c, "VM.get_VIFs", p.VM("web").Ref)[0]
	require.ErrorIs(t, c.Call(t.Context(), "VIF.plug", nil, vif), code("DEVICE_ALREADY_ATTACHED"))
	call[any](t, c, "VIF.unplug", vif)
	require.False(t, call[bool](t, c, "VIF.get_currently_attached", vif))
	pbd := call[[]string](t, c, "SR.get_PBDs", p.SR("local").Ref)[0]
	require.ErrorIs(t, c.Call(t.Context(), "PBD.unplug", nil, pbd), xapi.ErrVDIInUse)
	require.ErrorIs(t, c.Call(t.Context(), "VM.set_suspend_VDI", nil, p.VM("web").Ref, p.VM("web").Disks[0].Ref), xapi.ErrVMBadPowerState)
	require.ErrorIs(t, c.Call(t.Context(), "VUSB.create", nil, p.VM("web").Ref, "OpaqueRef:NULL", map[string]string{}), xapi.ErrVMBadPowerState)
	require.ErrorIs(t, c.Call(t.Context(), "Async.VM.set_name_label", nil, p.VM("web").Ref, "x"), code("MESSAGE_METHOD_UNKNOWN"), "setters have no such form")
}
