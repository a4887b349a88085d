package catalog

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"time"
)

// The modes of a backup.
const (
	ModeFull  = "full"  // one XVA archive
	ModeDelta = "delta" // a VHD per disk, each perhaps a child of an earlier one
)

// Point is a restore point: a backup whose JSON is complete under its name.
type Point struct {
	ID       string // path of the JSON from the root: "xo-vm-backups/<vm>/<date>.json"
	Metadata Metadata
}

// VM returns the uuid of the VM: the name of its directory.
func (p *Point) VM() string { return path.Base(path.Dir(p.ID)) }

// Time returns when the snapshot was taken, to the millisecond; to the second when only
// the name says it.
func (p *Point) Time() time.Time { return time.UnixMilli(p.Metadata.Timestamp).UTC() }

// Name returns the name label that the VM had, or "" when the record does not say.
func (p *Point) Name() string {
	var vm struct {
		Name string `json:"name_label"`
	}
	if json.Unmarshal(p.Metadata.VM, &vm) != nil {
		return ""
	}
	return vm.Name
}

// memory returns the reference of the snapshot's memory image, a null reference when
// it has none.
func (p *Point) memory() string {
	var snapshot struct {
		Suspend string `json:"suspend_VDI"`
	}
	if json.Unmarshal(p.Metadata.VMSnapshot, &snapshot) != nil {
		return ""
	}
	return snapshot.Suspend
}

// DiskInfo describes a disk of a delta backup.
type DiskInfo struct {
	Ref       string // its key in the metadata
	VDI       string // uuid of the snapshot VDI that was exported
	SourceVDI string // uuid of the VM's own VDI; of a memory image, which is no snapshot, VDI
	Name      string // name label
	Size      int64  // virtual size in bytes, as the record says
	Memory    bool   // not a disk of the VM, but the content of its memory
	Path      string // of the VHD, relative to the directory of the VM; untrusted
}

// Disks returns the disks of p ordered by path, so that a disk keeps its place
// from one point to the next. A disk whose record is missing has a Ref and a
// Path only. A full backup has none: its disks are inside the XVA.
func (c *Catalog) Disks(p *Point) []DiskInfo {
	disks := make([]DiskInfo, 0, len(p.Metadata.VHDs))
	memory := p.memory()
	for ref, name := range p.Metadata.VHDs {
		info := diskInfo(ref, name, p.Metadata.VDIs[ref])
		info.Memory = ref == memory
		disks = append(disks, info)
	}
	slices.SortFunc(disks, func(a, b DiskInfo) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Ref, b.Ref))
	})
	return disks
}

func diskInfo(ref, name string, record json.RawMessage) DiskInfo {
	info := DiskInfo{Ref: ref, Path: name}
	var vdi struct {
		UUID       string          `json:"uuid"`
		Name       string          `json:"name_label"`
		SnapshotOf string          `json:"$snapshot_of$uuid"`
		Size       json.RawMessage `json:"virtual_size"`
	}
	if json.Unmarshal(record, &vdi) != nil {
		return info
	}
	info.VDI, info.Name = vdi.UUID, vdi.Name
	info.SourceVDI = cmp.Or(vdi.SnapshotOf, vdi.UUID)
	if vdi.Size != nil && decodeInt(vdi.Size, &info.Size) != nil {
		info.Size = 0
	}
	return info
}

// parsePoint decodes the metadata of the file name. What cannot serve as a
// restore point is an error: reference counting relies on it.
func parsePoint(name string, data []byte) (*Point, error) {
	p := &Point{ID: name}
	if err := p.Metadata.UnmarshalJSON(data); err != nil {
		return nil, newPointError(name, err)
	}
	m := &p.Metadata
	switch {
	case m.Mode != ModeFull && m.Mode != ModeDelta:
		return nil, newPointError(name, fmt.Errorf("mode %q: %w", m.Mode, ErrIncomplete))
	case m.Mode == ModeDelta && m.VHDs == nil:
		return nil, newPointError(name, fmt.Errorf("no vhds: %w", ErrIncomplete))
	case m.Mode == ModeFull && m.XVA == "":
		return nil, newPointError(name, fmt.Errorf("no xva: %w", ErrIncomplete))
	}
	if err := dateFromName(&m.Timestamp, path.Base(name)); err != nil {
		return nil, newPointError(name, err)
	}
	if err := modernize(m); err != nil {
		return nil, newPointError(name, err)
	}
	return p, nil
}
