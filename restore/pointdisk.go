package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// PointDisk is the content of one disk of a restore point, for who wants the disk and
// no VM. It may be read anywhere and by several goroutines; in order is fastest, since
// an archive that is compressed or encrypted is read anew for each step back.
type PointDisk struct {
	disk.Source
	Info catalog.DiskInfo

	links   int
	confirm func(ctx context.Context) error
	close   []func() error
}

// Disks returns the disks of a point, memory images included. Those of a full point
// are what its archive says, of which only the beginning is read: they have the uuids
// of the VDIs that were exported, and no Path.
func Disks(ctx context.Context, cat *catalog.Catalog, p *catalog.Point) ([]catalog.DiskInfo, error) {
	switch p.Metadata.Mode {
	case catalog.ModeDelta:
		return cat.Disks(p), nil
	case catalog.ModeFull:
		ova, err := readAnyOVA(ctx, cat, p)
		if err != nil {
			return nil, err
		}
		return archiveDisks(ova)
	default:
		return nil, fmt.Errorf("%w: %s is a %q one", ErrMode, p.ID, p.Metadata.Mode)
	}
}

// OpenDisk opens a disk of a point, named by the uuid of the VM's own VDI or by that of
// the snapshot VDI it was exported from; a name that the point does not have is
// [ErrUnknownDisk]. An archive that cannot be read anywhere is read once before, which
// proves it, to know where there is data.
//
// The point is leased until Close where leases are possible, and reads fail with
// catalog.ErrLeaseLost once that is lost; Confirm tells at the end whether all that was
// read is what the point held. ctx bounds the life of the PointDisk, which must be closed.
func OpenDisk(ctx context.Context, cat *catalog.Catalog, p *catalog.Point, uuid string) (*PointDisk, error) {
	ctx, held, err := protect(ctx, cat, p, nil)
	if err != nil {
		return nil, err
	}
	d := &PointDisk{close: []func() error{func() error { return held.end(nil) }}}
	infos, err := Disks(ctx, cat, p)
	if err == nil {
		d.Info, err = findDisk(infos, p, uuid)
	}
	if err == nil {
		err = d.open(ctx, cat, p)
	}
	if err != nil {
		return nil, errors.Join(held.end(err), d.Close())
	}
	d.Source = held.guard(d.Source)
	return d, nil
}

func findDisk(infos []catalog.DiskInfo, p *catalog.Point, uuid string) (catalog.DiskInfo, error) {
	var known []string
	for _, info := range infos {
		if uuid != "" && (uuid == info.SourceVDI || uuid == info.VDI || uuid == info.Ref) {
			return info, nil
		}
		known = append(known, info.SourceVDI)
	}
	return catalog.DiskInfo{}, fmt.Errorf("%w: %q; %s has %s", ErrUnknownDisk, uuid, p.ID, strings.Join(known, ", "))
}

func (d *PointDisk) open(ctx context.Context, cat *catalog.Catalog, p *catalog.Point) error {
	if p.Metadata.Mode == catalog.ModeDelta {
		chain, err := cat.OpenDisk(ctx, p, d.Info.Ref)
		if err != nil {
			return fmt.Errorf("restore: disk %s: %w", d.Info.SourceVDI, err)
		}
		d.Source, d.links, d.confirm, d.close = chain, chain.Links(), chain.Confirm, append(d.close, chain.Close)
		return nil
	}
	archive, err := cat.OpenArchiveDisks(ctx, p)
	if errors.Is(err, catalog.ErrSequential) {
		return d.openSequential(ctx, cat, p)
	}
	if err != nil {
		return fmt.Errorf("restore: disk %s: %w", d.Info.SourceVDI, err)
	}
	d.confirm, d.close = archive.Confirm, append(d.close, archive.Close)
	image := archive.Image(d.Info.Ref)
	if image == nil {
		return fmt.Errorf("%w: %s: the archive has no data of disk %s", ErrIncomplete, p.ID, d.Info.SourceVDI)
	}
	d.Source = image
	return nil
}

func (d *PointDisk) openSequential(ctx context.Context, cat *catalog.Catalog, p *catalog.Point) error {
	blocks, err := provenBlocks(ctx, cat, p)
	if err != nil {
		return err
	}
	content := &archiveDisk{ctx: ctx, cat: cat, point: p, id: d.Info.Ref, size: d.Info.Size, blocks: blocks[d.Info.Ref]}
	d.Source, d.close = content, append(d.close, content.Close)
	d.confirm = func(ctx context.Context) error {
		if err := content.Confirm(ctx); err != nil {
			return fmt.Errorf("restore: disk %s: %w", d.Info.SourceVDI, err)
		}
		_, err := cat.Point(ctx, p.ID)
		return err
	}
	return nil
}

// Links returns the number of VHDs that the disk is made of; 0 for one in an archive.
func (d *PointDisk) Links() int { return d.links }

// Confirm tells whether all that was read so far is what the point held, as
// [catalog.Disk.Confirm] does: catalog.ErrExpired, vhd.ErrChanged, or fs.ErrNotExist
// say that it was deleted or moved meanwhile.
func (d *PointDisk) Confirm(ctx context.Context) error { return d.confirm(ctx) }

// Close closes the disk and ends the lease. It works after ctx has ended.
func (d *PointDisk) Close() error {
	var errs []error
	for _, release := range slices.Backward(d.close) {
		errs = append(errs, release())
	}
	d.close = nil
	return errors.Join(errs...)
}
