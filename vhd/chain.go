package vhd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

// FileRestoreMaxLinks is the number of images, the full one included, beyond
// which XO does not restore files from a chain.
const FileRestoreMaxLinks = 99

// DefaultMaxLinks is the bound of [OpenChain] when none is given.
const DefaultMaxLinks = 1024

// Opener opens the parent of child. It decides which of the names of ref are
// acceptable; they come from a file and may point anywhere. It returns an error
// that wraps [ErrParentNotFound] if there is no such image. The image must stay
// readable while the chain is in use.
type Opener func(ctx context.Context, child *Image, ref ParentRef) (*Image, error)

// ChainOptions are the options of [OpenChain]; nil means the defaults.
type ChainOptions struct {
	// MaxLinks bounds the images of the chain, the leaf and the full one
	// included. 0 means DefaultMaxLinks; at most math.MaxUint16-1 are possible.
	MaxLinks int

	// AcceptParent may accept a parent with another uuid than the child asks
	// for. A merge that was interrupted leaves such a parent: it already has
	// the uuid of the image it is about to replace. nil accepts none.
	AcceptParent func(child, parent *Image) bool
}

// Chain is a disk held by several images: what the first does not hold is asked
// of the next. It is a [disk.Source], and all its methods may be called
// concurrently. Beside its images it holds 2 bytes per block of the disk (of the
// smallest blocks in the chain), not more than 64 MiB for disks of any size, and up
// to 16 MiB of what it found out about blocks that several images hold in parts.
type Chain struct {
	links  []*Image
	blocks blockMap
}

// OpenChain follows the parents of leaf up to an image without one. Each
// parent is checked against the uuid that its child expects. Errors wrap
// [ErrParentNotFound], [ErrParentMismatch], [ErrCycle], [ErrChainTooLong], or
// come from open.
//
// A parent may be shorter than its child: what lies beyond its end is zeros,
// even if a longer image comes behind it.
func OpenChain(ctx context.Context, leaf *Image, open Opener, opts *ChainOptions) (*Chain, error) {
	if opts == nil {
		opts = &ChainOptions{}
	}
	maxLinks := min(opts.MaxLinks, math.MaxUint16-1)
	if maxLinks <= 0 {
		maxLinks = DefaultMaxLinks
	}
	c := &Chain{links: []*Image{leaf}}
	if err := c.follow(ctx, open, maxLinks, opts.AcceptParent); err != nil {
		for _, parent := range c.links[1:] {
			err = errors.Join(err, parent.Close())
		}
		return nil, err
	}
	c.blocks.init(c.links)
	c.shareChunks()
	return c, nil
}

// follow opens the parents of the leaf.
func (c *Chain) follow(ctx context.Context, open Opener, maxLinks int, accept func(child, parent *Image) bool) error {
	for child := c.links[0]; child.Type() == Differencing; {
		if len(c.links) >= maxLinks {
			return fmt.Errorf("%w: more than %d images from %s", ErrChainTooLong, maxLinks, c.links[0].label())
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		parent, err := open(ctx, child, child.Parent())
		if err == nil {
			err = c.checkParent(child, parent, accept)
		}
		if err != nil {
			if parent != nil && !slices.Contains(c.links, parent) {
				err = errors.Join(err, parent.Close())
			}
			return fmt.Errorf("parent of %s: %w", child.label(), err)
		}
		c.links = append(c.links, parent)
		child = parent
	}
	return nil
}

func (c *Chain) checkParent(child, parent *Image, accept func(child, parent *Image) bool) error {
	if parent == nil {
		return ErrParentNotFound
	}
	sameUUID := false
	for _, link := range c.links {
		if link == parent {
			return ErrCycle
		}
		sameUUID = sameUUID || link.UUID() == parent.UUID()
	}
	if parent.UUID() == child.Parent().UUID {
		if sameUUID {
			return ErrCycle
		}
		return nil
	}
	if accept != nil && accept(child, parent) {
		return nil
	}
	if sameUUID {
		return ErrCycle
	}
	return fmt.Errorf("%w: want uuid %s, %s has %s", ErrParentMismatch, child.Parent().UUID, parent.label(), parent.UUID())
}

// shareChunks makes the images that are kept as directories share a cache, so
// that the memory of the chain does not depend on its length.
func (c *Chain) shareChunks() {
	var shared *chunkCache
	for _, link := range c.links {
		d, ok := link.source.(*dirBlocks)
		switch {
		case !ok:
		case shared == nil:
			shared = d.cache.Load()
		default:
			d.cache.Store(shared)
		}
	}
}

// Close closes the images that [OpenDirectory] or a [DirOpener] opened. The files
// of others belong to who opened them.
func (c *Chain) Close() error {
	var errs []error
	for _, link := range c.links {
		errs = append(errs, link.Close())
	}
	return errors.Join(errs...)
}

// Links returns the images, the leaf first, the one without a parent last.
func (c *Chain) Links() []*Image { return c.links }

// Size returns the virtual size of the leaf in bytes.
func (c *Chain) Size() int64 { return c.links[0].Size() }

// BlockSize returns the bytes of a block of the leaf.
func (c *Chain) BlockSize() int64 { return c.links[0].BlockSize() }

// Blocks yields, ascending and in units of BlockSize, the blocks of the disk
// of which some image holds a part.
func (c *Chain) Blocks() iter.Seq[int] {
	return func(yield func(int) bool) {
		size := c.BlockSize()
		for i := range int(divUp(c.Size(), size)) {
			from := int64(i) * size
			if c.blocks.holdsAny(from, min(from+size, c.Size())) && !yield(i) {
				return
			}
		}
	}
}

// ReadAt reads from the disk. What no image holds is zeros.
func (c *Chain) ReadAt(p []byte, off int64) (int, error) {
	p, end, err := clip(p, off, c.Size())
	if err != nil {
		return 0, err
	}
	done := 0
	for done < len(p) {
		at := off + int64(done)
		link, n, err := c.resolve(at, int64(len(p)-done))
		if err != nil {
			return done, err
		}
		part := p[done : done+int(n)]
		if link == nil {
			clear(part)
		} else if err := link.readData(part, at); err != nil {
			return done, err
		}
		done += len(part)
	}
	return done, end
}

// Extents yields what the images hold together, sector by sector: Data, or
// Hole for what no image holds.
func (c *Chain) Extents(ctx context.Context, off, n int64) iter.Seq2[disk.Extent, error] {
	return extents(ctx, c.Size(), off, n, func(at, n int64) (disk.Kind, int64, error) {
		link, n, err := c.resolve(at, n)
		if link == nil {
			return disk.Hole, n, err
		}
		return disk.Data, n, err
	})
}

// resolve returns the image that holds the bytes at off, nil for none, and for
// how many bytes, at most n, it does.
func (c *Chain) resolve(off, n int64) (*Image, int64, error) {
	k, n, err := c.blocks.find(off, n)
	if k < 0 || err != nil {
		return nil, n, err
	}
	return c.links[k], n, nil
}

// label names the image in errors.
func (m *Image) label() string {
	if m.name != "" {
		return m.name
	}
	return "image " + m.UUID().String()
}

var (
	_ disk.Source = (*Chain)(nil)
	_ disk.Source = (*Image)(nil)
)
