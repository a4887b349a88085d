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

const (
	// readsAhead and roomAhead bound what a listing reads before it is asked for:
	// files, and bytes of them.
	readsAhead = 32
	roomAhead  = 64 << 20
	// vmsAhead is of how many VMs the directory and the cache are read before.
	vmsAhead = 4
	// smallRoom is what a file takes at least.
	smallRoom = 4 << 10
	// fewPoints are read without a look at the cache.
	fewPoints = 2
)

// listing is the directory of a VM: the files of its points, oldest first.
type listing struct {
	vm       string
	dir      string
	files    []fs.DirEntry
	hasCache bool
	cache    *cache // nil: not used
	err      error
}

// list reads the directory of a VM, and its cache if it is of use.
func (c *Catalog) list(ctx context.Context, vm string) *listing {
	l := &listing{vm: vm}
	if l.dir, l.err = vmDir(vm); l.err != nil {
		return l
	}
	entries, err := c.fsys.ReadDir(ctx, l.dir)
	if err != nil {
		l.err = fmt.Errorf("catalog: list vm %s: %w", vm, err)
		return l
	}
	l.files = entries[:0]
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		l.hasCache = l.hasCache || e.Name() == cacheName
		if isPointName(e.Name()) {
			l.files = append(l.files, e)
		}
	}
	return l
}

// useCache reads the cache. Without one, or one that is of no use, all files are read.
func (c *Catalog) useCache(ctx context.Context, l *listing) {
	if l.err != nil || !l.hasCache || len(l.files) <= fewPoints {
		return
	}
	limit := int64(cacheSlack)
	for _, e := range l.files {
		info, err := e.Info()
		if err != nil {
			return
		}
		limit += info.Size() + cacheSlack
	}
	k, err := c.readCache(ctx, l.dir, limit)
	if err != nil {
		c.log.DebugContext(ctx, "cache not used", "vm", l.vm, "error", err)
		return
	}
	l.cache = k
}

// found is a point of a listing, or what it has instead.
type found struct {
	point *Point
	err   error
	gone  bool // the file was removed meanwhile
	last  bool // the listing ends with err
}

// tasks read the points of a listing.
func (c *Catalog) tasks(l *listing) iter.Seq[task[found]] {
	return func(yield func(task[found]) bool) {
		if l.err != nil {
			yield(task[found]{smallRoom, func(context.Context) found { return found{err: l.err, last: true} }})
			return
		}
		for _, e := range l.files {
			room := int64(smallRoom)
			info, err := e.Info()
			if err == nil {
				room = max(room, info.Size())
			}
			if !yield(task[found]{room, func(ctx context.Context) found { return c.find(ctx, l, e.Name(), info) }}) {
				return
			}
		}
	}
}

// readAll yields what the files of a listing hold.
func (c *Catalog) readAll(ctx context.Context, l *listing) iter.Seq[found] {
	return readAhead(ctx, readsAhead, roomAhead, func(context.Context) iter.Seq[task[found]] { return c.tasks(l) })
}

// find gets one point, from the cache if that is right.
func (c *Catalog) find(ctx context.Context, l *listing, file string, info fs.FileInfo) found {
	name := path.Join(l.dir, file)
	if info != nil {
		if entry := l.cache.holds(info); entry != nil {
			if p, err := parseEntry(name, entry); err == nil {
				return found{point: p}
			}
		}
	}
	p, err := c.readPoint(ctx, name)
	return found{point: p, err: err, gone: errors.Is(err, fs.ErrNotExist)}
}

// parseEntry decodes an entry of a cache.
func parseEntry(name string, entry []byte) (*Point, error) {
	p, err := parsePoint(name, entry)
	if err != nil {
		return nil, err
	}
	for key := range p.Metadata.Extra {
		if isCacheMember(key) {
			delete(p.Metadata.Extra, key)
		}
	}
	if len(p.Metadata.Extra) == 0 {
		p.Metadata.Extra = nil
	}
	return p, nil
}

// yieldAll yields what was found and is wanted.
func yieldAll(ctx context.Context, results iter.Seq[found], f *Filter, yield func(*Point, error) bool) {
	for r := range results {
		switch {
		case r.gone:
			continue
		case ctx.Err() != nil:
			yield(nil, context.Cause(ctx))
			return
		case r.err == nil && !f.Match(r.point):
			continue
		}
		if !yield(r.point, r.err) || r.last {
			return
		}
	}
	if ctx.Err() != nil {
		yield(nil, context.Cause(ctx))
	}
}

// scan yields the points of a VM from their files alone: what is to be deleted is
// not judged by a cache.
func (c *Catalog) scan(ctx context.Context, vm string) iter.Seq2[*Point, error] {
	return func(yield func(*Point, error) bool) {
		yieldAll(ctx, c.readAll(ctx, c.list(ctx, vm)), nil, yield)
	}
}

func (c *Catalog) readPoint(ctx context.Context, name string) (*Point, error) {
	data, err := remote.ReadFile(ctx, c.fsys, name, maxJSON)
	if err != nil {
		return nil, newPointError(name, err)
	}
	return parsePoint(name, data)
}
