package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/xapi"
)

// records are what a backup keeps of the VM beside its disks, as JSON, with the
// additions that XO makes: uuids in the place of refs that mean nothing elsewhere.
type records struct {
	vm, snapshot json.RawMessage
	vbds, vifs   map[string]json.RawMessage
	srs          map[xapi.Ref[xapi.SR]]string // uuids
	vtpms        []*string
}

// readRecords reads from the pool what metadata needs.
func (v *vmRun) readRecords(ctx context.Context, s *snapshot) (*records, error) {
	r := &records{vbds: map[string]json.RawMessage{}, vifs: map[string]json.RawMessage{}, srs: map[xapi.Ref[xapi.SR]]string{}}
	var err error
	if r.vm, err = json.Marshal(v.vmAsItWas()); err != nil {
		return nil, err
	}
	if r.snapshot, err = json.Marshal(s.vm); err != nil {
		return nil, err
	}
	if err := r.readVBDs(ctx, v.pool, s); err != nil {
		return nil, fmt.Errorf("records of the VBDs: %w", err)
	}
	if err := r.readVIFs(ctx, v.pool, s); err != nil {
		return nil, fmt.Errorf("records of the VIFs: %w", err)
	}
	for _, d := range s.disks {
		if _, known := r.srs[d.vdi.SR]; known {
			continue
		}
		sr, err := xapi.Get(ctx, v.pool, d.vdi.SR)
		if err != nil {
			return nil, fmt.Errorf("record of the SR: %w", err)
		}
		r.srs[d.vdi.SR] = sr.UUID
	}
	for _, ref := range s.vm.VTPMs {
		r.vtpms = append(r.vtpms, v.readVTPM(ctx, ref))
	}
	return r, nil
}

// vmAsItWas returns the VM's record as it was before the run touched it: without
// the block on its migration, and without tags that an earlier run forgot.
func (v *vmRun) vmAsItWas() *xapi.VM {
	vm := *v.vm
	vm.BlockedOperations = maps.Clone(vm.BlockedOperations)
	for _, op := range migrationOps() {
		if vm.BlockedOperations[op] == blockedReason {
			delete(vm.BlockedOperations, op)
		}
	}
	vm.OtherConfig = maps.Clone(vm.OtherConfig)
	for _, key := range append(resetKeys(), keyStart) {
		delete(vm.OtherConfig, key)
	}
	return &vm
}

// readVBDs keeps the VBDs of the disks that are in the backup.
func (r *records) readVBDs(ctx context.Context, pool Pool, s *snapshot) error {
	backedUp := map[xapi.Ref[xapi.VDI]]bool{}
	for _, d := range s.disks {
		backedUp[d.ref] = true
	}
	for _, ref := range s.vm.VBDs {
		vbd, err := read[xapi.VBD](ctx, pool, ref, nil)
		if err != nil {
			return err
		}
		if vbd == nil || vbd.Type != "Disk" || !backedUp[vbd.VDI] {
			continue
		}
		if r.vbds[string(ref)], err = json.Marshal(vbd); err != nil {
			return err
		}
	}
	return nil
}

func (r *records) readVIFs(ctx context.Context, pool Pool, s *snapshot) error {
	for _, ref := range s.vm.VIFs {
		vif, err := xapi.Get(ctx, pool, ref)
		if err != nil {
			return err
		}
		network, err := xapi.Get(ctx, pool, vif.Network)
		if err != nil {
			return err
		}
		extra := map[string]any{"$network$uuid": network.UUID, "$network$name_label": network.NameLabel}
		if len(network.PIFs) > 0 {
			pif, err := xapi.Get(ctx, pool, network.PIFs[0])
			if err != nil {
				return err
			}
			extra["$network$VLAN"] = pif.VLAN
		}
		if vif.Extra, err = withExtra(vif.Extra, extra); err != nil {
			return err
		}
		if r.vifs[string(ref)], err = json.Marshal(vif); err != nil {
			return err
		}
	}
	return nil
}

// readVTPM returns the content of a virtual TPM, nil where it cannot be read: as
// XO, which backs up the rest of the VM all the same.
func (v *vmRun) readVTPM(ctx context.Context, ref xapi.Ref[xapi.VTPM]) *string {
	var content string
	if err := v.pool.Call(ctx, "VTPM.get_contents", &content, ref); err != nil {
		v.task.Warning("content of a VTPM not backed up", map[string]any{"error": err.Error()})
		return nil
	}
	return &content
}

// metadata returns the metadata of the point for a catalog, which fills in what
// describes the files.
func (r *records) metadata(s *snapshot) (catalog.Metadata, error) {
	m := catalog.Metadata{
		VM: r.vm, VMSnapshot: r.snapshot, VBDs: maps.Clone(r.vbds), VIFs: maps.Clone(r.vifs),
		VDIs: map[string]json.RawMessage{}, VTPMs: r.vtpms,
	}
	for _, d := range s.disks {
		vdi := *d.vdi
		extra := map[string]any{"$SR$uuid": r.srs[vdi.SR]}
		if d.source != nil {
			extra["$snapshot_of$uuid"] = d.source.UUID
		}
		vdi.OtherConfig = maps.Clone(vdi.OtherConfig)
		if d.base != nil {
			vdi.OtherConfig[keyBaseDelta] = d.base.uuid
		}
		var err error
		if vdi.Extra, err = withExtra(vdi.Extra, extra); err != nil {
			return m, err
		}
		if m.VDIs[string(d.ref)], err = json.Marshal(vdi); err != nil {
			return m, err
		}
	}
	return m, nil
}

// withExtra returns a copy of a record's unnamed fields with more of them.
func withExtra(fields map[string]json.RawMessage, more map[string]any) (map[string]json.RawMessage, error) {
	out := make(map[string]json.RawMessage, len(fields)+len(more))
	maps.Copy(out, fields)
	for key, value := range more {
		text, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		out[key] = text
	}
	return out, nil
}
