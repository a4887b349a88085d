package local

import (
	"io/fs"
	"os"
)

// dirEntry looks its Info up below the root, which the entries of package os do
// by path: that leads elsewhere once the directory was renamed or mounted over.
type dirEntry struct {
	fs.DirEntry
	root  *os.Root
	local string
}

func (e *dirEntry) Info() (fs.FileInfo, error) { return e.root.Lstat(e.local) }
