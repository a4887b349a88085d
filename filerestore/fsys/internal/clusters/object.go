package clusters

import (
	"io/fs"
	"time"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// EntrySize is the size of an entry of a directory.
const EntrySize = 32

// RootPlace stands for the place of the entry that the root does not have.
const RootPlace = EntrySize

// The attributes of DOS.
const (
	ReadOnly  = 0x01
	Label     = 0x08
	Directory = 0x10
)

// Object is a file or directory as its entry describes it.
type Object struct {
	Name  string
	Alias string // the short name, where there also is a long one
	Place int64  // of the entry, in the volume

	First      uint32 // cluster
	Contiguous bool   // its clusters follow each other, and the table does not have them
	Size       int64  // -1 of directories whose chain ends them
	Valid      int64  // bytes written; zeros follow

	Attributes                  uint32
	Modified, Accessed, Created time.Time
}

// IsDir tells that it is a directory.
func (o *Object) IsDir() bool { return o.Attributes&Directory != 0 }

func (o *Object) node() fsys.NodeID { return fsys.NodeID{Number: uint64(o.Place / EntrySize)} }

func (o *Object) entry() fsys.Entry {
	e := fsys.Entry{Name: o.Name, Node: o.node()}
	if o.IsDir() {
		e.Type = fs.ModeDir
	}
	return e
}

// info describes it, with the permissions that Linux shows by default, save
// that files are not executable.
func (o *Object) info(h *Heap) fsys.Info {
	i := fsys.Info{
		Node: o.node(), Links: 1, Mode: 0o644, Attributes: o.Attributes,
		Modified: o.Modified, Accessed: o.Accessed, Created: o.Created,
	}
	if o.Attributes&ReadOnly != 0 {
		i.Mode = 0o444
	}
	if o.IsDir() {
		i.Mode = fs.ModeDir | 0o755
	}
	if i.Size = max(0, o.Size); h.Clusters(i.Size) <= int64(h.Count) {
		i.Allocated = h.Clusters(i.Size) * h.Size
	}
	return i
}
