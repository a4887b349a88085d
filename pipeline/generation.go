package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/xenbackup/xenbackup/xapi"
)

// generation is what one run of the job left of a VM on the pool: the snapshots
// with one datetime.
type generation struct {
	datetime    string
	schedule    string
	exported    bool
	chainLength int

	vms   map[xapi.Ref[xapi.VM]]*xapi.VM
	disks map[xapi.Ref[xapi.VDI]]*xapi.VDI // of disks that the VM still has; see usable

	// usable says that the disks may serve as bases: each belongs to its snapshot
	// alone, or to nothing, and the snapshot has no disk that the VM has lost.
	usable bool
}

// liveDisk is a disk of the VM as it runs.
type liveDisk struct {
	ref xapi.Ref[xapi.VDI]
	vdi *xapi.VDI
}

// poolView reads objects of a pool, each once.
type poolView struct {
	pool Pool
	vms  map[xapi.Ref[xapi.VM]]*xapi.VM
	vbds map[xapi.Ref[xapi.VBD]]*xapi.VBD
}

func newPoolView(pool Pool) *poolView {
	return &poolView{pool, map[xapi.Ref[xapi.VM]]*xapi.VM{}, map[xapi.Ref[xapi.VBD]]*xapi.VBD{}}
}

// read returns the record of an object, from known if it is there, and nil for
// one that is gone.
func read[T any, P xapi.Record[T]](ctx context.Context, pool Pool, ref xapi.Ref[T], known map[xapi.Ref[T]]*T) (*T, error) {
	if rec, ok := known[ref]; ok {
		return rec, nil
	}
	rec, err := xapi.Get[T, P](ctx, pool, ref)
	if isGone(err, ref) {
		rec, err = nil, nil
	}
	if err == nil && known != nil {
		known[ref] = rec
	}
	return rec, err
}

// disksOf returns the disks behind the VBDs of a VM: no CDs, no empty drives.
func (w *poolView) disksOf(ctx context.Context, vm *xapi.VM) ([]liveDisk, error) {
	var disks []liveDisk
	for _, ref := range vm.VBDs {
		vbd, err := read(ctx, w.pool, ref, w.vbds)
		if err != nil {
			return nil, err
		}
		if vbd == nil || vbd.Type != "Disk" || vbd.VDI.IsNull() {
			continue
		}
		vdi, err := read[xapi.VDI](ctx, w.pool, vbd.VDI, nil)
		if err != nil {
			return nil, err
		}
		if vdi != nil {
			disks = append(disks, liveDisk{vbd.VDI, vdi})
		}
	}
	return disks, nil
}

// users returns the VMs that a disk is attached to, control domains left out.
func (w *poolView) users(ctx context.Context, vdi *xapi.VDI) (map[xapi.Ref[xapi.VM]]*xapi.VM, error) {
	users := map[xapi.Ref[xapi.VM]]*xapi.VM{}
	for _, ref := range vdi.VBDs {
		vbd, err := read(ctx, w.pool, ref, w.vbds)
		if err != nil {
			return nil, err
		}
		if vbd == nil {
			continue
		}
		vm, err := read(ctx, w.pool, vbd.VM, w.vms)
		if err != nil {
			return nil, err
		}
		if vm != nil && !vm.IsControlDomain {
			users[vbd.VM] = vm
		}
	}
	return users, nil
}

// generations finds what earlier runs of a job left of a VM, oldest first. The
// job's tags prove that a snapshot is its own; nothing else is ever returned.
func (w *poolView) generations(ctx context.Context, jobID string, vm *xapi.VM, live []liveDisk) ([]*generation, error) {
	byDate := map[string]*generation{}
	own := func(tags map[string]string) *generation {
		at := tags[keyDatetime]
		if _, replica := tags[keyCopyOf]; replica || at == "" || tags[keyJob] != jobID || tags[keyVM] != vm.UUID {
			return nil
		}
		if byDate[at] == nil {
			byDate[at] = &generation{
				datetime: at, schedule: tags[keySchedule], usable: true, exported: true,
				vms: map[xapi.Ref[xapi.VM]]*xapi.VM{}, disks: map[xapi.Ref[xapi.VDI]]*xapi.VDI{},
			}
		}
		byDate[at].note(tags)
		return byDate[at]
	}
	for _, ref := range vm.Snapshots {
		snapshot, err := read(ctx, w.pool, ref, w.vms)
		if err != nil {
			return nil, fmt.Errorf("snapshot of the VM: %w", err)
		}
		if snapshot == nil || !snapshot.IsASnapshot || snapshot.NameLabel == tempSnapshotName {
			continue
		}
		if g := own(snapshot.OtherConfig); g != nil {
			g.vms[ref] = snapshot
		}
	}
	for _, d := range live {
		for _, ref := range d.vdi.Snapshots {
			vdi, err := read[xapi.VDI](ctx, w.pool, ref, nil)
			if err != nil {
				return nil, fmt.Errorf("snapshot of disk %s: %w", d.vdi.UUID, err)
			}
			if vdi == nil {
				continue
			}
			if g := own(vdi.OtherConfig); g != nil {
				g.disks[ref] = vdi
			}
		}
	}
	for _, g := range byDate {
		if err := w.judge(ctx, g); err != nil {
			return nil, err
		}
	}
	return slices.SortedFunc(maps.Values(byDate), func(a, b *generation) int {
		return cmp.Compare(a.datetime, b.datetime)
	}), nil
}

// note takes over what the tags of one object of the generation say.
func (g *generation) note(tags map[string]string) {
	if tags[keyExported] != "true" {
		g.exported = false // a run that was interrupted while it marked them
	}
	if n, err := strconv.Atoi(tags[keyChainLength]); err == nil {
		g.chainLength = max(g.chainLength, n)
	}
}

// judge finds out whether the disks of g may serve as bases.
func (w *poolView) judge(ctx context.Context, g *generation) error {
	for _, vdi := range g.disks {
		if vdi.Type == "cbt_metadata" {
			continue // has lost its snapshot on purpose
		}
		users, err := w.users(ctx, vdi)
		if err != nil {
			return err
		}
		for ref, user := range users {
			if len(users) > 1 || !user.IsASnapshot || g.vms[ref] == nil {
				g.usable = false
			}
		}
	}
	for _, snapshot := range g.vms {
		disks, err := w.disksOf(ctx, snapshot)
		if err != nil {
			return err
		}
		for _, d := range disks {
			if d.vdi.IsASnapshot && g.disks[d.ref] == nil {
				g.usable = false
			}
		}
	}
	return nil
}

// newestExported returns the last generation that finished, or nil.
func newestExported(gens []*generation) *generation {
	for _, g := range slices.Backward(gens) {
		if g.exported {
			return g
		}
	}
	return nil
}

// expendable returns the generations that nothing needs: not base, which that of
// the next delta is, nor the newest retention(s) of each schedule s.
func expendable(gens []*generation, base *generation, retention func(schedule string) int) []*generation {
	kept := map[string]int{}
	var out []*generation
	for _, g := range slices.Backward(gens) {
		if kept[g.schedule] < retention(g.schedule) {
			kept[g.schedule]++
			continue
		}
		if g != base {
			out = append(out, g)
		}
	}
	return out
}
