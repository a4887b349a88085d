package xenrestore

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// file is an entry of a volume as ls and find print it.
type file struct {
	Volume   string    `json:"volume"`
	Path     string    `json:"path"` // for get
	Type     string    `json:"type"` // file, directory, link or other
	Size     int64     `json:"size"`
	Mode     string    `json:"mode"` // -rw-r--r--
	UID      uint32    `json:"uid"`
	GID      uint32    `json:"gid"`
	Modified time.Time `json:"modified,omitzero"`
	Target   string    `json:"target,omitempty"` // of a link
}

func describeFile(volume, name string, files fsys.FS, info *fsys.Info) file {
	f := file{
		Volume: volume, Path: name, Type: "other", Size: info.Size, Mode: info.Mode.String(),
		UID: info.UID, GID: info.GID, Modified: info.Modified.UTC(),
	}
	switch info.Mode.Type() {
	case 0:
		f.Type = "file"
	case fs.ModeDir:
		f.Type = "directory"
	case fs.ModeSymlink:
		f.Type = "link"
		f.Target, _ = files.ReadLinkNode(info.Node) // what is left out of it is told when it is restored
	}
	return f
}

// long is a line of ls.
func (f *file) long(w io.Writer, name string) error {
	text := printable(name)
	if f.Type == "directory" {
		text += "/"
	}
	if f.Target != "" {
		text += " -> " + printable(f.Target)
	}
	_, err := fmt.Fprintf(w, "%s %5d %5d %12d %s  %s\n", f.Mode, f.UID, f.GID, f.Size, f.Modified.Format("2006-01-02 15:04"), text)
	return err
}

// array prints the elements of a JSON array one by one.
type array struct {
	w io.Writer
	n int
}

func (a *array) add(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	between := "[\n"
	if a.n > 0 {
		between = ",\n"
	}
	a.n++
	_, err = fmt.Fprintf(a.w, "%s%s", between, text)
	return err
}

func (a *array) end() error {
	text := "\n]\n"
	if a.n == 0 {
		text = "[]\n"
	}
	_, err := io.WriteString(a.w, text)
	return err
}
