package restore

import (
	"cmp"
	"context"
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

	// DiskByDisk restores a full point as if it were a delta: the VM is made by this
	// package, and each disk of the archive is imported for itself. MapSRs implies it.
	// Otherwise the pool imports the archive as a whole. The archive is read once more
	// before, and once for each disk.
	DiskByDisk bool

	Name    string // of the VM; "": the name it had, with the date of the point
	NewMACs bool   // the pool chooses MAC addresses; else the VM has those it had
	Start   bool   // start the VM when it is complete, or resume it

	// Progress is told how far the content of each disk has got; Disk is the uuid
	// of the snapshot VDI, and "" for an archive as a whole. Calls come one at a time; it must not block.
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

// VM makes a new VM of a backup. The original, if it still exists, is not
// touched. All disks are opened before anything is changed, and the options are
// checked: [ErrUnknownSR], [ErrUnknownDisk], [ErrMode], [ErrArchive].
//
// The archive of a full point is proven while it is sent: the pool gets its end, the
// last MiB and more, only when structure and checksums are right, and the checksum
// beside it or the tag of its encryption; see [catalog.Archive]. One that is damaged
// makes no VM.
//
// The point is under a [catalog.Lease], where there can be one. If another tool, such as
// Xen Orchestra, deletes it all the same, or merges what is read, VM fails with
// catalog.ErrExpired or vhd.ErrChanged rather than make a VM of mixed content. When the
// lease is lost, since the storage does not answer or somebody took it away, VM stops
// with catalog.ErrLeaseLost.
//
// The VM is halted, or suspended if its memory is in the point: to be resumed where it
// was, on a host with the same processors or newer ones. Of an archive it has new MAC
// addresses then. Memory is left out disk by disk, on pools that cannot make suspended
// VMs, for a VM with a virtual TPM, and, as is a disk, by [Options].MapSRs. When
// VM fails or ctx ends, all that it made is destroyed. Only a VM that is
// complete but does not start stays: then there are a result and an error.
func VM(ctx context.Context, pool Pool, cat *catalog.Catalog, p *catalog.Point, opts *Options) (result *Result, err error) {
	if opts == nil {
		opts = &Options{}
	}
	ctx, held, err := protect(ctx, cat, p, opts.Logger)
	if err != nil {
		return nil, err
	}
	defer func() { err = held.end(err) }()
	switch p.Metadata.Mode {
	case catalog.ModeDelta:
		return deltaVM(ctx, pool, cat, p, opts)
	case catalog.ModeFull:
		return fullVM(ctx, pool, cat, p, opts)
	default:
		return nil, fmt.Errorf("%w: %s is a %q one", ErrMode, p.ID, p.Metadata.Mode)
	}
}

// deltaVM makes a VM of a delta point.
func deltaVM(ctx context.Context, pool Pool, cat *catalog.Catalog, p *catalog.Point, opts *Options) (result *Result, err error) {
	plan, err := place(ctx, pool, cat, p, opts)
	if err != nil {
		return nil, err
	}
	disks, closeAll, err := openDisks(ctx, cat, p, plan)
	defer func() { _ = closeAll() }() // only read: the VM that was made is right
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
	return complete(ctx, pool, plan, imported, opts)
}

// naming says what the VM is to be called.
func naming(p *catalog.Point, vm record, opts *Options) (name, description string) {
	description = "Restored on " + catalog.FormatDate(time.Now())
	if own := vm.text("name_description"); own != "" {
		description += " - " + own
	}
	return cmp.Or(opts.Name, fmt.Sprintf("%s (%s)", vm.text("name_label"), catalog.FormatDate(p.Time()))), description
}

// vmOptions says what the VM is to be like.
func vmOptions(p *catalog.Point, vm record, plan []placement, opts *Options) VMOptions {
	name, description := naming(p, vm, opts)
	o := VMOptions{Name: name, Description: description, Tags: []string{restoredTag}, NewMACs: opts.NewMACs}
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
