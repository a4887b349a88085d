package nfs

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/xenbackup/xenbackup/remote"
)

const maxLinks = 40 // symbolic links on the way to a file, as Linux has it

var errEscapes = remote.MarkError(errors.New("a symbolic link leads out of the directory opened"), fs.ErrPermission)

// walk is the way to a name, along symbolic links, which the client follows in
// NFS. It never leaves the Filesystem's root.
type walk struct {
	fs     *FS
	stack  []step   // directories entered, below the root
	rest   []string // elements still to go
	links  int
	cached bool // some directory was taken from the cache
}

type step struct {
	name string
	h    handle
}

func (w *walk) dir() handle {
	if len(w.stack) == 0 {
		return w.fs.root
	}
	return w.stack[len(w.stack)-1].h
}

func (w *walk) path() string {
	names := make([]string, len(w.stack))
	for i, s := range w.stack {
		names[i] = s.name
	}
	return strings.Join(names, "/")
}

// advance goes on until keep elements are left.
func (w *walk) advance(ctx context.Context, keep int) error {
	for len(w.rest) > keep {
		name := w.rest[0]
		w.rest = w.rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			if len(w.stack) == 0 {
				return errEscapes
			}
			w.stack = w.stack[:len(w.stack)-1]
			continue
		}
		if err := w.enter(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// enter goes into the directory name, or to where the link of that name leads.
func (w *walk) enter(ctx context.Context, name string) error {
	at := path.Join(w.path(), name)
	if h, ok := w.fs.dirs.get(at); ok {
		w.cached = true
		w.stack = append(w.stack, step{name, h})
		return nil
	}
	o, err := w.fs.client.lookup(ctx, w.dir(), name)
	switch {
	case err != nil:
		return err
	case o.a.kind == typeSymlink:
		return w.follow(ctx, o.h)
	case o.a.kind != typeDir:
		return errNotDir
	}
	w.fs.dirs.put(at, o.h)
	w.stack = append(w.stack, step{name, o.h})
	return nil
}

// follow puts a link's target in front of the rest of the way.
func (w *walk) follow(ctx context.Context, link handle) error {
	if w.links++; w.links > maxLinks {
		return syscall.ELOOP
	}
	target, err := w.fs.client.readLink(ctx, link)
	if err != nil {
		return err
	}
	if target == "" || strings.HasPrefix(target, "/") {
		return errEscapes
	}
	w.rest = slices.Concat(strings.Split(target, "/"), w.rest)
	return nil
}

// last gives the object at the end of the way, following links.
func (w *walk) last(ctx context.Context) (object, error) {
	for {
		if err := w.advance(ctx, 1); err != nil {
			return object{}, err
		}
		if len(w.rest) == 0 || w.rest[0] == "." || w.rest[0] == ".." {
			if err := w.advance(ctx, 0); err != nil {
				return object{}, err
			}
			a, err := w.fs.client.getAttr(ctx, w.dir())
			return object{w.dir(), a}, err
		}
		o, err := w.fs.client.lookup(ctx, w.dir(), w.rest[0])
		if err != nil || o.a.kind != typeSymlink {
			return o, err
		}
		w.rest = nil
		if err := w.follow(ctx, o.h); err != nil {
			return object{}, err
		}
	}
}

// begin begins the way to name.
func (f *FS) begin(name string) *walk {
	w := &walk{fs: f}
	if name != "." {
		w.rest = strings.Split(name, "/")
	}
	return w
}

// freshly calls try, and once more, with nothing cached, when what it failed with
// may be the cache's fault.
func (f *FS) freshly(try func() (cached bool, err error)) error {
	cached, err := try()
	if cached && isStatus(err, errStale, errBadHandle, errNoEnt, errNotDir) {
		f.dirs.clear()
		_, err = try()
	}
	return err
}

// find gives the object that name leads to.
func (f *FS) find(ctx context.Context, name string) (o object, err error) {
	err = f.freshly(func() (bool, error) {
		w := f.begin(name)
		o, err = w.last(ctx)
		return w.cached, err
	})
	return o, err
}

// place is where a name is, or would be: a directory, and the name in it.
type place struct {
	dir  handle
	path string // of the directory, without links
	base string
}

func (p *place) full() string { return path.Join(p.path, p.base) }

// at calls use with the place of name, which is not ".". The last element is not
// followed if it is a link.
func (f *FS) at(ctx context.Context, name string, use func(p *place) error) error {
	return f.freshly(func() (bool, error) {
		w := f.begin(name)
		if err := w.advance(ctx, 1); err != nil {
			return w.cached, err
		}
		return w.cached, use(&place{dir: w.dir(), path: w.path(), base: w.rest[0]})
	})
}
