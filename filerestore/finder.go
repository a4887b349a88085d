package filerestore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/lvm"
	"github.com/xenbackup/xenbackup/filerestore/md"
	"github.com/xenbackup/xenbackup/filerestore/partition"
	"github.com/xenbackup/xenbackup/filerestore/probe"
)

// maxVolumes bounds what is found on the disks of a VM: each is probed.
const maxVolumes = 4096

// finder puts the tree of volumes together.
type finder struct {
	session *Session
	ctx     context.Context //nolint:containedctx // a finder lives as long as one call of Open
	count   int
	pvs     []*lvm.PV
	members []*md.Member
}

// find looks at disks first, then at the arrays that they hold, then at the groups of
// both.
func (f *finder) find(disks []Disk, cache *blockCache) ([]*Volume, error) {
	var roots []*Volume
	for i, d := range disks {
		v := &Volume{ID: d.ID, Kind: KindDisk, Label: d.Name, Size: d.Size, Err: d.Err}
		if d.Err == nil {
			v.r = &cachedDisk{cache: cache, number: i, r: d.R, size: d.Size}
		}
		roots = append(roots, v)
		f.look(v, true)
	}
	for round := 0; round < 3 && len(f.members) > 0; round++ { // arrays of arrays
		members := f.members
		f.members = nil
		for _, a := range md.Assemble(members) {
			roots = append(roots, f.array(a))
		}
	}
	return append(roots, f.groups()...), context.Cause(f.ctx)
}

// look finds out what a volume holds.
func (f *finder) look(v *Volume, tables bool) {
	v.session = f.session
	if f.count++; f.count > maxVolumes {
		v.Err = &VolumeError{Volume: v.ID, Err: fmt.Errorf("more than %d volumes: %w", maxVolumes, fsys.ErrLimit)}
	}
	if v.Err != nil || context.Cause(f.ctx) != nil {
		return
	}
	steps := []func(*Volume) (bool, error){f.table, f.member, f.physical, f.files}
	if !tables {
		steps = steps[1:]
	}
	for _, step := range steps {
		found, err := step(v)
		if err != nil {
			v.Err = &VolumeError{Volume: v.ID, Holds: v.Title, Err: err}
		}
		if found || err != nil {
			return
		}
	}
}

func (f *finder) table(v *Volume) (bool, error) {
	t, err := partition.Read(v.r, v.Size, &partition.Options{SectorSize: f.session.opts.SectorSize})
	if errors.Is(err, partition.ErrNone) {
		return false, nil
	}
	v.Title = "partition table"
	if err != nil {
		return false, err
	}
	v.Type, v.Warnings = t.Type, t.Warnings
	for _, p := range t.Partitions {
		c := &Volume{ID: fmt.Sprintf("%s/p%d", v.ID, p.Number), Kind: KindPartition, Label: p.Name, UUID: p.UUID, Size: p.Size}
		c.r = io.NewSectionReader(v.r, p.Off, p.Size)
		f.look(c, false)
		f.byType(c, p.Type)
		v.Children = append(v.Children, c)
	}
	return true, nil
}

// byType says more of partitions whose content says nothing.
func (f *finder) byType(v *Volume, kind string) {
	if v.content.Kind > probe.Empty || len(v.Children) > 0 || !errors.Is(v.Err, ErrNoFiles) {
		return
	}
	switch kind {
	case "0x42", "5808c8aa-7e8f-42e0-85d2-e1e90434cfb3", "af9b60a0-1431-4f62-bc68-3311714a69ad":
		v.Type, v.Title = "ldm", "a dynamic disk of Windows (LDM)"
		v.Err = &VolumeError{Volume: v.ID, Holds: v.Title, Err: fsys.ErrUnsupported, Advice: wholeDisk}
	case "e75caf8f-f680-4cee-afa3-b001e56efc2d":
		v.Type, v.Title = "storage_spaces", "a part of a storage pool of Windows"
		v.Err = &VolumeError{Volume: v.ID, Holds: v.Title, Err: fsys.ErrUnsupported, Advice: wholeDisk}
	case "e3c9e316-0b5c-4db8-817d-f92df00215ae":
		v.Title = "reserved space of Windows"
	case "21686148-6449-6e6f-744e-656564454649":
		v.Title = "a boot loader"
	}
}

