package clusters

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/names"
)

// defaultPage is how many entries a page has when the caller does not care.
const defaultPage = 512

// Format is what a file system knows of its entries.
type Format interface {
	// Next returns the first object at or behind a position of a directory, and
	// the position behind it; io.EOF where there is none. With another error,
	// next is where to go on, or pos where nothing behind can be read.
	Next(d *Dir, pos int64) (o Object, next int64, err error)

	// Parse reads the entry at a place in the volume, without its name;
	// fs.ErrNotExist where there is none of a file or directory.
	Parse(place int64) (Object, error)

	// Fold makes the same of names that are the same to the file system.
	Fold(name string) string
}

// Files makes fsys.Nodes of a format, but for what it says of itself.
type Files struct {
	heap *Heap

	format           Format
	root             Object
	rootOff, rootLen int64 // of a root that lies before the heap
	maxDir           int64
	tree             tree
	indexes          names.Cache
}

// NewFiles makes the files of a volume. A root without first cluster is what lies at
// rootOff, rootLen bytes. maxDir bounds directories, in bytes.
func NewFiles(h *Heap, format Format, root Object, rootOff, rootLen, maxDir int64) *Files {
	root.Place, root.Attributes = RootPlace, Directory
	f := &Files{heap: h, format: format, root: root, rootOff: rootOff, rootLen: rootLen, maxDir: maxDir}
	f.tree.claim(root.First, found{place: RootPlace, parent: RootPlace})
	return f
}

// Root implements fsys.Nodes.
func (f *Files) Root() fsys.NodeID { return f.root.node() }

// object reads the entry of a node.
func (f *Files) object(id fsys.NodeID) (Object, error) {
	if id == f.Root() {
		return f.root, nil
	}
	if id.Tree != 0 || id.Number > uint64(f.heap.Device.Size)/EntrySize {
		return Object{}, f.heap.Error("node "+id.String(), -1, fs.ErrNotExist)
	}
	return f.format.Parse(int64(id.Number) * EntrySize)
}

// directory opens the directory that is a node.
func (f *Files) directory(id fsys.NodeID) (*Dir, error) {
	o, err := f.object(id)
	if err != nil {
		return nil, err
	}
	if !o.IsDir() {
		return nil, f.heap.Error("node "+id.String(), o.Place, fsys.ErrNotDir)
	}
	if have, ok := f.tree.find(o.First); ok && have.place != o.Place {
		return nil, f.twice(&o, have)
	}
	return f.dir(&o)
}

// OpenRoot opens the root of the files of a volume.
func OpenRoot(f *Files) (*Dir, error) { return f.dir(&f.root) }

// dir opens a directory.
func (f *Files) dir(o *Object) (*Dir, error) {
	d := &Dir{f: f, o: o, limit: f.maxDir}
	if o.Place == RootPlace && o.First == 0 {
		d.limit = f.rootLen
		return d, nil
	}
	if o.Size > f.maxDir {
		return nil, f.heap.Corrupt(d.String(), o.Place, "%d bytes", o.Size)
	}
	if o.Size >= 0 {
		d.limit = o.Size
	}
	if o.Size == 0 {
		return d, nil
	}
	var err error
	if d.m, err = f.heap.Map(o.First, o.Contiguous, d.limit); err != nil {
		return nil, d.damaged(err)
	}
	return d, nil
}

func (f *Files) twice(o *Object, have found) error {
	return f.heap.Corrupt("directory "+o.node().String(), o.Place, "cluster %d is that of directory %d", o.First, have.place/EntrySize)
}

// each calls yield with the objects from a position on until it says no. On
// damage, next is where to go on; at the end, or where nothing behind can be
// read, it is negative.
func (f *Files) each(d *Dir, pos int64, yield func(o *Object, at int64) bool) (next int64, err error) {
	for {
		o, next, err := f.format.Next(d, pos)
		switch {
		case errors.Is(err, io.EOF):
			return -1, nil
		case err != nil && next <= pos:
			return -1, err
		case err != nil:
			return next, err
		}
		if o.IsDir() && (o.First != 0 || o.Size != 0) {
			f.tree.claim(o.First, found{place: o.Place, parent: d.o.Place})
		}
		if !yield(&o, pos) {
			return next, nil
		}
		pos = next
	}
}

