package fsys

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// maxLinks is how many symbolic links one path may lead through, as in Linux.
const maxLinks = 40

// Paths is a volume as an [io/fs.FS]: names are slash-separated and escaped as
// [Escape] does it. Symbolic links are followed inside the volume: absolute
// ones start at its root, and none leads out of it. It is safe for concurrent
// use.
//
// A directory that says it is somewhere else than where it was found is
// [ErrCorrupt]: so every path ends, and fs.WalkDir too, on whatever volume.
type Paths struct {
	vol   Nodes
	known dentries
}

// NewPaths makes paths of a volume.
func NewPaths(vol Nodes) *Paths { return &Paths{vol: vol} }

// Open implements fs.FS. Regular files are also io.ReaderAt, io.Seeker and
// disk.Source; what is neither file nor directory has a Stat, and no content.
func (p *Paths) Open(name string) (fs.File, error) {
	id, err := p.resolve(name, true)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	info, err := p.vol.StatNode(id)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	opened := node{info: info.FileInfo(name)}
	switch {
	case info.Mode.IsDir():
		return &dirFile{node: opened, paths: p, id: id, name: name}, nil
	case info.Mode.IsRegular():
		f, err := p.vol.OpenNode(id)
		if err != nil {
			return nil, pathError("open", name, err)
		}
		return &regularFile{File: f, node: opened}, nil
	}
	return &oddFile{node: opened, name: name}, nil
}

// Stat implements fs.StatFS: it follows links.
func (p *Paths) Stat(name string) (fs.FileInfo, error) { return p.stat("stat", name, true) }

// Lstat implements fs.ReadLinkFS.
func (p *Paths) Lstat(name string) (fs.FileInfo, error) { return p.stat("lstat", name, false) }

func (p *Paths) stat(op, name string, follow bool) (fs.FileInfo, error) {
	id, err := p.resolve(name, follow)
	if err != nil {
		return nil, pathError(op, name, err)
	}
	info, err := p.vol.StatNode(id)
	if err != nil {
		return nil, pathError(op, name, err)
	}
	return info.FileInfo(name), nil
}

// ReadLink implements fs.ReadLinkFS: it returns the raw target.
func (p *Paths) ReadLink(name string) (string, error) {
	id, err := p.resolve(name, false)
	if err != nil {
		return "", pathError("readlink", name, err)
	}
	target, err := p.vol.ReadLinkNode(id)
	if err != nil {
		return "", pathError("readlink", name, err)
	}
	return target, nil
}

// ReadDir implements fs.ReadDirFS: all entries, sorted by name. Very large
// directories are better read by [Nodes.ReadDirPage].
func (p *Paths) ReadDir(name string) ([]fs.DirEntry, error) {
	id, err := p.resolve(name, true)
	if err != nil {
		return nil, pathError("readdir", name, err)
	}
	var all []fs.DirEntry
	for cursor := ""; ; {
		page, next, err := p.vol.ReadDirPage(id, cursor, 0)
		for _, e := range page {
			all = append(all, p.entry(e))
		}
		if err != nil || next == "" {
			slices.SortFunc(all, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
			return all, pathError("readdir", name, err)
		}
		cursor = next
	}
}

// NodeAt returns the node that a path leads to. With follow, a link at its end
// is followed too.
func (p *Paths) NodeAt(name string, follow bool) (NodeID, error) {
	id, err := p.resolve(name, follow)
	return id, pathError("open", name, err)
}

// resolve walks a path from the root. trail holds the directories on the way,
// for ".." in links.
func (p *Paths) resolve(name string, follow bool) (NodeID, error) {
	if !fs.ValidPath(name) {
		return NodeID{}, fs.ErrInvalid
	}
	pending, ok := elements(name)
	if !ok {
		return NodeID{}, fs.ErrNotExist
	}
	trail := []NodeID{p.vol.Root()}
	for links := 0; len(pending) > 0; {
		name, rest := pending[0], pending[1:]
		pending = rest
		switch name {
		case "", ".":
			continue
		case "..":
			trail = trail[:max(1, len(trail)-1)]
			continue
		}
		e, err := p.lookup(trail[len(trail)-1], name)
		if err != nil {
			return NodeID{}, err
		}
		switch {
		case e.Type.IsDir():
			trail = append(trail, e.Node)
		case e.Type == fs.ModeSymlink && (len(rest) > 0 || follow):
			if links++; links > maxLinks {
				return NodeID{}, fmt.Errorf("more than %d symbolic links: %w", maxLinks, ErrLimit)
			}
			target, err := p.vol.ReadLinkNode(e.Node)
			if err != nil {
				return NodeID{}, err
			}
			if strings.HasPrefix(target, "/") {
				trail = trail[:1]
			}
			pending = append(strings.Split(target, "/"), rest...)
		case len(rest) > 0:
			return NodeID{}, ErrNotDir
		default:
			return e.Node, nil
		}
	}
	return trail[len(trail)-1], nil
}

// lookup finds a name and, of a directory, proves that it is where it says.
func (p *Paths) lookup(dir NodeID, name string) (Entry, error) {
	if e, ok := p.known.get(dir, name); ok {
		return e, nil
	}
	e, err := p.vol.Lookup(dir, name)
	if err != nil {
		return Entry{}, err
	}
	if e.Type.IsDir() {
		parent, err := p.vol.Parent(e.Node)
		if err != nil {
			return Entry{}, err
		}
		if parent != dir || e.Node == p.vol.Root() {
			return Entry{}, fmt.Errorf("fsys: directory %v is found in %v and says it is in %v: %w", e.Node, dir, parent, ErrCorrupt)
		}
	}
	p.known.put(dir, name, e)
	return e, nil
}

// elements splits a path into raw names.
func elements(name string) ([]string, bool) {
	if name == "." {
		return nil, true
	}
	list := strings.Split(name, "/")
	for i, escaped := range list {
		raw, ok := Unescape(escaped)
		if !ok {
			return nil, false
		}
		list[i] = raw
	}
	return list, true
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}
