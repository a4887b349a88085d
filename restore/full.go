package restore

import (
	"context"
	"errors"
	"fmt"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xva"
)

// errUnproven is a pool's success with an archive whose end it has not seen.
var errUnproven = errors.New("restore: the pool took the archive before it was proven")

// fullVM makes a VM of a full point.
func fullVM(ctx context.Context, pool Pool, cat *catalog.Catalog, p *catalog.Point, opts *Options) (*Result, error) {
	ova, err := readOVA(ctx, cat, p)
	if err != nil {
		return nil, err
	}
	if opts.DiskByDisk || len(opts.MapSRs) > 0 {
		return vmByDisk(ctx, pool, cat, p, ova, opts)
	}
	original, err := parseRecord(p.Metadata.VM, "is_a_template")
	if err != nil {
		return nil, fmt.Errorf("restore: vm: %w", err)
	}
	sr, err := (&srFinder{pool: pool, known: map[string]xapi.Ref[xapi.SR]{}}).find(ctx, opts.SR)
	if err != nil {
		return nil, err
	}
	ref, err := importArchive(ctx, pool, cat, p, sr, opts)
	if err != nil {
		return nil, err
	}
	d := &dressing{pool: pool, ref: ref, ova: ova}
	result, err := d.dress(ctx, p, original, opts)
	if err != nil {
		return nil, errors.Join(err, destroyWhole(ctx, pool, ref))
	}
	if opts.Start {
		if err := d.start(ctx); err != nil {
			return result, fmt.Errorf("restore: start the VM: %w", err)
		}
	}
	return result, nil
}

// readOVA returns what an archive says of its VM, which must be one.
func readOVA(ctx context.Context, cat *catalog.Catalog, p *catalog.Point) (*xva.OVA, error) {
	ova, err := readAnyOVA(ctx, cat, p)
	if err != nil {
		return nil, err
	}
	if n := len(vmsOf(ova)); n != 1 {
		return nil, fmt.Errorf("%w: %s has %d", ErrArchive, p.ID, n)
	}
	return ova, nil
}

// readAnyOVA returns what an archive says, however many VMs it describes.
func readAnyOVA(ctx context.Context, cat *catalog.Catalog, p *catalog.Point) (ova *xva.OVA, err error) {
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
	return r.OVA(), nil
}

// vmsOf returns the VMs that an import would make.
func vmsOf(ova *xva.OVA) []*xva.Object {
	var vms []*xva.Object
	for vm := range ova.OfClass("VM") {
		if control, _ := vm.Snapshot["is_control_domain"].(bool); !control {
			vms = append(vms, vm)
		}
	}
	return vms
}

// importArchive lets the pool make the VM. After an error there is none.
func importArchive(
	ctx context.Context, pool Pool, cat *catalog.Catalog, p *catalog.Point, sr xapi.Ref[xapi.SR], opts *Options,
) (made xapi.Ref[xapi.VM], err error) {
	archive, err := cat.OpenArchive(ctx, p)
	if err != nil {
		return "", fmt.Errorf("restore: %w", err)
	}
	defer func() { _ = archive.Close() }() // only read: the VM that was made is right
	budget := opts.Budget
	if budget == nil {
		budget = disk.NewBudget(disk.BlockSize)
	}
	buffer, err := budget.Block(ctx)
	if err != nil {
		return "", err
	}
	defer buffer.Release()
	body := &provenBody{
		from: archive, size: archive.Size(), proof: xva.NewProof(), buffer: buffer.Bytes(),
		report: func(done, total int64) {
			if opts.Progress != nil {
				opts.Progress(Progress{Done: done, Total: total})
			}
		},
	}
	defer body.proof.Abort()
	refs, err := pool.ImportVM(ctx, body.size, body, &xapi.ImportVMOptions{SR: sr, Name: "xenbackup: " + p.Name()})
	if err == nil && !body.proven {
		err = errUnproven
	}
	if err == nil && len(refs) != 1 {
		err = fmt.Errorf("%w: the pool has made %d", ErrArchive, len(refs))
	}
	if err == nil { // and right, even if the point was deleted meanwhile
		return refs[0], nil
	}
	if found := body.damage(); found != nil && !errors.Is(err, found) { // of which the pool may have heard first
		err = fmt.Errorf("%w: %w", found, err)
	}
	errs := []error{fmt.Errorf("restore: %w", err)}
	for _, ref := range refs {
		errs = append(errs, destroyWhole(ctx, pool, ref))
	}
	return "", errors.Join(errs...)
}

// destroyWhole destroys a VM that was just imported, with its disks, also after ctx
// has ended.
func destroyWhole(ctx context.Context, pool Pool, ref xapi.Ref[xapi.VM]) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	vm, err := xapi.Get(ctx, pool, ref)
	if isGone(err, ref) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("restore: destroy the VM: %w", err)
	}
	disks, err := disksOf(ctx, pool, vm)
	if err != nil {
		return fmt.Errorf("restore: destroy the VM: %w", err)
	}
	if err := destroyVM(ctx, pool, ref); err != nil {
		return err
	}
	var errs []error
	for _, d := range disks {
		errs = append(errs, destroyVDI(ctx, pool, d.ref))
	}
	return errors.Join(errs...)
}

// attached is a disk of a VM.
type attached struct {
	ref    xapi.Ref[xapi.VDI]
	device string // userdevice; "" for a memory image
}

// disksOf returns the disks of a VM, its memory image included.
func disksOf(ctx context.Context, pool Pool, vm *xapi.VM) ([]attached, error) {
	var disks []attached
	for _, ref := range vm.VBDs {
		vbd, err := xapi.Get(ctx, pool, ref)
		if err != nil {
			return nil, err
		}
		if vbd.Type == "Disk" && !vbd.VDI.IsNull() {
			disks = append(disks, attached{vbd.VDI, vbd.Userdevice})
		}
	}
	if !vm.SuspendVDI.IsNull() {
		disks = append(disks, attached{ref: vm.SuspendVDI})
	}
	return disks, nil
}
