package xapitest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/xenbackup/xenbackup/internal/xmlvalue"
	"github.com/xenbackup/xenbackup/xva"
)

// archivedClasses are the classes of an archive's objects, in the order in which
// a host writes them.
func archivedClasses() []string {
	return []string{"host", "VM", "VM_metrics", "VM_guest_metrics", "VBD", "VIF", "network", "VDI", "SR", "VGPU", "VTPM"}
}

// archiver turns virtual machines, and what belongs to them, into the objects of
// an archive.
type archiver struct {
	tx        tx
	contents  map[string]string // of the VTPMs
	preserve  bool              // the power state and what a suspended machine needs
	metadata  bool              // machines keep their relations to their snapshots
	snapshots bool              // the snapshots of a machine belong to it
	excluded  []string          // devices to leave out: vif, vbd, vgpu, vtpm

	chosen map[string][]string // by class
	ids    map[string]string   // by reference
}

// archive describes the machines as an archive does. disks has the references of
// the disks by their ids in it.
func (p *Pool) archive(a *archiver, vms ...string) (ova *xva.OVA, disks map[string]string, err error) {
	a.contents = p.tpmContents()
	a.chosen, a.ids = make(map[string][]string), make(map[string]string)
	err = p.db.update(func(tx tx) error { // only reads
		a.tx = tx
		for _, vm := range vms {
			if err := a.addVM(vm); err != nil {
				return err
			}
		}
		ova = a.describe(tx.masterVersion())
		return nil
	})
	disks = make(map[string]string)
	for _, vdi := range a.chosen["VDI"] {
		disks[a.ids[vdi]] = vdi
	}
	return ova, disks, err
}

// masterVersion is what the archives of this pool say of it: the numbers of the
// xapi that wrote them, not those of the API.
func (t tx) masterVersion() xva.Version {
	v := xva.Version{Date: now(), ExportVSN: 2}
	for _, pool := range t.all("pool") {
		host, err := t.record("host", pool.str("master"))
		if err != nil {
			continue
		}
		software := host.dict("software_version")
		v.Hostname, v.ProductBrand, v.ProductVersion = host.str("hostname"), software["product_brand"], software["product_version"]
		v.BuildNumber = software["build_number"]
		_, _ = fmt.Sscanf(software["xapi"], "%d.%d", &v.XapiMajor, &v.XapiMinor) // zeros otherwise
	}
	return v
}

// choose adds an object, once; it says whether that is new and exists.
func (a *archiver) choose(class, ref string) (record, bool) {
	rec, err := a.tx.record(class, ref)
	if err != nil || slices.Contains(a.chosen[class], ref) {
		return nil, false
	}
	a.chosen[class] = append(a.chosen[class], ref)
	return rec, true
}

// addVM adds a machine with its devices, their disks and networks, and its hosts.
func (a *archiver) addVM(ref string) error {
	if _, err := a.tx.record("VM", ref); err != nil {
		return err
	}
	vm, fresh := a.choose("VM", ref)
	if !fresh {
		return nil
	}
	a.choose("host", vm.str("resident_on"))
	a.choose("host", vm.str("affinity"))
	a.choose("VM_metrics", vm.str("metrics"))
	a.choose("VM_guest_metrics", vm.str("guest_metrics"))
	for _, d := range []struct{ class, set, kind string }{
		{"VBD", "VBDs", "vbd"}, {"VIF", "VIFs", "vif"}, {"VGPU", "VGPUs", "vgpu"}, {"VTPM", "VTPMs", "vtpm"},
	} {
		if slices.Contains(a.excluded, d.kind) {
			continue
		}
		for _, device := range vm.set(d.set) {
			if rec, fresh := a.choose(d.class, device); fresh {
				a.choose("network", rec.str("network"))
				a.addDisk(rec.str("VDI"))
			}
		}
	}
	if a.preserve {
		a.addDisk(vm.str("suspend_VDI"))
	}
	if a.snapshots {
		for _, snapshot := range vm.set("snapshots") {
			if err := a.addVM(snapshot); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *archiver) addDisk(ref string) {
	if vdi, fresh := a.choose("VDI", ref); fresh {
		a.choose("SR", vdi.str("SR"))
	}
}

// describe gives every object its id and writes its record. On a host the number
// in an id comes from a counter that starts with xapi and never goes back; here
// it begins where the database stands, so that clients cannot rely on it either.
func (a *archiver) describe(version xva.Version) *xva.OVA {
	next := a.tx.db.generation
	for _, class := range archivedClasses() {
		for _, ref := range a.chosen[class] {
			a.ids[ref] = fmt.Sprintf("Ref:%d", next)
			next++
		}
	}
	ova := &xva.OVA{Version: version}
	for _, class := range archivedClasses() {
		for _, ref := range a.chosen[class] {
			rec, _ := a.tx.record(class, ref) // it was there when it was chosen, under this lock
			ova.Objects = append(ova.Objects, xva.Object{Class: class, ID: a.ids[ref], Snapshot: a.snapshot(class, ref, rec)})
		}
	}
	return ova
}

// snapshot writes a record with the references that mean something in the
// archive.
func (a *archiver) snapshot(class, ref string, rec record) map[string]any {
	if class == "VTPM" {
		return map[string]any{
			"vTPM'_VM": a.id(rec.str("VM")), "vTPM'_uuid": rec.str("uuid"), "vTPM'_is_unique": rec.bool("is_unique"),
			"vTPM'_is_protected": rec.bool("is_protected"), "vTPM'_content": a.contents[ref],
		}
	}
	out := make(map[string]any, len(rec))
	for _, f := range schema()[class].fields {
		out[f.name] = a.value(f, rec[f.name])
		if f.name == "allowed_operations" || f.name == "current_operations" {
			out[f.name] = a.value(f, f.zero)
		}
	}
	if class == "VM" {
		a.detach(out)
	}
	return out
}

// detach removes from the record of a machine what it does not take along.
func (a *archiver) detach(vm map[string]any) {
	forget := "crash_dumps consoles blobs protection_policy"
	if !a.metadata {
		forget += " snapshots is_a_snapshot snapshot_of"
	}
	if !a.preserve {
		forget += " power_state suspend_VDI"
	}
	for _, f := range schema()["VM"].fields {
		if slices.Contains(strings.Fields(forget), f.name) {
			vm[f.name] = a.value(f, f.zero)
		}
	}
}

func (a *archiver) id(ref string) string { return cmp.Or(a.ids[ref], null) }

// value gives a field's value the form that XML-RPC has for it.
func (a *archiver) value(f *field, value any) any {
	switch v := value.(type) {
	case string:
		switch f.kind {
		case kindRef:
			return a.id(v)
		case kindDatetime:
			return xmlvalue.DateTime(v)
		default:
			return v
		}
	case []string:
		kept := []string{}
		for _, element := range v {
			if !strings.HasPrefix(element, "OpaqueRef:") {
				kept = append(kept, element)
			} else if id, ok := a.ids[element]; ok {
				kept = append(kept, id)
			}
		}
		return kept
	case []int64:
		return anyList(v)
	case map[string]int64:
		return anyMap(v)
	case map[string]float64:
		return anyMap(v)
	default:
		return value
	}
}

func anyList[T any](list []T) []any {
	out := make([]any, 0, len(list))
	for _, v := range list {
		out = append(out, v)
	}
	return out
}

func anyMap[T any](m map[string]T) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// tpmContents returns the secrets of all TPMs: an archive holds them.
func (p *Pool) tpmContents() map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.vtpms)
}
