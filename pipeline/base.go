package pipeline

import (
	"context"
	"fmt"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/xapi"
)

// diskBase is what a delta of one disk starts from: a snapshot on the pool, and
// on every target the disk that was exported from it.
type diskBase struct {
	snapshot xapi.Ref[xapi.VDI]
	uuid     string // of the snapshot VDI
	on       map[*target]*catalog.Base
}

// baseChoice says what each disk of the VM is exported against.
type baseChoice struct {
	disks       map[xapi.Ref[xapi.VDI]]*diskBase // by live disk; a disk without one is exported in full
	chainLength int                              // of the base
	reason      string                           // why there is none at all; "" if there is
	missing     map[xapi.Ref[xapi.VDI]]string    // why a disk has none, if the others have
	unexpected  map[xapi.Ref[xapi.VDI]]bool      // disks that should have had a base
}

// why says why a disk is exported in full.
func (c *baseChoice) why(disk xapi.Ref[xapi.VDI]) string {
	if c.reason != "" {
		return c.reason
	}
	return c.missing[disk]
}

// isFull says, as XO does, that the export counts as a full one: some disk has
// no base.
func (c *baseChoice) isFull(live []liveDisk) bool {
	for _, d := range live {
		if c.disks[d.ref] == nil {
			return true
		}
	}
	return false
}

// nextChainLength returns the length to be kept on the new snapshot.
func (c *baseChoice) nextChainLength(live []liveDisk) int {
	if c.isFull(live) {
		return 0
	}
	return c.chainLength + 1
}

// chooseBase finds the base of the run: the newest generation that was exported,
// disk by disk as far as every target has its part of it. fullInterval 3 makes
// full, delta, delta, full; 0 never forces one.
func chooseBase(ctx context.Context, v *vmRun, gens []*generation, fullInterval int, force string) (*baseChoice, error) {
	none := func(reason string, unexpected bool) (*baseChoice, error) {
		choice := &baseChoice{reason: reason, unexpected: map[xapi.Ref[xapi.VDI]]bool{}}
		for _, live := range v.live {
			choice.unexpected[live.ref] = unexpected
		}
		return choice, nil
	}
	g := newestExported(gens)
	switch {
	case force != "":
		return none(force, force != reasonAsked)
	case g == nil:
		return none("no snapshot that was exported before", v.hasPoints(ctx))
	case !g.usable:
		return none("the snapshot that was exported last is attached elsewhere, or has a disk that the VM has lost", true)
	case fullInterval > 0 && fullInterval <= g.chainLength+1:
		return none(fmt.Sprintf("full interval of %d reached", fullInterval), false)
	}
	choice := &baseChoice{
		disks: map[xapi.Ref[xapi.VDI]]*diskBase{}, chainLength: g.chainLength,
		missing: map[xapi.Ref[xapi.VDI]]string{}, unexpected: map[xapi.Ref[xapi.VDI]]bool{},
	}
	for _, live := range v.live {
		base, reason, err := v.baseOf(ctx, g, live)
		if err != nil {
			return nil, err
		}
		if base != nil {
			choice.disks[live.ref] = base
			continue
		}
		choice.missing[live.ref] = reason
		choice.unexpected[live.ref] = reason != reasonNewDisk
	}
	if len(choice.disks) == 0 {
		choice.reason = "no target can continue the last backup"
	}
	return choice, nil
}

// Reasons for a full export that somebody wanted, or that cannot be otherwise.
const (
	reasonAsked   = "a full backup was asked for"
	reasonNewDisk = "the disk is not in the last snapshot"
	reasonGrown   = "the disk has grown, and Xen Orchestra does not merge that where disks are kept as directories"
)

