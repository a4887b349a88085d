package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

var _ disk.Source = (*Disk)(nil)

// Disk is the content of a disk at a restore point: the whole chain of VHDs
// behind it. It implements [disk.Source]; ReadAt may be called concurrently.
type Disk struct {
	c     *Catalog
	point string // id
	chain *vhd.Chain
	files *chainFiles
}

// OpenDisk opens the disk of p with the key ref of its vhds. The paths in
// metadata and disks are not trusted: what leaves the directory of the VM gives
// [ErrOutside]. Every link's parent must have the uuid the link names. A chain
// in the middle of a merge is readable as long as its blocks are there. ctx
// bounds the life of the Disk, which must be closed.
//
// Disks kept as directories of blocks behind an alias are read like files, each
// block when it is needed; a directory without an alias gives
// [ErrUnsupportedFlavour]. An unknown ref, or a file that is gone, gives fs.ErrNotExist.
func (c *Catalog) OpenDisk(ctx context.Context, p *Point, ref string) (*Disk, error) {
	vm, _, err := splitID(p.ID)
	if err != nil {
		return nil, err
	}
	dir, err := vmDir(vm)
	if err != nil {
		return nil, err
	}
	rel, ok := p.Metadata.VHDs[ref]
	if !ok {
		return nil, fmt.Errorf("catalog: point %s: disk %q: %w", p.ID, ref, fs.ErrNotExist)
	}
	name, err := within(dir, dir, rel)
	if err != nil {
		return nil, fmt.Errorf("point %s: %w", p.ID, err)
	}
	files := newChainFiles(c.fsys, dir)
	files.ahead = newAhead(c.fsys)
	chain, err := files.openChain(ctx, name)
	if err != nil {
		return nil, errors.Join(err, files.close())
	}
	return &Disk{c: c, point: p.ID, chain: chain, files: files}, nil
}

// ReadAt implements io.ReaderAt.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) { return d.chain.ReadAt(p, off) }

// Size returns the virtual size in bytes.
func (d *Disk) Size() int64 { return d.chain.Size() }

// Extents implements [disk.Source].
func (d *Disk) Extents(ctx context.Context, off, n int64) iter.Seq2[disk.Extent, error] {
	return d.chain.Extents(ctx, off, n)
}

// Links returns the number of VHDs in the chain. Above
// [vhd.FileRestoreMaxLinks], Xen Orchestra restores no files from the disk.
func (d *Disk) Links() int { return len(d.chain.Links()) }

// UUID returns the uuid of the snapshot VDI that the disk was exported from.
func (d *Disk) UUID() vhd.UUID { return d.chain.Links()[0].UUID() }

// Confirm tells whether all that was read so far is what the point held. A
// reader takes no lock: meanwhile the point may have been deleted, and disks of
// the chain merged in place. Whoever uses the content for good asks afterwards:
// [ErrExpired] says that the point is gone, [vhd.ErrChanged] that a block was moved
// under the reader; after the latter, opening the disk again helps.
func (d *Disk) Confirm(ctx context.Context) error {
	if err := d.chain.Confirm(); err != nil {
		return fmt.Errorf("catalog: point %s: %w", d.point, err)
	}
	return d.c.confirmPoint(ctx, d.point)
}

// confirmPoint tells whether the point is still there.
func (c *Catalog) confirmPoint(ctx context.Context, id string) error {
	_, err := c.fsys.Stat(ctx, id)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrExpired
	}
	if err != nil {
		return fmt.Errorf("catalog: point %s: %w", id, err)
	}
	return nil
}

// Close closes the files of the chain.
func (d *Disk) Close() error { return d.files.close() }
