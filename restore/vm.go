package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xapi"
)

// Options says how a point is restored. nil is fine.
type Options struct {
	SR string // uuid of the SR for all disks; "": the pool's default

	// MapSRs says for single disks to which SR they go, or with "" that they are
	// left out. A disk is named by the uuid of the VM's own VDI, or by that of the
	// snapshot VDI it was exported from.
	MapSRs map[string]string

	Name    string // of the VM; "": the name it had, with the date of the point
	NewMACs bool   // the pool chooses MAC addresses; else the VM has those it had
	Start   bool   // start the VM when it is complete

	// Progress is told how far the content of each disk has got; Disk is the uuid
	// of the snapshot VDI. Calls come one at a time; it must not block.
	Progress func(Progress)

	Logger *slog.Logger // nil discards
	Budget *disk.Budget // bounds the memory of transfers; nil: one of the default size
}

// Result is a VM that was restored.
type Result struct {
	VM    string            // uuid
	Ref   xapi.Ref[xapi.VM] // of the VM
	Disks map[string]string // uuids of the new disks by those of the snapshot VDIs
}

// restoredTag is on every VM that was restored.
const restoredTag = "restored from backup"

// VM makes a new VM of a delta backup. The original, if it still exists, is not
// touched. All disks are opened before anything is changed, and the options are
// checked: [ErrUnknownSR], [ErrUnknownDisk], [ErrMode].
//
// No lock is taken on the repository. If the point is deleted meanwhile, or a
// merge moves what is read, VM fails with catalog.ErrExpired or vhd.ErrChanged
// rather than make a VM of mixed content.
//
// The VM is halted, also if it was suspended: its memory is not restored. When
// VM fails or ctx ends, all that it made is destroyed. Only a VM that is
// complete but does not start stays: then there are a result and an error.
func VM(ctx context.Context, pool Pool, cat *catalog.Catalog, p *catalog.Point, opts *Options) (result *Result, err error) {
	if opts == nil {
		opts = &Options{}
	}
	if p.Metadata.Mode != catalog.ModeDelta {
		return nil, fmt.Errorf("%w: %s is a %s one", ErrMode, p.ID, p.Metadata.Mode)
	}
	plan, err := place(ctx, pool, cat, p, opts)
	if err != nil {
		return nil, err
	}
	disks, closeAll, err := openDisks(ctx, cat, p, plan)
	defer func() { err = errors.Join(err, closeAll()) }()
	if err != nil {
		return nil, err
	}
	vm, err := parseRecord(p.Metadata.VM)
	if err != nil {
		return nil, fmt.Errorf("restore: vm: %w", err)
	}
	importer := &Importer{Pool: pool, Budget: opts.Budget, Logger: opts.Logger}
	imported, err := importer.Import(ctx, recordsOf(p), disks, vmOptions(p, vm, plan, opts))
	if err != nil {
		return nil, err
	}
	result = &Result{VM: imported.UUID, Ref: imported.VM, Disks: map[string]string{}}
	if err := result.readDisks(ctx, pool, plan, imported); err != nil {
		return result, err
	}
	if opts.Start {
		if err := pool.CallAsync(ctx, "VM.start", nil, imported.VM, false, false); err != nil {
			return result, fmt.Errorf("restore: start the VM: %w", err)
		}
	}
	return result, nil
}

// vmOptions says what the VM is to be called.
func vmOptions(p *catalog.Point, vm record, plan []placement, opts *Options) VMOptions {
	description := "Restored on " + catalog.FormatDate(time.Now())
	if own := vm.text("name_description"); own != "" {
		description += " - " + own
	}
	o := VMOptions{
		Name:        cmp.Or(opts.Name, fmt.Sprintf("%s (%s)", vm.text("name_label"), catalog.FormatDate(p.Time()))),
		Description: description, Tags: []string{restoredTag}, NewMACs: opts.NewMACs,
	}
	if opts.Progress != nil {
		uuids := map[string]string{}
		for _, d := range plan {
			uuids[d.info.Ref] = d.info.VDI
		}
		o.Progress = func(p Progress) {
			p.Disk = uuids[p.Disk]
			opts.Progress(p)
		}
	}
	return o
}

// readDisks fills in the uuids of the new disks.
func (r *Result) readDisks(ctx context.Context, pool Pool, plan []placement, imported *Imported) error {
	for _, d := range plan {
		var uuid string
		if err := pool.Call(ctx, "VDI.get_uuid", &uuid, imported.Disks[d.info.Ref]); err != nil {
			return fmt.Errorf("restore: uuid of a new disk: %w", err)
		}
		r.Disks[d.info.VDI] = uuid
	}
	return nil
}
