package vhd

import (
	"context"
	"errors"
)

// OpenDirChain opens the disk name in dir, a file or one of XO's directory flavour
// (see [OpenDirectory]), and all its parents, which are looked for as
// [DirOpener] says. The chain must be closed; ctx bounds its life.
func OpenDirChain(ctx context.Context, dir Dir, name string, opts *ChainOptions) (*Chain, error) {
	leaf, err := OpenDirectory(ctx, dir, name)
	if err != nil {
		return nil, err
	}
	chain, err := OpenChain(ctx, leaf, DirOpener(dir), opts)
	if err != nil {
		return nil, errors.Join(err, leaf.Close())
	}
	return chain, nil
}
