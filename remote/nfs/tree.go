package nfs

import (
	"context"
	"path"

	"golang.org/x/sync/errgroup"

	"github.com/xenbackup/xenbackup/remote"
)

const (
	removals = 16  // at a time, of the files in one directory
	maxDepth = 512 // of a tree: who nests deeper does it to harm
)

// RemoveAll implements [remote.TreeRemover]. It saves a LOOKUP for every entry,
// and removes the files of a directory side by side. A symbolic link is removed,
// never followed.
func (f *FS) RemoveAll(ctx context.Context, name string) error {
	if err := checkEntry(ctx, "removeall", name); err != nil {
		return err
	}
	err := f.at(ctx, name, func(p *place) error {
		o, err := f.client.lookup(ctx, p.dir, p.base)
		if err != nil {
			return err
		}
		f.dirs.drop(p.full())
		return f.removeTree(ctx, tree{name: name, dir: p.dir, o: o})
	})
	if isStatus(err, errNoEnt) {
		return nil
	}
	return pathError("removeall", name, err)
}

// tree is a file or directory to remove with all in it.
type tree struct {
	name  string
	dir   handle // it is in
	o     object
	depth int
}

func (f *FS) removeTree(ctx context.Context, t tree) error {
	if t.depth > maxDepth {
		return violation("directories nested %d deep", t.depth)
	}
	if t.o.a.kind == typeDir {
		if err := f.removeEntries(ctx, &t); err != nil {
			return err
		}
	}
	err := f.removeObject(ctx, t.dir, path.Base(t.name), &t.o)
	if isStatus(err, errNoEnt) {
		return nil
	}
	if err != nil {
		return remote.PathError("remove", t.name, cause(err))
	}
	return nil
}

func (f *FS) removeEntries(ctx context.Context, t *tree) error {
	entries, err := f.client.list(ctx, t.o.h)
	if isStatus(err, errNoEnt, errStale) {
		return nil
	}
	if err != nil {
		return remote.PathError("readdir", t.name, cause(err))
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(removals)
	for _, e := range entries {
		child := tree{name: path.Join(t.name, e.name), dir: t.o.h, o: object{e.h, e.a}, depth: t.depth + 1}
		if e.a.kind == typeDir {
			if err := f.removeTree(groupCtx, child); err != nil {
				_ = group.Wait() // the first error is the one to tell
				return err
			}
			continue
		}
		group.Go(func() error { return f.removeTree(groupCtx, child) })
	}
	return group.Wait()
}
