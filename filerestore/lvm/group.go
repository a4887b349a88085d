package lvm

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// Group is a volume group.
type Group struct {
	Name, UUID string
	Size       int64     // in bytes, of all extents of all physical volumes
	PVs        []*PV     // those that are here, in the order of their discovery
	Missing    []string  // UUIDs of those that are not
	Volumes    []*Volume // that Linux would show, by name
	Warnings   []fsys.Warning

	extent  int64
	devices map[string]*place
	lvs     map[string]*Volume
}

// place is where the extents of a physical volume begin.
type place struct {
	pv    *PV // nil: missing
	start int64
	count int64 // extents
}

// Assemble puts physical volumes together to groups, by UUID: groups of one name are
// different groups. Of several copies of the metadata the newest counts. Groups come in
// the order of name and UUID. A physical volume that is of no group is left out.
//
// Where two have the same UUID, since one disk is a copy of another, the first counts.
func Assemble(pvs []*PV) []*Group {
	newest := map[string]section{}
	for _, pv := range pvs {
		g := pv.metadata.group()
		if g == nil {
			continue
		}
		id := g.text("id")
		if known := newest[id]; known == nil || g.number("seqno") > known.number("seqno") {
			newest[id] = g
		}
	}
	var groups []*Group
	for _, meta := range newest {
		g := newGroup(meta)
		g.attach(meta, pvs)
		g.addVolumes(meta)
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b *Group) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.UUID, b.UUID)) })
	return groups
}

func newGroup(meta section) *Group {
	g := &Group{Name: meta.text(""), UUID: meta.text("id"), devices: map[string]*place{}, lvs: map[string]*Volume{}}
	if sectors := meta.number("extent_size"); sectors > 0 && sectors < math.MaxInt64>>10 {
		g.extent = sectors * 512
	}
	return g
}

// attach finds the physical volumes of the group.
func (g *Group) attach(meta section, pvs []*PV) {
	list := meta.sub("physical_volumes")
	for _, name := range slices.Sorted(maps.Keys(list)) {
		s := list.sub(name)
		uuid := strings.ReplaceAll(s.text("id"), "-", "")
		p := &place{start: -1, count: s.number("pe_count")}
		if sector := s.number("pe_start"); sector >= 0 && sector < math.MaxInt64>>10 {
			p.start = sector * 512
		}
		if p.count > 0 && g.extent > 0 && p.count < math.MaxInt64/g.extent-g.Size/g.extent {
			g.Size += p.count * g.extent
		}
		g.devices[name] = p
		for _, pv := range pvs {
			switch {
			case pv.UUID != uuid || s.flag("flags", "MISSING"): // it was away when the group was changed
			case p.pv == nil:
				p.pv = pv
				g.PVs = append(g.PVs, pv)
			default:
				g.warn(fsys.Skipped, "%s and %s have the same physical volume; the first one is read", p.pv.Name, pv.Name)
			}
		}
		if p.pv == nil {
			g.Missing = append(g.Missing, s.text("id"))
		}
	}
	if len(g.Missing) > 0 {
		g.warn(fsys.Damaged, "%d of %d physical volumes are missing", len(g.Missing), len(list))
	}
	slices.SortFunc(g.PVs, func(a, b *PV) int { return cmp.Compare(slices.Index(pvs, a), slices.Index(pvs, b)) })
}

// addVolumes makes all volumes first, for some are made of others.
func (g *Group) addVolumes(meta section) {
	list := meta.sub("logical_volumes")
	names := slices.Sorted(maps.Keys(list))
	for _, name := range names {
		g.lvs[name] = &Volume{Name: name, UUID: list.sub(name).text("id"), group: g, meta: list.sub(name)}
	}
	g.markSnapshots(list)
	for _, name := range names {
		v := g.lvs[name]
		v.Err = v.build(0)
	}
	for _, name := range names {
		v := g.lvs[name]
		if v.meta.flag("status", "VISIBLE") && v.snapshot != hidden {
			g.Volumes = append(g.Volumes, v)
		}
	}
}

// markSnapshots says which volumes hold the changes of a snapshot: they read as such
// changes, not as what the snapshot was.
func (g *Group) markSnapshots(list section) {
	for _, name := range slices.Sorted(maps.Keys(list)) {
		s := list.sub(name).sub("segment1")
		if s.text("type") != "snapshot" {
			continue
		}
		g.lvs[name].snapshot = hidden
		if v := g.lvs[s.text("cow_store")]; v != nil {
			v.snapshot = changes
		}
		if merging := s.text("merging_store"); merging != "" {
			if v := g.lvs[merging]; v != nil {
				v.snapshot = changes
			}
			if v := g.lvs[s.text("origin")]; v != nil {
				v.snapshot = merged
			}
		}
	}
}

func (g *Group) warn(c fsys.Concern, format string, args ...any) {
	if len(g.Warnings) < 100 {
		g.Warnings = append(g.Warnings, fsys.Warning{Concern: c, Text: fmt.Sprintf(format, args...)})
	}
}
