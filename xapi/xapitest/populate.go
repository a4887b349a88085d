package xapitest

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
)

// populate fills the empty database with what the inventory describes.
func (p *Pool) populate(inv Inventory) error {
	if len(inv.SRs) == 0 {
		inv.SRs = []SR{{Name: "Local storage"}}
	}
	if len(inv.Networks) == 0 {
		inv.Networks = []Network{{Name: "Pool-wide network associated with eth0"}}
	}
	srs, networks := make(map[string]string), make(map[string]string)
	var hosts []string
	_ = p.db.update(func(tx tx) error { // creates, cannot fail
		for i, h := range inv.Hosts {
			hosts = append(hosts, p.addHost(tx, h, i))
		}
		p.hosts = hosts
		p.master.Store(&hosts[0])
		for i, n := range inv.Networks {
			networks[n.Name] = p.addNetwork(tx, n, i, hosts)
		}
		for i := range inv.SRs {
			srs[inv.SRs[i].Name] = p.addSR(tx, inv.SRs[i], hosts)
		}
		p.poolRef = tx.create("pool", record{
			"name_label": inv.Name, "master": hosts[0], "default_SR": srs[inv.SRs[0].Name],
			"suspend_image_SR": srs[inv.SRs[0].Name], "crash_dump_SR": srs[inv.SRs[0].Name],
		})
		return nil
	})
	srs[""], networks[""] = srs[inv.SRs[0].Name], networks[inv.Networks[0].Name]
	return p.addVMs(inv, srs, networks)
}