// ReadDirPage implements fsys.Nodes. A cursor is a position in the directory.
func (f *Files) ReadDirPage(dir fsys.NodeID, cursor string, n int) ([]fsys.Entry, string, error) {
	d, err := f.directory(dir)
	if err != nil {
		return nil, "", err
	}
	pos := int64(0)
	if cursor != "" {
		if pos, err = strconv.ParseInt(cursor, 10, 64); err != nil || pos < 0 || pos%EntrySize != 0 {
			return nil, "", f.heap.Error(fmt.Sprintf("%s cursor %q", d, cursor), -1, fs.ErrInvalid)
		}
	}
	if n <= 0 {
		n = defaultPage
	}
	var page []fsys.Entry
	next, err := f.each(d, pos, func(o *Object, _ int64) bool {
		page = append(page, o.entry())
		return len(page) < n
	})
	if next < 0 {
		return page, "", err
	}
	return page, strconv.FormatInt(next, 10), err
}

// Parent implements fsys.Nodes: where the directory was found, else a search
// through the whole tree.
func (f *Files) Parent(dir fsys.NodeID) (fsys.NodeID, error) {
	o, err := f.object(dir)
	if err != nil {
		return fsys.NodeID{}, err
	}
	if !o.IsDir() {
		return fsys.NodeID{}, f.heap.Error("node "+dir.String(), o.Place, fsys.ErrNotDir)
	}
	have, ok := f.tree.find(o.First)
	if !ok {
		if have, err = f.search(&o); err != nil {
			return fsys.NodeID{}, err
		}
	}
	if have.place != o.Place {
		return fsys.NodeID{}, f.twice(&o, have)
	}
	return (&Object{Place: have.parent}).node(), nil
}

// search reads directories, those nearest to the root first, until it comes to
// the one wanted.
func (f *Files) search(o *Object) (found, error) {
	queue := []Object{f.root}
	for ; len(queue) > 0; queue = queue[1:] {
		d, err := f.dir(&queue[0])
		if err != nil {
			continue
		}
		var parent found
		for pos := int64(0); pos >= 0 && parent.place == 0; {
			pos, _ = f.each(d, pos, func(x *Object, _ int64) bool {
				if x.Place == o.Place {
					parent = found{place: o.Place, parent: d.o.Place}
					return false
				}
				if have, ok := f.tree.find(x.First); x.IsDir() && ok && have.place == x.Place {
					queue = append(queue, *x)
				}
				return true
			})
		}
		if parent.place != 0 {
			return parent, nil
		}
	}
	return found{}, f.heap.Error("directory "+o.node().String(), o.Place, fs.ErrNotExist)
}

// StatNode implements fsys.Nodes.
func (f *Files) StatNode(id fsys.NodeID) (fsys.Info, error) {
	o, err := f.object(id)
	if err != nil {
		return fsys.Info{}, err
	}
	return o.info(f.heap), nil
}

// OpenNode implements fsys.Nodes.
func (f *Files) OpenNode(id fsys.NodeID) (*fsys.File, error) {
	o, err := f.object(id)
	if err != nil {
		return nil, err
	}
	if o.IsDir() {
		return nil, f.heap.Error("node "+id.String(), o.Place, fsys.ErrNotRegular)
	}
	src, err := f.heap.Content("file "+id.String(), &o)
	if err != nil {
		return nil, err
	}
	info := o.info(f.heap)
	return fsys.NewFile(&info, src), nil
}

// ReadLinkNode implements fsys.Nodes: there are no links in these formats.
func (f *Files) ReadLinkNode(id fsys.NodeID) (string, error) {
	if _, err := f.object(id); err != nil {
		return "", err
	}
	return "", f.heap.Error("node "+id.String(), -1, fs.ErrInvalid)
}

// Xattrs implements fsys.Nodes: there are none in these formats.
func (f *Files) Xattrs(id fsys.NodeID) (map[string][]byte, error) {
	_, err := f.object(id)
	return nil, err
}
