package fsys

import (
	"io"
	"io/fs"
	"path"
)

func (p *Paths) entry(e Entry) fs.DirEntry { return &dirEntry{vol: p.vol, name: Escape(e.Name), e: e} }

// dirEntry is an Entry as the standard library has it.
type dirEntry struct {
	vol  Nodes
	name string
	e    Entry
}

func (d *dirEntry) Name() string      { return d.name }
func (d *dirEntry) IsDir() bool       { return d.e.Type.IsDir() }
func (d *dirEntry) Type() fs.FileMode { return d.e.Type }
func (d *dirEntry) String() string    { return fs.FormatDirEntry(d) }

func (d *dirEntry) Info() (fs.FileInfo, error) {
	info, err := d.vol.StatNode(d.e.Node)
	if err != nil {
		return nil, pathError("stat", d.name, err)
	}
	return info.FileInfo(d.name), nil
}

// node is what all open files have.
type node struct{ info fs.FileInfo }

func (n *node) Stat() (fs.FileInfo, error) { return n.info, nil }

// regularFile is an open file that has a name.
type regularFile struct {
	*File
	node
}

// oddFile is a device, pipe or socket.
type oddFile struct {
	node
	name string
}

func (f *oddFile) Read([]byte) (int, error) { return 0, pathError("read", f.name, ErrNotRegular) }
func (f *oddFile) Close() error             { return nil }

// dirFile is an open directory.
type dirFile struct {
	node
	paths  *Paths
	id     NodeID
	name   string
	ahead  []Entry
	cursor string
	begun  bool
}

func (f *dirFile) Read([]byte) (int, error) {
	return 0, pathError("read", path.Base(f.name), fs.ErrInvalid)
}
func (f *dirFile) Close() error { return nil }

// ReadDir implements fs.ReadDirFile, in the order of the directory.
func (f *dirFile) ReadDir(n int) ([]fs.DirEntry, error) {
	var list []fs.DirEntry
	for n <= 0 || len(list) < n {
		if len(f.ahead) == 0 {
			if f.begun && f.cursor == "" {
				break
			}
			page, next, err := f.paths.vol.ReadDirPage(f.id, f.cursor, 0)
			if err != nil && next == f.cursor {
				next = "" // no way past the damage
			}
			f.ahead, f.cursor, f.begun = page, next, true
			if err != nil {
				return list, pathError("readdir", f.name, err)
			}
			continue
		}
		list = append(list, f.paths.entry(f.ahead[0]))
		f.ahead = f.ahead[1:]
	}
	if n > 0 && len(list) == 0 {
		return nil, io.EOF
	}
	return list, nil
}
