package pipeline

import (
	"maps"
	"slices"
	"strings"

	"github.com/xenbackup/xenbackup/selector"
	"github.com/xenbackup/xenbackup/xapi"
)

// objects makes of the records of a pool what XO shows of its VMs.
type objects struct {
	pool   string // uuid
	hosts  map[xapi.Ref[xapi.Host]]*xapi.Host
	guests map[xapi.Ref[xapi.VMGuestMetrics]]*xapi.VMGuestMetrics
}

// typeOf returns XO's type of a record of class VM.
func typeOf(vm *xapi.VM) string {
	switch {
	case vm.IsControlDomain:
		return "VM-controller"
	case vm.IsASnapshot:
		return "VM-snapshot"
	case vm.IsATemplate:
		return "VM-template"
	}
	return "VM"
}

// object returns a VM as patterns and queries expect it. memory.size is what the
// VM may use at most.
func (o objects) object(vm *xapi.VM) selector.VM {
	object := selector.VM{
		"type": typeOf(vm), "id": vm.UUID, "uuid": vm.UUID,
		"name_label": vm.NameLabel, "name_description": vm.NameDescription,
		"power_state": powerState(vm),
		"$pool":       o.pool, "$poolId": o.pool, "$container": o.container(vm),
		"tags": vm.Tags, "other": vm.OtherConfig, "blockedOperations": vm.BlockedOperations,
		"current_operations": vm.CurrentOperations,
		"memory": map[string]any{
			"size": vm.MemoryDynamicMax, "dynamic": []any{vm.MemoryDynamicMin, vm.MemoryDynamicMax},
			"static": []any{vm.MemoryStaticMin, vm.MemoryStaticMax},
		},
		"CPUs":               map[string]any{"max": vm.VCPUsMax, "number": vm.VCPUsAtStartup},
		"virtualizationMode": virtualization(vm),
		"auto_poweron":       vm.OtherConfig["auto_poweron"] == "true",
		"high_availability":  vm.HARestartPriority,
		"startDelay":         vm.StartDelay,
		"xenStoreData":       vm.XenstoreData,
	}
	if guest := o.guests[vm.GuestMetrics]; guest != nil {
		object["os_version"] = guest.OSVersion
		addresses := addressesOf(guest.Networks)
		object["addresses"] = addresses
		if names := slices.Sorted(maps.Keys(addresses)); len(names) > 0 {
			object["mainIpAddress"] = addresses[names[0]]
		}
	}
	return object
}

// powerState is that of the VM, but for one that a backup shut down and could not start
// again: patterns must not lose it for that.
func powerState(vm *xapi.VM) string {
	if uuid, _, _ := strings.Cut(vm.OtherConfig[keyStart], " "); uuid == vm.UUID && vm.PowerState == "Halted" {
		return "Running"
	}
	return vm.PowerState
}

// container is the host on which the VM is, or else the pool.
func (o objects) container(vm *xapi.VM) string {
	if host := o.hosts[vm.ResidentOn]; host != nil {
		return host.UUID
	}
	return o.pool
}

func virtualization(vm *xapi.VM) string {
	switch {
	case vm.DomainType != "" && vm.DomainType != "unspecified":
		return vm.DomainType
	case vm.HVMBootPolicy != "":
		return "hvm"
	}
	return "pv"
}

// addressesOf names addresses as newer guest agents do: "0/ipv4/0".
func addressesOf(networks map[string]string) map[string]string {
	addresses := map[string]string{}
	for name, address := range networks {
		if device, ok := strings.CutSuffix(name, "/ip"); ok {
			name = device + "/ipv4/0"
		}
		addresses[name] = address
	}
	return addresses
}
