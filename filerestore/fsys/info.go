package fsys

import (
	"io/fs"
	"path"
	"time"
)

// Entry is a name in a directory.
type Entry struct {
	Name string // raw
	Node NodeID // what it names

	// Type holds the type bits alone; zero is a regular file. It is what the
	// directory says, or the node where the directory does not tell.
	Type fs.FileMode
}

// Info describes a file of any type.
type Info struct {
	Node NodeID
	Mode fs.FileMode // type, permissions, setuid, setgid, sticky
	Size int64       // of regular files, the length of their content; of links, of their target

	Allocated int64 // bytes used on disk by the file itself, as the volume counts them
	Links     uint32
	UID, GID  uint32
	Major     uint32 // of devices
	Minor     uint32

	// Times are zero where the format does not keep them.
	Modified, Accessed, Changed, Created time.Time

	// Attributes are those of DOS and Windows (read-only 1, hidden 2, system 4,
	// archive 32, ...); zero in other formats.
	Attributes uint32
}

// FileInfo returns the same as the standard library has it, under a name. Its
// Sys is the *Info.
func (i *Info) FileInfo(name string) fs.FileInfo { return fileInfo{name: path.Base(name), info: i} }

type fileInfo struct {
	name string
	info *Info
}

func (f fileInfo) Name() string       { return f.name }
func (f fileInfo) Size() int64        { return f.info.Size }
func (f fileInfo) Mode() fs.FileMode  { return f.info.Mode }
func (f fileInfo) ModTime() time.Time { return f.info.Modified }
func (f fileInfo) IsDir() bool        { return f.info.Mode.IsDir() }
func (f fileInfo) Sys() any           { return f.info }
func (f fileInfo) String() string     { return fs.FormatFileInfo(f) }
