package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
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
// names. The directory is the truth: of the cache that Xen Orchestra keeps, an entry is
// used where its file is there, has the length that the entry says, and was not
// changed since; all other files are read, up to 32 and 64 MiB of them ahead.
//
// A JSON that cannot be read or decoded is yielded as a [*PointError], and the
// listing goes on. Any other error is the last pair; a VM that the repository
// does not have gives fs.ErrNotExist. A point deleted meanwhile is left out.
func (c *Catalog) Points(ctx context.Context, vm string) iter.Seq2[*Point, error] {
	return c.points(ctx, vm, nil)
}

func (c *Catalog) points(ctx context.Context, vm string, f *Filter) iter.Seq2[*Point, error] {
	return func(yield func(*Point, error) bool) {
		l := c.list(ctx, vm)
		c.useCache(ctx, l)
		yieldAll(ctx, c.readAll(ctx, l), f, yield)
	}
}

// Find yields the points that f wants, of all VMs unless it names one: VM by VM as VMs
// does, and in each as Points does. A nil Filter wants all. Several VMs are read ahead.
// A VM that vanishes meanwhile, or that is not there, has no points.
func (c *Catalog) Find(ctx context.Context, f *Filter) iter.Seq2[*Point, error] {
	return func(yield func(*Point, error) bool) {
		vms := c.VMs(ctx)
		if f != nil && f.VM != "" {
			vms = func(yield func(string, error) bool) { yield(f.VM, nil) }
		}
		results := readAhead(ctx, readsAhead, roomAhead, func(ctx context.Context) iter.Seq[task[found]] {
			return func(yield func(task[found]) bool) {
				for l := range c.listAll(ctx, vms) {
					for t := range c.tasks(l) {
						if !yield(t) {
							return
						}
					}
				}
			}
		})
		yieldAll(ctx, results, f, yield)
	}
}

// listAll reads the directories of VMs, and their caches, some ahead.
func (c *Catalog) listAll(ctx context.Context, vms iter.Seq2[string, error]) iter.Seq[*listing] {
	return readAhead(ctx, vmsAhead, vmsAhead, func(context.Context) iter.Seq[task[*listing]] {
		return func(yield func(task[*listing]) bool) {
			for vm, err := range vms {
				if !yield(task[*listing]{1, func(ctx context.Context) *listing { return c.listIfThere(ctx, vm, err) }}) {
					return
				}
			}
		}
	})
}

func (c *Catalog) listIfThere(ctx context.Context, vm string, err error) *listing {
	if err != nil {
		return &listing{err: err}
	}
	l := c.list(ctx, vm)
	if errors.Is(l.err, fs.ErrNotExist) {
		return &listing{}
	}
	c.useCache(ctx, l)
	return l
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
