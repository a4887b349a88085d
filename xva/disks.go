package xva

import (
	"fmt"
	"slices"
	"strings"
)

// Disk is one disk of an archive: a directory of chunks.
type Disk struct {
	ID   string // of its VDI object; the directory's name
	Size int64  // virtual size in bytes; -1 when ova.xml does not list the disk
}

// Disks returns the disks that an archive with this ova.xml must hold, in the order in which it must hold them: the VDIs of all VBDs
// that are not CD drives and whose SR does not hold ISO images, and memory images (type suspend), by id as a string. Errors are ErrOVA.
func (o *OVA) Disks() ([]Disk, error) {
	byID := make(map[string]*Object, len(o.Objects))
	for i := range o.Objects {
		byID[o.Objects[i].ID] = &o.Objects[i]
	}
	listed := map[string]*Object{}
	for vbd := range o.OfClass("VBD") {
		vdi := byID[vbd.Text("VDI")]
		if vdi == nil || vdi.Class != "VDI" || vbd.Text("type") == "CD" {
			continue
		}
		if sr := byID[vdi.Text("SR")]; sr != nil && sr.Class == "SR" && sr.Text("content_type") == "iso" {
			continue
		}
		listed[vdi.ID] = vdi
	}
	for vdi := range o.OfClass("VDI") {
		if vdi.Text("type") == "suspend" {
			listed[vdi.ID] = vdi
		}
	}
	disks := make([]Disk, 0, len(listed))
	for id, vdi := range listed {
		size, err := vdi.Int("virtual_size")
		if err == nil && size < 0 {
			err = fmt.Errorf("VDI %s: negative size", id)
		}
		if err == nil && !validID(id) {
			err = fmt.Errorf("%.80q cannot name a disk", id)
		}
		if err != nil {
			return nil, fmt.Errorf("xva: %w: %w", ErrOVA, err)
		}
		disks = append(disks, Disk{id, size})
	}
	slices.SortFunc(disks, func(a, b Disk) int { return strings.Compare(a.ID, b.ID) })
	return disks, nil
}

// maxID leaves room for a chunk's number and suffix in a header's name field.
const maxID = nameSize - 1 - len("/99999999999.checksum")

// validID reports whether id can be the name of a disk's directory.
func validID[T string | []byte](id T) bool {
	if len(id) == 0 || len(id) > maxID || string(id) == "." || string(id) == ".." {
		return false
	}
	for i := range len(id) {
		if c := id[i]; c == '/' || c == '\\' || c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}
