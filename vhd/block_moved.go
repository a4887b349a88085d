package vhd

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
)

// moved returns where a block is that the image should hold, but does not: XO's
// merge of directories renames the files of blocks into the oldest image, and
// until it is over the state file beside the images says so. missing is the
// error that the file of the block gave.
func (d *dirBlocks) moved(block int, missing error) (*dirBlocks, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.other != nil {
		return d.other, nil
	}
	oldest, youngest, err := d.mergeInto()
	if err != nil {
		return nil, err
	}
	for _, name := range []string{oldest, youngest} { // whose name the oldest has in the end
		if name == "" {
			continue
		}
		other, err := d.sibling(name)
		if errors.Is(err, fs.ErrNotExist) || (err == nil && other.root == d.root) {
			continue
		}
		d.other = other // nil with an error
		return other, err
	}
	root, err := resolveAlias(d.ctx, d.dir, d.name)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && root != d.root: // the merge is over, or the disk was removed
		return nil, fmt.Errorf("block %d: %w", block, ErrChanged)
	case err != nil:
		return nil, err
	}
	return nil, fmt.Errorf("block %d: %w: %w", block, ErrIncomplete, missing)
}

// mergeInto returns the names of the image into which an interrupted merge moves
// the blocks of this one, and of the image that it replaces, as far as they are
// known; "" if there is none.
func (d *dirBlocks) mergeInto() (oldest, youngest string, err error) {
	base := path.Dir(d.name)
	names, err := d.dir.List(d.ctx, base)
	if err != nil {
		return "", "", err
	}
	for _, name := range names {
		target, ok := mergeTarget(name)
		if !ok || target == path.Base(d.name) {
			continue
		}
		state, err := ReadMergeState(d.ctx, d.dir, path.Join(base, name))
		switch {
		case errors.Is(err, fs.ErrNotExist): // it has just come to its end
		case errors.Is(err, ErrMergeState): // torn: XO does not write it atomically
			if d.mergedByUUID(path.Join(base, target)) {
				return path.Join(base, target), "", nil
			}
		case err != nil:
			return "", "", err
		case slices.Contains(state.Chain, path.Base(d.name)):
			return path.Join(base, target), path.Join(base, state.Chain[len(state.Chain)-1]), nil
		case len(state.Chain) == 0 && state.Child == d.uuid:
			return path.Join(base, target), d.name, nil
		}
	}
	return "", "", nil
}

// mergedByUUID tells whether an image with a merge of which nothing else is
// known is the parent of this one, or has already taken its uuid.
func (d *dirBlocks) mergedByUUID(name string) bool {
	m, err := OpenDirectory(d.ctx, d.dir, name)
	if err != nil {
		return false
	}
	defer m.Close()
	return m.UUID() == d.parent || m.UUID() == d.uuid
}

// sibling returns the blocks of another image, enough of them to read one. For one
// that is a file, from which blocks are only missing when its merge is all but over,
// it is ErrChanged.
func (d *dirBlocks) sibling(name string) (*dirBlocks, error) {
	root, err := resolveAlias(d.ctx, d.dir, name)
	if err != nil {
		return nil, err
	}
	if _, err := d.dir.List(d.ctx, root); errors.Is(err, fs.ErrNotExist) {
		return nil, err
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrChanged, err)
	}
	filter, err := readFilter(d.ctx, d.dir, root)
	if err != nil {
		return nil, err
	}
	return &dirBlocks{name: name, root: root, filter: filter}, nil
}
