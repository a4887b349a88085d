package restore

import (
	"context"
	"fmt"
	"log/slog"
	"maps"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/xapi"
)

// withMemory says whether a VM is to be made of a delta point with the memory that is in
// it: the point has what is needed to go on with it, and the pool can make suspended VMs.
// Pools make virtual TPMs for halted ones alone. What stands in the way is logged.
func withMemory(ctx context.Context, pool Pool, p *catalog.Point, log *slog.Logger) (bool, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	leave := func(reason string) (bool, error) {
		log.WarnContext(ctx, "restored without memory", "point", p.ID, "reason", reason)
		return false, nil
	}
	snapshot, err := parseRecord(p.Metadata.VMSnapshot)
	switch {
	case err != nil || len(lastBoot(snapshot)) < len(lastBootFields()):
		return leave("the point does not tell how the VM was booted")
	case len(p.Metadata.VTPMs) > 0:
		return leave("the VM has a virtual TPM")
	}
	if able, ok := pool.(interface {
		Features(ctx context.Context) (*xapi.Features, error)
	}); ok {
		features, err := able.Features(ctx)
		if err != nil {
			return false, fmt.Errorf("restore: what the pool can do: %w", err)
		}
		if !features.CreateSuspended {
			return leave("the pool cannot make suspended VMs")
		}
	}
	return true, nil
}

// lastBootFields are the fields without which a memory image is of no use.
func lastBootFields() []string { return []string{"last_booted_record", "last_boot_CPU_flags"} }

// lastBoot returns those of them that a record has.
func lastBoot(vm record) record {
	fields := vm.pick(lastBootFields()...)
	for name, value := range fields {
		switch string(value) {
		case `""`, `{}`:
			delete(fields, name)
		}
	}
	return fields
}

// createMemory makes the disk for the memory, which must be there before its VM, and
// puts into state what makes it a suspended one.
func (m *making) createMemory(ctx context.Context, disks []Disk, state record) error {
	for _, d := range disks {
		if !d.Memory {
			continue
		}
		if err := m.createDisk(ctx, d); err != nil {
			return fmt.Errorf("restore: memory: %w", err)
		}
		source, err := parseRecord(m.records.Snapshot)
		if err != nil {
			return fmt.Errorf("restore: memory: %w", err)
		}
		maps.Copy(state, lastBoot(source))
		state.set("power_state", "Suspended")
		state.set("suspend_VDI", m.made.Disks[d.Key])
		m.made.Suspended = true
	}
	return nil
}

// attached adds to a device of a suspended VM where the guest in the memory sees it.
func (m *making) attached(device, source record) {
	if !m.made.Suspended {
		return
	}
	for _, name := range []string{"device", "currently_attached"} {
		if value, ok := source[name]; ok {
			device[name] = value
		}
	}
}