// addVMs makes the virtual machines, then brings them into their states.
func (p *Pool) addVMs(inv Inventory, srs, networks map[string]string) error {
	refs := make([]string, len(inv.VMs))
	each := func(f func(vm VM, i int) error) error {
		return p.db.inBulk(func() error {
			for i, vm := range inv.VMs {
				if err := f(vm, i); err != nil {
					return fmt.Errorf("xapitest: vm %s: %w", vm.Name, err)
				}
			}
			return nil
		})
	}
	err := each(func(vm VM, i int) (err error) {
		refs[i], err = p.addVM(vm, srs, networks)
		if vm.VTPM != "" {
			p.addTPM(refs[i], vm.VTPM)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := each(func(vm VM, i int) error { return p.settleVM(vm, refs[i], srs[""]) }); err != nil {
		return err
	}
	for i, vm := range inv.VMs {
		if err := p.addSnapshots(vm, refs[i]); err != nil {
			return err
		}
	}
	return nil
}

func (p *Pool) addHost(tx tx, h Host, i int) string {
	if h.Name == "" {
		h.Name = fmt.Sprintf("host-%d", i+1)
	}
	metrics := tx.create("host_metrics", record{"live": true, "memory_total": int64(64 << 30), "memory_free": int64(32 << 30), "last_updated": now()})
	host := tx.create("host", record{
		"name_label": h.Name, "hostname": h.Name, "address": h.Address, "enabled": true, "metrics": metrics,
		"API_version_major": int64(2), "API_version_minor": int64(21), "API_version_vendor": "XenSource",
		"software_version": map[string]string{
			"product_brand": "XCP-ng", "product_version": "8.3.0", "product_version_text": "8.3",
			"platform_name": "XCP", "platform_version": "3.4.0", "xapi": cmp.Or(h.Xapi, "25.6"), "xen": "4.17.5-13", "build_number": "cloud",
		},
		"edition": "xcp-ng", "license_params": map[string]string{"expiry": "20991231T23:59:59Z"},
	})
	dom0 := tx.create("VM", record{
		"name_label": "Control domain on host: " + h.Name, "is_control_domain": true, "power_state": "Running",
		"resident_on": host, "affinity": host, "domid": int64(0), "memory_static_max": int64(2 << 30),
	})
	_ = tx.set("host", host, record{"control_domain": dom0}) // it exists
	return host
}

func (p *Pool) addNetwork(tx tx, n Network, i int, hosts []string) string {
	if n.Bridge == "" {
		n.Bridge = fmt.Sprintf("xenbr%d", i)
	}
	network := tx.create("network", record{"name_label": n.Name, "bridge": n.Bridge, "managed": true})
	for _, host := range hosts {
		pif := record{
			"device": fmt.Sprintf("eth%d", i), "network": network, "host": host, "MAC": newMAC(), "MTU": int64(1500),
			"VLAN": int64(-1), "physical": true, "currently_attached": true, "management": i == 0, "managed": true,
		}
		if n.VLAN != 0 {
			pif["device"], pif["VLAN"], pif["physical"] = "eth0", int64(n.VLAN), false
		}
		ref := tx.create("PIF", pif)
		if n.VLAN != 0 {
			tx.addVLAN(ref, host, int64(n.VLAN))
		}
	}
	return network
}

func (p *Pool) addSR(tx tx, s SR, hosts []string) string {
	if s.Type == "" {
		s.Type = "ext"
	}
	sr := tx.create("SR", record{
		"name_label": s.Name, "type": s.Type, "content_type": contentType(s.Type), "shared": s.Shared, "physical_size": s.Size,
		"allowed_operations": []string{"scan", "vdi_create", "vdi_destroy", "vdi_clone", "vdi_snapshot", "vdi_resize"},
	})
	for i, host := range hosts {
		h, err := tx.record("host", host)
		if err != nil || len(s.Hosts) > 0 && !slices.Contains(s.Hosts, h.str("name_label")) || len(s.Hosts) == 0 && !s.Shared && i > 0 {
			continue
		}
		tx.create("PBD", record{"host": host, "SR": sr, "currently_attached": true})
	}
	return sr
}

// addVM makes a virtual machine with its disks and interfaces.
func (p *Pool) addVM(vm VM, srs, networks map[string]string) (string, error) {
	ref := p.createVM(vmRecord(vm))
	for i, d := range vm.Disks {
		sr, ok := srs[d.SR]
		if !ok {
			return "", fmt.Errorf("disk %d: no SR named %q", i, d.SR)
		}
		vdi, err := p.addDisk(d, sr)
		if err != nil {
			return "", fmt.Errorf("disk %d: %w", i, err)
		}
		_ = p.db.update(func(tx tx) error { // creates, cannot fail
			tx.create("VBD", record{
				"VM": ref, "VDI": vdi, "userdevice": itoa(i), "device": deviceName(itoa(i)), "bootable": d.Bootable,
				"mode": readWrite, "type": "Disk", "unpluggable": true, "other_config": map[string]string{"owner": ""},
			})
			return nil
		})
	}
	for i, v := range vm.VIFs {
		network, ok := networks[v.Network]
		if !ok {
			return "", fmt.Errorf("interface %d: no network named %q", i, v.Network)
		}
		mac := v.MAC
		if mac == "" {
			mac = newMAC()
		}
		_ = p.db.update(func(tx tx) error { // creates, cannot fail
			tx.create("VIF", record{
				"VM": ref, "network": network, "device": itoa(i), "MAC": strings.ToLower(mac), "MTU": int64(1500),
				"MAC_autogenerated": v.MAC == "",
			})
			return nil
		})
	}
	return ref, nil
}

// addDisk makes a disk of an inventory: its size is kept, not rounded to what a
// storage driver would make of it.
func (p *Pool) addDisk(d Disk, sr string) (string, error) {
	if d.Size == 0 && d.Content != "" {
		info, err := os.Stat(d.Content)
		if err != nil {
			return "", err
		}
		d.Size = info.Size()
	}
	if d.Size <= 0 {
		return "", fmt.Errorf("a disk of %d bytes", d.Size)
	}
	values := record{"name_label": d.Name, "virtual_size": (d.Size + sectorSize - 1) / sectorSize * sectorSize, "SR": sr, "type": "user"}
	return p.storeDisk(values, source{file: d.Content})
}

// vmRecord fills in what an ordinary Linux guest has.
func vmRecord(vm VM) record {
	if vm.Memory == 0 {
		vm.Memory = 1 << 30
	}
	vcpus := int64(max(vm.VCPUs, 1))
	config := put(vm.OtherConfig, "base_template_name", "Debian Bookworm 12")
	if config["mac_seed"] == "" {
		config["mac_seed"] = newUUID()
	}
	boot, nvram := linux()["HVM_boot_params"], vm.NVRAM
	if len(vm.NVRAM) > 0 {
		boot = put(boot, "firmware", "uefi")
	} else {
		nvram = map[string]string{}
	}
	return record{
		"name_label": vm.Name, "name_description": vm.Description, "NVRAM": nvram, "user_version": int64(1), "other_config": config,
		"tags": append([]string{}, vm.Tags...), "memory_static_min": vm.Memory / 2, "memory_static_max": vm.Memory,
		"memory_dynamic_min": vm.Memory, "memory_dynamic_max": vm.Memory, "memory_target": vm.Memory,
		"VCPUs_max": vcpus, "VCPUs_at_startup": vcpus, "actions_after_shutdown": "destroy",
		"actions_after_reboot": "restart", "actions_after_crash": "restart", "HVM_boot_policy": "BIOS order",
		"HVM_boot_params": boot, "platform": linux()["platform"], "domain_type": "hvm",
		"recommendations": "<restrictions></restrictions>", "reference_label": "debian-12",
	}
}

// linux is what machines share: records are never changed in place.
var linux = sync.OnceValue(func() map[string]map[string]string {
	return map[string]map[string]string{
		"HVM_boot_params": {"firmware": "bios", "order": "cdn"},
		"platform":        {"acpi": "1", "apic": "true", "pae": "true", "viridian": "false", "nx": "true"},
	}
})

// newMAC returns a random, locally administered address.
func newMAC() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	b[0] = b[0]&^1 | 2
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5])
}
