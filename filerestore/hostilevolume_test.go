package filerestore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"testing"
	"time"

	"github.com/xenbackup/xenbackup/filerestore"
	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// made is a volume that a test makes up: nodes by number, 1 is the root.
type made struct {
	*fsys.Paths
	nodes    map[uint64]*madeNode
	warnings []fsys.Warning
}

type madeNode struct {
	mode    fs.FileMode
	parent  uint64
	names   []fsys.Entry // of a directory
	content disk.Source
	target  string
	xattrs  map[string][]byte
	links   uint32
}

func newMade() *made {
	m := &made{nodes: map[uint64]*madeNode{1: {mode: fs.ModeDir | 0o755, parent: 1}}}
	m.Paths = fsys.NewPaths(m)
	return m
}

func (m *made) add(dir uint64, name string, n *madeNode) uint64 {
	id := uint64(len(m.nodes) + 1)
	n.parent = dir
	m.nodes[id] = n
	m.name(dir, name, id)
	return id
}

func (m *made) name(dir uint64, name string, id uint64) {
	m.nodes[dir].names = append(m.nodes[dir].names, fsys.Entry{Name: name, Node: fsys.NodeID{Number: id}, Type: m.nodes[id].mode.Type()})
}

func (m *made) dir(at uint64, name string) uint64 {
	return m.add(at, name, &madeNode{mode: fs.ModeDir | 0o755})
}

func (m *made) file(at uint64, name, content string) {
	m.add(at, name, &madeNode{mode: 0o644, content: whole{bytes.NewReader([]byte(content))}})
}

func (m *made) symlink(name, target string) {
	m.add(1, name, &madeNode{mode: fs.ModeSymlink | 0o777, target: target})
}

func (m *made) node(id fsys.NodeID) (*madeNode, error) {
	if n := m.nodes[id.Number]; n != nil {
		return n, nil
	}
	return nil, fs.ErrNotExist
}

func (m *made) Volume() fsys.Volume      { return fsys.Volume{Type: "made"} }
func (m *made) Warnings() []fsys.Warning { return m.warnings }
func (m *made) Root() fsys.NodeID        { return fsys.NodeID{Number: 1} }

func (m *made) Lookup(dir fsys.NodeID, name string) (fsys.Entry, error) {
	n, err := m.node(dir)
	if err != nil {
		return fsys.Entry{}, err
	}
	for _, e := range n.names {
		if e.Name == name {
			return e, nil
		}
	}
	return fsys.Entry{}, fs.ErrNotExist
}

func (m *made) ReadDirPage(dir fsys.NodeID, _ string, _ int) ([]fsys.Entry, string, error) {
	n, err := m.node(dir)
	if err != nil {
		return nil, "", err
	}
	return n.names, "", nil
}

func (m *made) Parent(dir fsys.NodeID) (fsys.NodeID, error) {
	n, err := m.node(dir)
	if err != nil {
		return fsys.NodeID{}, err
	}
	return fsys.NodeID{Number: n.parent}, nil
}

func (m *made) StatNode(id fsys.NodeID) (fsys.Info, error) {
	n, err := m.node(id)
	if err != nil {
		return fsys.Info{}, err
	}
	i := fsys.Info{Node: id, Mode: n.mode, Links: max(1, n.links), Modified: time.Date(2020, 1, 2, 3, 4, 5, 6, time.UTC), Major: 1, Minor: 3}
	if n.content != nil {
		i.Size = n.content.Size()
	}
	return i, nil
}

func (m *made) OpenNode(id fsys.NodeID) (*fsys.File, error) {
	i, err := m.StatNode(id)
	if err != nil {
		return nil, err
	}
	if m.nodes[id.Number].content == nil {
		return nil, fsys.ErrNotRegular
	}
	return fsys.NewFile(&i, m.nodes[id.Number].content), nil
}

func (m *made) ReadLinkNode(id fsys.NodeID) (string, error) { return m.nodes[id.Number].target, nil }

func (m *made) Xattrs(id fsys.NodeID) (map[string][]byte, error) {
	return m.nodes[id.Number].xattrs, nil
}

// whole is content without holes.
type whole struct{ *bytes.Reader }

func (c whole) Extents(_ context.Context, off, n int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		if end := min(off+n, c.Size()); off < end {
			yield(disk.Extent{Off: off, Len: end - off, Kind: disk.Data}, nil)
		}
	}
}

// torn is content of which some cannot be read.
type torn struct {
	size, from int64
	panics     bool
}

func (c torn) Size() int64 { return c.size }

func (c torn) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > c.from {
		if c.panics {
			panic("a reader's mistake")
		}
		return 0, errors.New("bad sector")
	}
	for i := range p {
		p[i] = 'x'
	}
	if off+int64(len(p)) > c.size {
		return 0, io.EOF
	}
	return len(p), nil
}

func (c torn) Extents(_ context.Context, off, n int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		yield(disk.Extent{Off: off, Len: min(n, c.size-off), Kind: disk.Data}, nil)
	}
}

// openMade opens a session with a volume that a test made up.
func openMade(tb testing.TB, m *made) *filerestore.Session {
	tb.Helper()
	raw := unpack(tb, "../probe/testdata/ext4") // it must look like something
	return open(tb, []filerestore.Disk{{R: bytes.NewReader(raw), Size: int64(len(raw))}}, &filerestore.Options{Readers: []filerestore.Reader{{
		Family: "ext",
		Open:   func(context.Context, io.ReaderAt, int64, int64) (fsys.FS, error) { return m, nil },
	}}})
}
