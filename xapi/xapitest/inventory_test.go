package xapitest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// estate is a pool with one of each.
func estate() xapitest.Inventory {
	disk := []xapitest.Disk{{Size: 8 * mib}}
	return xapitest.Inventory{
		Hosts:    []xapitest.Host{{Name: "one"}, {Name: "two"}},
		SRs:      []xapitest.SR{{Name: "shared", Type: "nfs", Shared: true}, {Name: "isos", Type: "iso", Hosts: []string{"two"}}},
		Networks: []xapitest.Network{{Name: "management"}, {Name: "guests", VLAN: 42}},
		VMs: []xapitest.VM{
			{
				Name: "running", PowerState: "Running", Host: "two", Disks: disk, VIFs: []xapitest.VIF{{Network: "guests"}}, VTPM: "c2VjcmV0",
				Guest:     &xapitest.Guest{OS: "Debian GNU/Linux 12", Drivers: "8.4.0", Addresses: map[string]string{"0/ip": "192.0.2.7"}},
				Snapshots: []string{"monday", "tuesday"},
			},
			{Name: "paused", PowerState: "Paused", Disks: disk},
			{Name: "suspended", PowerState: "Suspended", Memory: 16 * mib, Disks: disk},
			{Name: "halted", Disks: disk, BlockedOperations: map[string]string{"migrate_send": "no", "start": "never"}},
			{Name: "template", Template: true, Disks: disk},
		},
	}
}

func TestInventoryBecomesThePool(t *testing.T) {
	t.Parallel()
	p := inMemory(t, estate(), xapitest.Options{})
	c := p.Client(t)
	type object = map[string]any
	vm := func(name string) object { return call[object](t, c, "VM.get_record", p.VM(name).Ref) }
	for name, state := range map[string]string{
		"running": "Running", "paused": "Paused", "suspended": "Suspended", "halted": "Halted", "template": "Halted",
	} {
		require.Equal(t, state, vm(name)["power_state"])
	}
	running := vm("running")
	require.Equal(t, p.Hosts()[1].Ref, running["resident_on"])
	require.Len(t, running["snapshots"], 2)
	require.Equal(t, "monday", p.Snapshots()[0].Name)
	require.Len(t, call[[]string](t, c, "VM.get_VTPMs", p.Snapshots()[1].Ref), 1, "with its TPM")
	require.Equal(t, "c2VjcmV0", call[string](t, c, "VTPM.get_contents", running["VTPMs"].([]any)[0])) //nolint:forcetypeassert // a set
	guest := call[object](t, c, "VM_guest_metrics.get_record", running["guest_metrics"])
	require.Equal(t, object{"0/ip": "192.0.2.7"}, guest["networks"])
	require.Equal(t, "8", guest["PV_drivers_version"].(object)["major"]) //nolint:forcetypeassert // a map
	require.Equal(t, "suspend", call[string](t, c, "VDI.get_type", vm("suspended")["suspend_VDI"]))
	require.Equal(t, true, vm("template")["is_a_template"])
	require.NotContains(t, vm("template")["allowed_operations"], "start")
	require.NotContains(t, vm("halted")["allowed_operations"], "start")
	tagged := call[map[string]object](t, c, "PIF.get_all_records_where", `field "VLAN" = "42"`)
	require.Len(t, tagged, 2, "one on each host")
	vlans := call[map[string]object](t, c, "VLAN.get_all_records")
	require.Len(t, vlans, 2)
	for ref, vlan := range vlans {
		require.Equal(t, ref, tagged[vlan["untagged_PIF"].(string)]["VLAN_master_of"]) //nolint:forcetypeassert // a ref
		require.Contains(t, call[map[string]object](t, c, "PIF.get_all_records"), vlan["tagged_PIF"])
	}
	require.Len(t, call[[]string](t, c, "SR.get_PBDs", p.SR("isos").Ref), 1)
	require.Len(t, call[[]string](t, c, "SR.get_PBDs", p.SR("shared").Ref), 2)
	require.Empty(t, p.Leaks(), "what the inventory has blocked is no leak")
}

func TestInventoryThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	for text, vm := range map[string]xapitest.VM{
		`no host named "x"`:   {Name: "v", Host: "x"},
		`no power state "On"`: {Name: "v", PowerState: "On"},
		`no SR named "x"`:     {Name: "v", Disks: []xapitest.Disk{{SR: "x", Size: mib}}},
	} {
		_, err := xapitest.Start(xapitest.Inventory{VMs: []xapitest.VM{vm}}, &xapitest.Options{Dir: t.TempDir()})
		require.ErrorContains(t, err, text)
	}
}

func TestLeftoversFailCloseUnlessExpected(t *testing.T) {
	t.Parallel()
	p, err := xapitest.Start(oneVM("Running", 8*mib), &xapitest.Options{Dir: t.TempDir()})
	require.NoError(t, err)
	c := p.Client(t)
	for _, name := range []string{"one", "two"} {
		snap := snapshot(t, p, c, name)
		for key, value := range map[string]string{"xo:backup:exported": "true", "xo:backup:job": "nightly", "xo:backup:vm": p.VM("web").UUID} {
			call[any](t, c, "VM.add_to_other_config", snap.Ref, key, value)
		}
	}
	require.Len(t, p.Leaks(), 1)
	task(t, c)
	p.Expect("task ")
	require.NoError(t, c.Close())
	require.ErrorContains(t, p.Close(), "2 exported base snapshots of vm "+p.VM("web").UUID+" for job nightly")
	require.NotContains(t, p.Close().Error(), "pending")
}
