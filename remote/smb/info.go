package smb

import (
	"io/fs"
	"path"
	"time"
)

// info describes a file or directory as the server does.
type info struct {
	name     string
	size     int64
	modified time.Time
	created  time.Time
	dir      bool
}

var (
	_ fs.FileInfo = info{}
	_ fs.DirEntry = entry{}
)

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return i.modified }
func (i info) IsDir() bool        { return i.dir }
func (i info) Sys() any           { return nil }

// Mode has no permissions worth the name: SMB has access lists.
func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

// named is the info under the name that was asked for.
func (i info) named(name string) info {
	i.name = path.Base(name)
	return i
}

// sameFile reports whether two infos can be of one file at two times. There is no
// file number to compare; servers without a creation time invent one, so size and
// modification time do as well.
func (i info) sameFile(other info) bool {
	return i.dir == other.dir &&
		(i.created.Equal(other.created) || (i.size == other.size && i.modified.Equal(other.modified)))
}

type entry struct{ info }

func (e entry) Type() fs.FileMode          { return e.Mode().Type() }
func (e entry) Info() (fs.FileInfo, error) { return e.info, nil }
