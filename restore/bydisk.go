package restore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/xva"
)

// vmByDisk makes a VM of a full point as if it were a delta. The archive is read once
// before anything is changed, which proves it and tells which blocks hold data.
func vmByDisk(
	ctx context.Context, pool Pool, cat *catalog.Catalog, p *catalog.Point, ova *xva.OVA, opts *Options,
) (result *Result, err error) {
	plan, err := placeArchive(ctx, pool, ova, opts)
	if err != nil {
		return nil, err
	}
	blocks, err := provenBlocks(ctx, cat, p)
	if err != nil {
		return nil, err
	}
	records, err := archiveRecords(ova)
	if err != nil {
		return nil, fmt.Errorf("restore: archive of %s: %w", p.ID, err)
	}
	records.VM = p.Metadata.VM // the archive has the name of the snapshot
	vm, err := parseRecord(records.VM)
	if err != nil {
		return nil, fmt.Errorf("restore: vm: %w", err)
	}
	var disks []Disk
	for _, at := range plan {
		content := &archiveDisk{ctx: ctx, cat: cat, point: p, id: at.info.Ref, size: at.info.Size, blocks: blocks[at.info.Ref]}
		defer func() { _ = content.Close() }() // only read
		disks = append(disks, Disk{Key: at.info.Ref, SR: at.sr, Content: content})
	}
	importer := &Importer{Pool: pool, Budget: opts.Budget, Logger: opts.Logger}
	imported, err := importer.Import(ctx, records, disks, vmOptions(p, vm, plan, opts))
	if err != nil {
		return nil, err
	}
	return complete(ctx, pool, plan, imported, opts)
}

// placeArchive finds out where each disk of an archive goes.
func placeArchive(ctx context.Context, pool Pool, ova *xva.OVA, opts *Options) ([]placement, error) {
	listed, err := archiveDisks(ova)
	if err != nil {
		return nil, err
	}
	infos := slices.DeleteFunc(listed, func(d catalog.DiskInfo) bool { return d.Memory })
	return placeDisks(ctx, pool, infos, opts)
}

// archiveDisks returns what an archive says of its disks.
func archiveDisks(ova *xva.OVA) ([]catalog.DiskInfo, error) {
	listed, err := ova.Disks()
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	var infos []catalog.DiskInfo
	for _, d := range listed {
		vdi := ova.Object(d.ID)
		infos = append(infos, catalog.DiskInfo{
			Ref: d.ID, VDI: vdi.Text("uuid"), SourceVDI: vdi.Text("uuid"), Name: vdi.Text("name_label"), Size: d.Size,
			Memory: vdi.Text("type") == "suspend",
		})
	}
	return infos, nil
}

// provenBlocks reads the whole archive, and returns the blocks of each disk that hold
// data.
func provenBlocks(ctx context.Context, cat *catalog.Catalog, p *catalog.Point) (blocks map[string][]uint32, err error) {
	archive, err := cat.OpenArchive(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	r, err := xva.NewReader(archive, nil)
	if err != nil {
		return nil, fmt.Errorf("restore: archive of %s: %w", p.ID, err)
	}
	defer func() { _ = r.Close() }()
	if blocks, err = r.Blocks(ctx); err != nil {
		return nil, fmt.Errorf("restore: archive of %s: %w", p.ID, err)
	}
	return blocks, nil
}

// archiveRecords returns the objects of an archive as records, keyed by their ids in
// it. Memory images, and what attaches CDs, are left out.
func archiveRecords(ova *xva.OVA) (Records, error) {
	r := Records{VDIs: map[string]json.RawMessage{}, VBDs: map[string]json.RawMessage{}, VIFs: map[string]json.RawMessage{}}
	vm := vmsOf(ova)[0]
	var err error
	if r.VM, err = jsonRecord(vm, nil); err != nil {
		return r, err
	}
	for vdi := range ova.OfClass("VDI") {
		if r.VDIs[vdi.ID], err = jsonRecord(vdi, nil); err != nil {
			return r, err
		}
	}
	for vbd := range ova.OfClass("VBD") {
		if vbd.Text("type") == "CD" || vbd.Text("VM") != vm.ID {
			continue
		}
		if r.VBDs[vbd.ID], err = jsonRecord(vbd, nil); err != nil {
			return r, err
		}
	}
	for vif := range ova.OfClass("VIF") {
		var extra map[string]any
		if network := ova.Object(vif.Text("network")); network != nil {
			extra = map[string]any{"$network$uuid": network.Text("uuid"), "$network$name_label": network.Text("name_label")}
		}
		if r.VIFs[vif.ID], err = jsonRecord(vif, extra); err != nil {
			return r, err
		}
	}
	for vtpm := range ova.OfClass("VTPM") {
		content := vtpm.Text("vTPM'_content")
		r.VTPMs = append(r.VTPMs, &content)
	}
	return r, nil
}

// complete ends a restore of disks: their uuids, and the start of the VM.
func complete(ctx context.Context, pool Pool, plan []placement, imported *Imported, opts *Options) (*Result, error) {
	result := &Result{VM: imported.UUID, Ref: imported.VM, Disks: map[string]string{}}
	if err := result.readDisks(ctx, pool, plan, imported); err != nil {
		return result, err
	}
	if opts.Start {
		method := "VM.start"
		if imported.Suspended {
			method = "VM.resume"
		}
		if err := pool.CallAsync(ctx, method, nil, imported.VM, false, false); err != nil {
			return result, fmt.Errorf("restore: start the VM: %w", err)
		}
	}
	return result, nil
}