// baseOf returns the base of one disk, nil with the reason if the snapshot or some
// target lacks it.
func (v *vmRun) baseOf(ctx context.Context, g *generation, live liveDisk) (*diskBase, string, error) {
	for ref, vdi := range g.disks {
		if vdi.SnapshotOf != live.ref || vdi.Type == "cbt_metadata" { // without data there is nothing to compare with
			continue
		}
		base := &diskBase{snapshot: ref, uuid: vdi.UUID, on: map[*target]*catalog.Base{}}
		for _, t := range v.alive() {
			found, err := t.findBase(ctx, v.vm.UUID, v.job.ID, live.vdi.UUID, vdi.UUID)
			if err != nil {
				if ctx.Err() != nil {
					return nil, "", context.Cause(ctx)
				}
				t.drop(err)
				continue
			}
			if found == nil {
				return nil, fmt.Sprintf("repository %s cannot continue the last backup of the disk", t.id), nil
			}
			if !found.Carries(live.vdi.VirtualSize) {
				return nil, reasonGrown, nil
			}
			if found.Links >= vhd.FileRestoreMaxLinks {
				v.task.Warning("chain too long for file restore", map[string]any{"disk": live.vdi.UUID, "links": found.Links + 1})
			}
			base.on[t] = found
		}
		return base, "", nil
	}
	return nil, reasonNewDisk, nil
}

// findBase looks for a base in the repository: under the lock, or without one in a
// plan.
func (t *target) findBase(ctx context.Context, vm, job, sourceVDI, snapshotVDI string) (*catalog.Base, error) {
	if t.session == nil {
		return t.catalog.FindBase(ctx, vm, job, sourceVDI, snapshotVDI)
	}
	return t.session.FindBase(ctx, job, sourceVDI, snapshotVDI)
}

// hasPoints says that some target has a point that the job made of the VM.
func (v *vmRun) hasPoints(ctx context.Context) bool {
	for _, t := range v.alive() {
		for p, err := range t.catalog.Points(ctx, v.vm.UUID) {
			if err == nil && p.Metadata.JobID == v.job.ID {
				return true
			}
		}
	}
	return false
}

// adopt looks at generations newer than the last one that was exported: a run was
// killed before it could mark them. One that every target has committed is marked
// now, and serves as base. One that only some targets have must not be passed
// over, or their chains would fork: the returned reason forces a full export.
func (v *vmRun) adopt(ctx context.Context, gens []*generation) (force string, err error) {
	length := 0
	for _, g := range gens {
		if g.exported {
			length, force = g.chainLength+1, ""
			continue
		}
		has, lacks, err := v.whoHas(ctx, g)
		switch {
		case err != nil:
			return "", err
		case has == 0:
		case lacks > 0 || !g.usable:
			force = "an interrupted run left a backup on some targets only"
		default:
			if err := v.markExported(ctx, g, length); err != nil {
				return "", fmt.Errorf("mark the snapshot of an interrupted run: %w", err)
			}
			v.task.Info("snapshot of an interrupted run adopted as base", map[string]any{"datetime": g.datetime})
			length, force = length+1, ""
		}
	}
	return force, nil
}

// whoHas counts the targets that have any disk of g, and those that lack one.
func (v *vmRun) whoHas(ctx context.Context, g *generation) (has, lacks int, err error) {
	for _, t := range v.alive() {
		found, missing := 0, 0
		for _, live := range v.live {
			for _, vdi := range g.disks {
				if vdi.SnapshotOf != live.ref {
					continue
				}
				base, err := t.findBase(ctx, v.vm.UUID, v.job.ID, live.vdi.UUID, vdi.UUID)
				switch {
				case err != nil && ctx.Err() != nil:
					return 0, 0, context.Cause(ctx)
				case err != nil:
					t.drop(err)
				case base != nil:
					found++
				default:
					missing++
				}
			}
		}
		if t.dropped() != nil {
			continue
		}
		if found > 0 {
			has++
		}
		if missing > 0 {
			lacks++
		}
	}
	return has, lacks, nil
}

// markExported makes g the base of the next delta. The chain length comes first,
// so that a base always has one.
func (v *vmRun) markExported(ctx context.Context, g *generation, chainLength int) error {
	if !v.dry {
		if err := v.mark(ctx, g, exportedEntries(chainLength)); err != nil {
			return err
		}
	}
	g.exported, g.chainLength = true, chainLength
	return nil
}

// mark tags all objects of g.
func (v *vmRun) mark(ctx context.Context, g *generation, entries []entry) error {
	for ref := range g.vms {
		if err := tag(ctx, v.pool, "VM", ref, entries); err != nil {
			return err
		}
	}
	for ref := range g.disks {
		if err := tag(ctx, v.pool, "VDI", ref, entries); err != nil {
			return err
		}
	}
	return nil
}
