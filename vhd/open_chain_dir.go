package vhd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
)

// OpenDirChain opens the disk name in dir, a file or one of XO's directory flavour
// (see [OpenDirectory]), and all its parents, which are looked for as
// [DirOpener] says. It sees through merges that were interrupted, those of [Merge]
// and those of XO, whose state files lie beside the images:
//
//   - while the blocks move, the oldest image of the merge is a file without a
//     valid end, and at last has the uuid of the youngest: it is read all the same,
//     for the younger ones still hold every block that moves, or say where it is;
//   - in the cleanup after that the oldest image is complete, and stands in for the
//     youngest, which may be gone as well as what was between.
//
// A merge that goes on meanwhile renames and removes what is about to be opened:
// a chain that does not fit together is looked at twice more before that is
// believed. The chain must be closed; ctx bounds its life.
func OpenDirChain(ctx context.Context, dir Dir, name string, opts *ChainOptions) (chain *Chain, err error) {
	for range 3 {
		o := &dirChain{dir: dir, merges: make(map[string][]halfMerge)}
		if opts != nil {
			o.opts = *opts
		}
		chain, err = o.openBoth(ctx, name)
		if err == nil || !mayBeMoving(err) {
			return chain, err
		}
	}
	return nil, err
}

// mayBeMoving tells whether the error may come from a merge that goes on: of what
// is opened, some is then older than the rest, or half written.
func mayBeMoving(err error) bool {
	for _, moving := range []error{fs.ErrNotExist, ErrParentNotFound, ErrParentMismatch, ErrCycle} {
		if errors.Is(err, moving) {
			return true
		}
	}
	return isProof(err)
}

// dirChain is one attempt to open a chain.
type dirChain struct {
	dir    Dir
	opts   ChainOptions
	merges map[string][]halfMerge // by directory

	preferOldest bool // read the oldest image of a merge in its cleanup for the youngest
}

// halfMerge is a merge that was interrupted.
type halfMerge struct {
	oldest   string // path of the image the blocks go to
	youngest string // path that it will get; "" when the state does not say
	state    MergeState
}

func (o *dirChain) openBoth(ctx context.Context, name string) (*Chain, error) {
	chain, err := o.openOnce(ctx, name)
	if !errors.Is(err, ErrParentNotFound) || !o.cleaning() {
		return chain, err
	}
	o.preferOldest = true // what was between may be gone
	return o.openOnce(ctx, name)
}

func (o *dirChain) openOnce(ctx context.Context, name string) (*Chain, error) {
	leaf, err := o.open(ctx, name)
	if err != nil {
		return nil, err
	}
	opener := func(ctx context.Context, child *Image, ref ParentRef) (*Image, error) {
		return openParent(ctx, child, ref, o.dir, o.open, o.accept)
	}
	chain, err := OpenChain(ctx, leaf, opener, &ChainOptions{MaxLinks: o.opts.MaxLinks, AcceptParent: o.accept})
	if err != nil {
		return nil, errors.Join(err, leaf.Close())
	}
	return chain, nil
}

// open opens an image, or what stands in for it. As long as it is there itself it
// is read: XO does not sync the oldest image before it says that it is complete.
func (o *dirChain) open(ctx context.Context, name string) (*Image, error) {
	merges, err := o.mergesIn(ctx, path.Dir(name))
	if err != nil {
		return nil, err
	}
	if o.preferOldest {
		if m, err := o.openStandIn(ctx, merges, name); !errors.Is(err, fs.ErrNotExist) {
			return m, err
		}
	}
	mode := Strict
	for _, merge := range merges {
		if merge.oldest == name {
			mode = Recover
		}
	}
	m, err := openIn(ctx, o.dir, name, mode)
	if errors.Is(err, fs.ErrNotExist) || (isAlias(name) && errors.Is(err, ErrNotVHD)) { // or the alias was torn
		if standIn, otherErr := o.openStandIn(ctx, merges, name); !errors.Is(otherErr, fs.ErrNotExist) {
			return standIn, otherErr
		}
	}
	return m, err
}

// openStandIn opens the complete image that a merge in its cleanup is about to
// give the name; fs.ErrNotExist when there is none.
func (o *dirChain) openStandIn(ctx context.Context, merges []halfMerge, name string) (*Image, error) {
	for _, merge := range merges {
		if merge.youngest != name || merge.state.Step != StepCleanup {
			continue
		}
		m, err := openIn(ctx, o.dir, merge.oldest, Recover)
		if err != nil {
			return nil, err
		}
		if m.UUID() == merge.state.Child {
			return m, nil
		}
		if err := m.Close(); err != nil {
			return nil, err
		}
	}
	return nil, fs.ErrNotExist
}

// accept tells whether parent is the image that child was made on: it has the
// uuid, or a merge into it has just given it that of the youngest.
func (o *dirChain) accept(child, parent *Image) bool {
	if hasUUID(child, parent) {
		return true
	}
	for _, merge := range o.merges[path.Dir(parent.Name())] {
		if merge.oldest == parent.Name() && merge.state.AcceptParent(child, parent) {
			return true
		}
	}
	return o.opts.AcceptParent != nil && o.opts.AcceptParent(child, parent)
}

// mergesIn returns the merges of which a directory has state files. A state that
// was torn, since XO does not write it atomically, says only where blocks go.
func (o *dirChain) mergesIn(ctx context.Context, base string) ([]halfMerge, error) {
	if merges, ok := o.merges[base]; ok {
		return merges, nil
	}
	names, err := o.dir.List(ctx, base)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list %s: %w", base, err)
	}
	merges := []halfMerge{}
	for _, name := range names {
		target, ok := mergeTarget(name)
		if !ok {
			continue
		}
		merge := halfMerge{oldest: path.Join(base, target)}
		state, err := ReadMergeState(ctx, o.dir, path.Join(base, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil && !errors.Is(err, ErrMergeState):
			return nil, err
		case err == nil:
			merge.state = *state
			if n := len(state.Chain); n > 1 {
				merge.youngest = path.Join(base, state.Chain[n-1])
			}
		}
		merges = append(merges, merge)
	}
	o.merges[base] = merges
	return merges, nil
}

// cleaning tells whether a merge in a directory seen so far is in its cleanup.
func (o *dirChain) cleaning() bool {
	for _, merges := range o.merges {
		for _, merge := range merges {
			if merge.state.Step == StepCleanup {
				return true
			}
		}
	}
	return false
}
