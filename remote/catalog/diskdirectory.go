package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"golang.org/x/sync/errgroup"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// blocksInFlight is how many blocks of disks kept as directories are compressed
// and written at a time, by all writers of a Catalog together.
const blocksInFlight = 8

// directoryOutput writes a disk as a directory of blocks below "data". Nothing
// leads to it until all of it is durable: then its alias gets its name.
type directoryOutput struct {
	d      *DiskWriter
	target string // the directory, relative to that of the alias
	tree   *newTree
	disk   *vhd.DirectoryWriter

	next   int // block of the layout that is to come
	group  *errgroup.Group
	ctx    context.Context //nolint:containedctx // of the group: it ends when a block could not be written
	cancel context.CancelFunc

	placed bool // the alias may have its name
	gone   bool // the directory was removed
}

func newDirectoryOutput(d *DiskWriter, filter vhd.ChunkFilter) (*directoryOutput, error) {
	s := d.w.s
	if err := remote.MkdirAll(d.ctx, s.fsys, path.Join(d.dir(), dataDir)); err != nil {
		return nil, err
	}
	o := &directoryOutput{d: d, target: path.Join(dataDir, d.w.date+".vhd"), tree: newNewTree(s.fsys, d.dir())}
	o.tree.made[dataDir] = true // its names are to be synced too
	if err := o.tree.MkdirAll(d.ctx, o.target); err != nil {
		return nil, err // somebody else's, if it exists
	}
	ctx, cancel := context.WithCancel(d.ctx)
	o.cancel = cancel
	o.group, o.ctx = errgroup.WithContext(ctx)
	layout := d.layout
	layout.Blocks = nil
	var err error
	if o.disk, err = vhd.NewDirectoryWriter(d.ctx, d.sums.dir(o.tree, o.target), o.target, layout, filter); err != nil {
		cleaning, cancel := cleanup(d.ctx)
		defer cancel()
		return nil, errors.Join(err, o.discard(cleaning))
	}
	return o, nil
}

// streamSize is what Xen Orchestra counts for a disk kept as a directory: two footers,
// a header and the table, then the blocks with their bitmaps.
func streamSize(size int64, blocks int) int64 {
	entries := (size + disk.BlockSize - 1) / disk.BlockSize
	table := (4*entries + 511) / 512 * 512
	return 2*512 + 1024 + table + int64(blocks)*(512+disk.BlockSize)
}

// write copies the block, and returns while it is compressed and written.
func (o *directoryOutput) write(index uint32, data []byte) error {
	blocks := o.d.layout.Blocks
	if o.next >= len(blocks) || blocks[o.next] != index || len(data) > disk.BlockSize {
		return fmt.Errorf("block %d of %d bytes: %w", index, len(data), vhd.ErrBlockOrder)
	}
	block, err := o.d.w.s.c.blocks.Block(o.ctx)
	if err != nil {
		return context.Cause(o.ctx)
	}
	o.next++
	content := block.Bytes()[:copy(block.Bytes(), data)]
	o.group.Go(func() error {
		defer block.Release()
		return o.disk.WriteBlock(o.ctx, index, content)
	})
	return nil
}

func (o *directoryOutput) finish() error {
	if err := o.group.Wait(); err != nil {
		return err
	}
	o.cancel()
	if missing := len(o.d.layout.Blocks) - o.next; missing > 0 {
		return fmt.Errorf("%d blocks are missing: %w", missing, vhd.ErrIncomplete)
	}
	if err := o.disk.Close(o.d.ctx); err != nil {
		return err
	}
	if err := o.verify(); err != nil {
		return err
	}
	if err := o.tree.sync(o.d.ctx); err != nil {
		return err
	}
	return o.publish()
}

// verify opens the directory as a reader would: footer, header, bitmap of blocks.
func (o *directoryOutput) verify() error {
	img, err := vhd.OpenDirectory(o.d.ctx, o.tree, o.target)
	if err != nil {
		return err
	}
	return errors.Join(o.d.compare(img), img.Close())
}

// publish writes the alias.
func (o *directoryOutput) publish() (err error) {
	alias, err := remote.Create(o.d.ctx, o.d.w.s.fsys, o.d.name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, alias.Abort()) }()
	if _, err := alias.Write([]byte(o.target)); err != nil {
		return err
	}
	o.placed = true
	err = alias.CommitNew()
	if errors.Is(err, fs.ErrExist) {
		o.placed = false // somebody else's
	}
	return err
}

// discard removes the alias before what it leads to, also after a power cut.
func (o *directoryOutput) discard(ctx context.Context) error {
	o.cancel()
	_ = o.group.Wait() // nothing of it is wanted
	s := o.d.w.s
	if o.placed {
		if err := s.fsys.Remove(ctx, o.d.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := remote.SyncDir(ctx, s.fsys, o.d.dir()); err != nil {
			return err
		}
		o.placed = false
	}
	if o.gone {
		return nil
	}
	if err := remote.RemoveAll(ctx, s.fsys, path.Join(o.d.dir(), o.target)); err != nil {
		return err
	}
	o.gone = true
	return nil
}
