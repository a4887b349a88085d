package restore

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xva"
)

// ExportOptions of [ExportXVA]. nil is fine.
type ExportOptions struct {
	Compression xva.Compression // of the whole archive; default none
	Name        string          // of the VM; "": the name it had
}

// ExportXVA writes a delta point as one XVA archive, which xe vm-import, Xen
// Orchestra and [xapi.Client.ImportVM] make a VM of. It has the disks as they were,
// the interfaces with their networks by name, and virtual TPMs with their secrets; the
// VM is halted. Older pools take it too: checksums are SHA-1, and the version that it
// claims is old.
//
// A point of another mode is [ErrMode]; the archive of a full one is there already,
// see [catalog.Catalog.OpenArchive]. Nothing is buffered but a few MiB; after an error
// what was written is no archive. The point is under a [catalog.Lease] meanwhile, where
// there can be one; one that is gone is fs.ErrNotExist before anything is written. When
// another tool deletes or merges it all the same, the error is catalog.ErrExpired or
// vhd.ErrChanged, and when the lease is lost, catalog.ErrLeaseLost.
func ExportXVA(ctx context.Context, cat *catalog.Catalog, p *catalog.Point, w io.Writer, opts *ExportOptions) (err error) {
	if opts == nil {
		opts = &ExportOptions{}
	}
	if p.Metadata.Mode != catalog.ModeDelta {
		return fmt.Errorf("%w: %s is a %q one", ErrMode, p.ID, p.Metadata.Mode)
	}
	ctx, held, err := protect(ctx, cat, p, nil)
	if err != nil {
		return err
	}
	defer func() { err = held.end(err) }()
	b := &ovaBuilder{point: p, name: opts.Name, refs: map[string]string{}, sizes: map[string]int64{}}
	var open []*catalog.Disk
	defer func() {
		for _, d := range open {
			err = errors.Join(err, d.Close())
		}
	}()
	content := map[string]disk.Source{}
	for _, info := range cat.Disks(p) {
		memory, err := b.isMemory(info.Ref)
		if err != nil {
			return err
		}
		if memory {
			continue
		}
		d, err := cat.OpenDisk(ctx, p, info.Ref)
		if err != nil {
			return fmt.Errorf("restore: disk %s: %w", info.Name, err)
		}
		open = append(open, d)
		b.sizes[info.Ref], content[b.id(info.Ref)] = d.Size(), d
	}
	ova, err := b.build()
	if err != nil {
		return err
	}
	z, err := xva.NewCompressor(w, opts.Compression)
	if err != nil {
		return err
	}
	if err := writeConfirmed(ctx, z, ova, content, open); err != nil {
		return fmt.Errorf("restore: %w", errors.Join(err, z.Close()))
	}
	return z.Close()
}

// writeConfirmed writes an archive, and its end only when what was read of the disks
// was right: nobody takes it for one without that.
func writeConfirmed(ctx context.Context, w io.Writer, ova *xva.OVA, content map[string]disk.Source, open []*catalog.Disk) error {
	listed, err := ova.Disks()
	if err != nil {
		return err
	}
	archive, err := xva.NewWriter(w, ova, nil)
	if err != nil {
		return err
	}
	for _, d := range listed {
		src, ok := content[d.ID]
		if !ok {
			return fmt.Errorf("%w: no content of %s", xva.ErrIncomplete, d.ID)
		}
		if err := archive.WriteDisk(ctx, d.ID, src); err != nil {
			return err
		}
	}
	for _, d := range open {
		if err := d.Confirm(ctx); err != nil {
			return err
		}
	}
	return archive.Close()
}
