package xapitest

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// settleVM gives a machine of an inventory what it needs its devices for: its
// power state, guest and blocked operations.
func (p *Pool) settleVM(vm VM, ref, sr string) error {
	host := p.masterRef()
	if vm.Host != "" {
		i := p.hostNamed(vm.Host)
		if i < 0 {
			return fmt.Errorf("no host named %q", vm.Host)
		}
		host = p.hosts[i]
	}
	state := vm.PowerState
	if state == "" || vm.Template {
		state = "Halted"
	}
	if !slices.Contains([]string{"Halted", "Running", "Paused", "Suspended"}, state) {
		return fmt.Errorf("no power state %q", state)
	}
	values := record{"is_a_template": vm.Template}
	if len(vm.BlockedOperations) > 0 {
		values["blocked_operations"] = maps.Clone(vm.BlockedOperations)
		for op := range vm.BlockedOperations {
			p.Expect(blockedLeak(op, p.uuid("VM", ref))) // the inventory's, not a client's
		}
	}
	if state == "Suspended" {
		image, err := p.storeDisk(record{"name_label": "Suspend image", "virtual_size": max(vm.Memory, blockSize), "SR": sr, "type": "suspend"}, source{})
		if err != nil {
			return fmt.Errorf("suspend image: %w", err)
		}
		values["suspend_VDI"], values["last_booted_record"] = image, "('struct')"
		values["last_boot_CPU_flags"] = map[string]string{"vendor": "GenuineIntel", "features": ""}
	}
	return p.db.update(func(tx tx) error {
		if vm.Guest != nil {
			values["guest_metrics"] = tx.create("VM_guest_metrics", guestRecord(vm.Guest))
		}
		if err := tx.set("VM", ref, values); err != nil {
			return err
		}
		return tx.enter(ref, state, host)
	})
}

// addTPM gives a machine its TPM.
func (p *Pool) addTPM(vm, contents string) {
	_ = p.db.update(func(tx tx) error { // creates, cannot fail
		p.setContents(tx.create("VTPM", record{"VM": vm}), contents)
		return nil
	})
}

// addSnapshots takes the snapshots that a machine of an inventory has.
func (p *Pool) addSnapshots(vm VM, ref string) error {
	for _, name := range vm.Snapshots {
		if _, err := p.duplicateVM(context.Background(), ref, name, nil, true); err != nil {
			return fmt.Errorf("xapitest: vm %s: snapshot %s: %w", vm.Name, name, err)
		}
	}
	return nil
}

// uuid returns that of an object which exists.
func (p *Pool) uuid(class, ref string) string {
	rec, err := p.db.record(class, ref)
	if err != nil {
		return ""
	}
	return rec.str("uuid")
}

func guestRecord(g *Guest) record {
	drivers := make(map[string]string)
	addresses := maps.Clone(g.Addresses)
	if addresses == nil {
		addresses = make(map[string]string)
	}
	var major, minor, micro int
	if n, _ := fmt.Sscanf(g.Drivers, "%d.%d.%d", &major, &minor, &micro); n > 0 {
		drivers = map[string]string{"major": itoa(major), "minor": itoa(minor), "micro": itoa(micro), "build": "1"}
	}
	return record{
		"os_version": map[string]string{"name": g.OS}, "PV_drivers_version": drivers, "PV_drivers_up_to_date": len(drivers) > 0,
		"PV_drivers_detected": len(drivers) > 0, "networks": addresses, "live": true, "last_updated": now(),
		"other": map[string]string{"feature-shutdown": "1", "feature-suspend": "1"},
	}
}

// setContents stores what a TPM holds.
func (p *Pool) setContents(tpm, contents string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.vtpms[tpm] = contents
}

// addVLAN describes a tagged interface: the untagged one of the same host below
// it.
func (t tx) addVLAN(tagged, host string, tag int64) {
	below := null
	for ref, pif := range t.all("PIF") {
		if pif.str("host") == host && pif.bool("management") {
			below = ref
		}
	}
	vlan := t.create("VLAN", record{"tagged_PIF": below, "untagged_PIF": tagged, "tag": tag})
	_ = t.set("PIF", tagged, record{"VLAN_master_of": vlan}) // it exists
}