func (f *finder) member(v *Volume) (bool, error) {
	m, err := md.Read(v.r, v.Size)
	if errors.Is(err, md.ErrNone) {
		return false, nil
	}
	v.Type, v.Title = "linux_raid_member", "a part of a software RAID"
	if err != nil {
		return false, err
	}
	f.members = append(f.members, m)
	return true, nil
}

func (f *finder) physical(v *Volume) (bool, error) {
	pv, err := lvm.ReadPV(v.r, v.Size)
	if errors.Is(err, lvm.ErrNone) {
		return false, nil
	}
	v.Type, v.Title = "LVM2_member", "a part of a volume group"
	if err != nil {
		return false, err
	}
	pv.Name, v.UUID = v.ID, pv.UUID
	f.pvs = append(f.pvs, pv)
	return true, nil
}

// files is the last step: it always finds something.
func (f *finder) files(v *Volume) (bool, error) {
	c, err := probe.Detect(v.r, v.Size)
	if err != nil {
		return false, err
	}
	v.content, v.Type, v.Title = c, c.Type, c.Title
	v.Label, v.UUID = cmp.Or(c.Label, v.Label), cmp.Or(c.UUID, v.UUID)
	v.Err = f.judge(v, c)
	return true, nil
}

const wholeDisk = "restore the whole disk, and read the files in the VM"

// judge says why a content gives no files.
func (f *finder) judge(v *Volume, c probe.Content) error {
	e := &VolumeError{Volume: v.ID, Holds: c.Title}
	switch _, known := f.session.reader(c.Family); {
	case c.Kind == probe.Files && known:
		return nil
	case c.Kind == probe.Encrypted:
		e.Err, e.Advice = fsys.ErrEncrypted, "restore the whole disk, and unlock it in the VM"
	case c.Kind == probe.Files, c.Kind == probe.Container:
		e.Err, e.Advice = fsys.ErrUnsupported, wholeDisk
	default:
		e.Err = ErrNoFiles
	}
	return e
}

func (f *finder) array(a *md.Array) *Volume {
	v := &Volume{ID: "md:" + a.UUID, Kind: KindArray, Label: a.Name, UUID: a.UUID, Size: a.Size, Title: "software " + strings.ToUpper(a.Level), Warnings: a.Warnings}
	if a.Err != nil {
		v.Err = &VolumeError{Volume: v.ID, Holds: v.Title, Err: a.Err, Advice: wholeDisk}
	} else {
		v.r = a
	}
	f.look(v, true)
	v.Warnings = append(a.Warnings, v.Warnings...)
	return v
}

// groups are in the order of their IDs.
func (f *finder) groups() []*Volume {
	groups := lvm.Assemble(f.pvs)
	var list []*Volume
	for i, g := range groups {
		v := &Volume{ID: "lvm:" + g.Name, Kind: KindGroup, Type: "lvm", Title: "a volume group", Label: g.Name, UUID: g.UUID, Size: g.Size, Warnings: g.Warnings, session: f.session}
		if i > 0 && groups[i-1].Name == g.Name || i+1 < len(groups) && groups[i+1].Name == g.Name {
			v.ID += "@" + g.UUID
		}
		for _, lv := range g.Volumes {
			c := &Volume{ID: v.ID + "/" + lv.Name, Kind: KindLogical, Label: lv.Name, UUID: lv.UUID, Size: lv.Size, Title: lv.Type}
			if lv.Err != nil {
				c.Err = &VolumeError{Volume: c.ID, Err: lv.Err, Advice: wholeDisk}
			} else {
				c.r = lv
			}
			before, arrays := f.pvs, f.members
			f.look(c, false)
			f.pvs, f.members = before, arrays // what a guest of this VM has in there is its own
			v.Children = append(v.Children, c)
		}
		list = append(list, v)
	}
	return slices.Clip(list)
}
