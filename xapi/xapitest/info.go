package xapitest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// VMInfo identifies a virtual machine of the pool.
type VMInfo struct {
	Name  string
	UUID  string
	Ref   string
	Disks []DiskInfo // by position
}

// DiskInfo identifies a disk. Path is its content as a raw file: that of a
// live disk may be written by anyone while the pool runs, that of a snapshot is
// frozen.
type DiskInfo struct {
	Name string
	UUID string
	Ref  string
	Path string
	Size int64 // bytes
}

// SRInfo identifies a storage repository.
type SRInfo struct {
	Name string
	UUID string
	Ref  string
}

// VM returns the virtual machine of that name: the oldest one if there are
// several, the zero VMInfo if there is none. Snapshots are not looked at.
func (p *Pool) VM(name string) VMInfo {
	for _, vm := range p.vmsWhere(func(vm record) bool { return isLive(vm) && vm.str("name_label") == name }) {
		return vm
	}
	return VMInfo{}
}

func isLive(vm record) bool { return !vm.bool("is_a_snapshot") && !vm.bool("is_control_domain") }

// VMs returns the virtual machines of the pool, oldest first, without snapshots
// and control domains.
func (p *Pool) VMs() []VMInfo {
	return p.vmsWhere(isLive)
}

// Snapshots returns the snapshots of all virtual machines, oldest first.
func (p *Pool) Snapshots() []VMInfo {
	return p.vmsWhere(func(vm record) bool { return vm.bool("is_a_snapshot") })
}

func (p *Pool) vmsWhere(match func(record) bool) []VMInfo {
	p.db.mu.Lock()
	defer p.db.mu.Unlock()
	var rows []*row
	for _, r := range p.db.tables["VM"].rows {
		if match(r.record) {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b *row) int { return cmp.Compare(a.created, b.created) })
	infos := make([]VMInfo, 0, len(rows))
	for _, r := range rows {
		infos = append(infos, VMInfo{
			Name: r.record.str("name_label"), UUID: r.record.str("uuid"), Ref: r.ref, Disks: p.disksOf(tx{p.db}, r.record),
		})
	}
	return infos
}

func (p *Pool) disksOf(tx tx, vm record) []DiskInfo {
	places := make(map[string]int)
	var disks []DiskInfo
	for _, vbd := range vm.set("VBDs") {
		v, err := tx.record("VBD", vbd)
		if err != nil {
			continue
		}
		ref := v.str("VDI")
		vdi, err := tx.record("VDI", ref)
		if err != nil {
			continue
		}
		places[ref], _ = strconv.Atoi(v.str("userdevice"))
		disks = append(disks, DiskInfo{
			Name: vdi.str("name_label"), UUID: vdi.str("uuid"), Ref: ref,
			Path: p.disks.path(vdi.str("uuid")), Size: vdi.int("virtual_size"),
		})
	}
	slices.SortFunc(disks, func(a, b DiskInfo) int { return cmp.Compare(places[a.Ref], places[b.Ref]) })
	return disks
}

// SR returns the storage repository of that name, or the zero SRInfo.
func (p *Pool) SR(name string) SRInfo {
	for ref, sr := range p.recordsWhere("SR", func(r record) bool { return r.str("name_label") == name }) {
		return SRInfo{Name: name, UUID: sr.str("uuid"), Ref: ref}
	}
	return SRInfo{}
}

// VDIPath returns the raw file with the content of the disk of that uuid. There
// is none when it is hidden or its data was destroyed.
func (p *Pool) VDIPath(uuid string) (string, error) {
	if _, err := p.refByUUID("VDI", uuid); err != nil {
		return "", fmt.Errorf("xapitest: %w", err)
	}
	if path := p.disks.path(uuid); path != "" {
		return path, nil
	}
	return "", fmt.Errorf("xapitest: disk %s has no file", uuid)
}

// WriteVDI writes to the disk of that uuid, as its guest would. What changes is
// noted, so that exports with base and changed blocks need not compare contents,
// which they do where somebody has written the file itself. It fails beyond the
// end of the disk and for snapshots.
func (p *Pool) WriteVDI(uuid string, b []byte, off int64) error {
	_, vdi, err := p.db.byRefOrUUID("VDI", uuid)
	if err != nil {
		return fmt.Errorf("xapitest: %w", err)
	}
	if size := vdi.int("virtual_size"); vdi.bool("is_a_snapshot") || off < 0 || off > size || int64(len(b)) > size-off {
		return fmt.Errorf("xapitest: disk %s, a snapshot: %t, of %d bytes: cannot write %d at %d",
			uuid, vdi.bool("is_a_snapshot"), size, len(b), off)
	}
	w, err := p.disks.writer(uuid)
	if err != nil {
		return fmt.Errorf("xapitest: %w", err)
	}
	_, err = w.WriteAt(b, off)
	return errors.Join(err, w.Close())
}
