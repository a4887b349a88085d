package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"

	"github.com/xenbackup/xenbackup/remote"
)

// VMs yields the names of the VM directories, sorted: uuids, as far as Xen
// Orchestra made them. Hidden entries and locks are passed over as it does. An
// error is the last pair.
func (c *Catalog) VMs(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		entries, err := c.fsys.ReadDir(ctx, vmRoot)
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err != nil {
			yield("", fmt.Errorf("catalog: list the VMs: %w", err))
			return
		}
		for _, e := range entries {
			if !e.IsDir() || !isVMName(e.Name()) {
				continue
			}
			if !yield(e.Name(), nil) {
				return
			}
		}
	}
}

// Points yields the restore points of a VM, oldest first by the date in their
// names; each is read when it is its turn, so breaking out early is cheap. The
// directory itself is the truth: the cache that Xen Orchestra keeps is not used.
//
// A JSON that cannot be read or decoded is yielded as a [*PointError], and the
// listing goes on. Any other error is the last pair; a VM that the repository
// does not have gives fs.ErrNotExist. A point deleted meanwhile is left out.
func (c *Catalog) Points(ctx context.Context, vm string) iter.Seq2[*Point, error] {
	return func(yield func(*Point, error) bool) {
		dir, err := vmDir(vm)
		if err != nil {
			yield(nil, err)
			return
		}
		entries, err := c.fsys.ReadDir(ctx, dir)
		if err != nil {
			yield(nil, fmt.Errorf("catalog: list vm %s: %w", vm, err))
			return
		}
		for _, e := range entries {
			if e.IsDir() || !isPointName(e.Name()) {
				continue
			}
			p, err := c.readPoint(ctx, path.Join(dir, e.Name()))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if ctx.Err() != nil {
				yield(nil, context.Cause(ctx))
				return
			}
			if !yield(p, err) {
				return
			}
		}
	}
}

// Point reads one restore point by its id. A leading slash, as Xen Orchestra
// writes ids, is accepted. A missing one gives fs.ErrNotExist, an unreadable
// one a [*PointError].
func (c *Catalog) Point(ctx context.Context, id string) (*Point, error) {
	vm, file, err := splitID(id)
	if err != nil {
		return nil, err
	}
	return c.readPoint(ctx, path.Join(vmRoot, vm, file))
}

func (c *Catalog) readPoint(ctx context.Context, name string) (*Point, error) {
	data, err := remote.ReadFile(ctx, c.fsys, name, maxJSON)
	if err != nil {
		return nil, newPointError(name, err)
	}
	return parsePoint(name, data)
}
