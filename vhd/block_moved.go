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
	oldest, err := d.mergeInto()
	if err != nil {
		return nil, err
	}
	if oldest != "" {
		other, err := d.sibling(oldest)
		if !errors.Is(err, fs.ErrNotExist) {
			d.other = other
			return other, err
		}
	}
	root, err := resolveAlias(d.ctx, d.dir, d.name)
	if err != nil {
		return nil, err
	}
	if root != d.root { // the merge is over, and the name now means the oldest image
		return nil, fmt.Errorf("block %d: %w", block, ErrChanged)
	}
	return nil, fmt.Errorf("block %d: %w: %w", block, ErrIncomplete, missing)
}

// mergeInto returns the name of the image into which an interrupted merge moves
// the blocks of this one, "" if there is none.
func (d *dirBlocks) mergeInto() (string, error) {
	base := path.Dir(d.name)
	names, err := d.dir.List(d.ctx, base)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		target, ok := mergeTarget(name)
		if !ok || target == path.Base(d.name) {
			continue
		}
		state, err := ReadMergeState(d.ctx, d.dir, path.Join(base, name))
		switch {
		case errors.Is(err, ErrMergeState): // torn: XO does not write it atomically
			if d.mergedByUUID(path.Join(base, target)) {
				return path.Join(base, target), nil
			}
		case err != nil:
			return "", err
		case slices.Contains(state.Chain, path.Base(d.name)), len(state.Chain) == 0 && state.Child == d.uuid:
			return path.Join(base, target), nil
		}
	}
	return "", nil
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

// sibling returns the blocks of another image, enough of them to read one.
func (d *dirBlocks) sibling(name string) (*dirBlocks, error) {
	root, err := resolveAlias(d.ctx, d.dir, name)
	if err != nil {
		return nil, err
	}
	filter, err := readFilter(d.ctx, d.dir, root)
	if err != nil {
		return nil, err
	}
	return &dirBlocks{name: name, root: root, filter: filter}, nil
}
