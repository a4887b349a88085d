package vhd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// DirOpener returns an [Opener] that finds parents in dir, in which the names of
// the images are paths. It tries the candidates of the child in their order,
// relative to the directory of the child, and takes the first with the uuid that
// the child asks for; of absolute ones it tries the last element there. What
// leads out of dir is not a candidate. It opens what [OpenDirectory] opens and, for
// a child whose parent has no uuid, a raw file ([OpenRaw]).
//
// If no candidate has the uuid, the first that could be opened is returned, for
// [OpenChain] to judge.
func DirOpener(dir Dir) Opener {
	open := func(ctx context.Context, name string) (*Image, error) { return openIn(ctx, dir, name, Strict) }
	return func(ctx context.Context, child *Image, ref ParentRef) (*Image, error) {
		return openParent(ctx, child, ref, dir, open, hasUUID)
	}
}

// hasUUID tells whether parent is what child asks for.
func hasUUID(child, parent *Image) bool { return parent.UUID() == child.Parent().UUID }

func openParent(
	ctx context.Context, child *Image, ref ParentRef, dir Dir,
	open func(context.Context, string) (*Image, error), accept func(child, parent *Image) bool,
) (*Image, error) {
	var first *Image
	var firstErr error
	for _, name := range candidates(child.Name(), ref.Names) {
		m, err := open(ctx, name)
		if ref.UUID.IsZero() && errors.Is(err, ErrNotVHD) {
			m, err = openRawFile(ctx, dir, name)
		}
		switch {
		case err == nil && accept(child, m):
			if first != nil {
				err = first.Close()
			}
			return m, err
		case err == nil && first == nil:
			first = m
		case err == nil:
			err = m.Close()
		}
		if err != nil && firstErr == nil && !errors.Is(err, fs.ErrNotExist) {
			firstErr = err
		}
	}
	switch {
	case first != nil:
		return first, nil
	case firstErr != nil:
		return nil, firstErr
	}
	return nil, fmt.Errorf("%w: %q", ErrParentNotFound, ref.Names)
}

// candidates returns the paths at which the parent of child may be.
func candidates(child string, names []string) []string {
	base := path.Dir(child)
	var paths []string
	add := func(name string) {
		p := path.Join(base, name)
		if fs.ValidPath(p) && p != child && !strings.ContainsAny(p, "\x00:") && !slices.Contains(paths, p) {
			paths = append(paths, p)
		}
	}
	for _, name := range names {
		if !isAbs(name) {
			add(name)
		}
	}
	for _, name := range names {
		if isAbs(name) {
			add(path.Base(name))
		}
	}
	return paths
}

// isAbs tells whether a name is absolute on any system: /a, //server/share/a, C:/a.
func isAbs(name string) bool {
	return strings.HasPrefix(name, "/") || (len(name) > 1 && name[1] == ':')
}

func openRawFile(ctx context.Context, dir Dir, name string) (*Image, error) {
	f, err := dir.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	m := OpenRaw(f, size, &OpenOptions{Name: name})
	m.closer = f
	return m, nil
}
