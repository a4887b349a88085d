package fsys_test

import (
	"bytes"
	"context"
	"io/fs"
	"iter"
	"strconv"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// memory is a volume of directories that are made up when they are asked for:
// children tells what is in a directory, parent where it says it is.
type memory struct {
	*fsys.Paths
	children func(dir uint64) []fsys.Entry
	parent   func(dir uint64) uint64
	content  map[uint64]string // of files and links
}

var _ fsys.FS = (*memory)(nil)

func newMemory(m *memory) *memory {
	m.Paths = fsys.NewPaths(m)
	return m
}

func id(n uint64) fsys.NodeID { return fsys.NodeID{Number: n} }

func dir(name string, n uint64) fsys.Entry {
	return fsys.Entry{Name: name, Node: id(n), Type: fs.ModeDir}
}

func (m *memory) Volume() fsys.Volume      { return fsys.Volume{Type: "memory"} }
func (m *memory) Warnings() []fsys.Warning { return nil }
func (m *memory) Root() fsys.NodeID        { return id(1) }

func (m *memory) Lookup(at fsys.NodeID, name string) (fsys.Entry, error) {
	for _, e := range m.children(at.Number) {
		if e.Name == name {
			return e, nil
		}
	}
	return fsys.Entry{}, fs.ErrNotExist
}

func (m *memory) ReadDirPage(at fsys.NodeID, cursor string, n int) ([]fsys.Entry, string, error) {
	all := m.children(at.Number)
	start, _ := strconv.Atoi(cursor) // "" is the start
	if n <= 0 {
		n = 100
	}
	end := min(start+n, len(all))
	if end == len(all) {
		return all[start:], "", nil
	}
	return all[start:end], strconv.Itoa(end), nil
}

func (m *memory) Parent(at fsys.NodeID) (fsys.NodeID, error) { return id(m.parent(at.Number)), nil }

func (m *memory) StatNode(at fsys.NodeID) (fsys.Info, error) {
	if s, ok := m.content[at.Number]; ok {
		return fsys.Info{Node: at, Mode: 0o644, Size: int64(len(s))}, nil
	}
	return fsys.Info{Node: at, Mode: fs.ModeDir | 0o755}, nil
}

func (m *memory) OpenNode(at fsys.NodeID) (*fsys.File, error) {
	s, ok := m.content[at.Number]
	if !ok {
		return nil, fsys.ErrNotRegular
	}
	info, err := m.StatNode(at)
	return fsys.NewFile(&info, text{bytes.NewReader([]byte(s))}), err
}

func (m *memory) ReadLinkNode(fsys.NodeID) (string, error)      { return "", fs.ErrInvalid }
func (m *memory) Xattrs(fsys.NodeID) (map[string][]byte, error) { return nil, nil }

// text is content that has a hole in front: its first 10 bytes.
type text struct{ *bytes.Reader }

func (c text) Extents(_ context.Context, off, n int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		end := min(off+n, c.Size())
		if off < 10 && !yield(disk.Extent{Off: off, Len: min(10, end) - off, Kind: disk.Hole}, nil) {
			return
		}
		if off = max(off, 10); off < end {
			yield(disk.Extent{Off: off, Len: end - off, Kind: disk.Data}, nil)
		}
	}
}
