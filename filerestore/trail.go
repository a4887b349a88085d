package filerestore

import (
	"cmp"
	"fmt"
	"io/fs"
	"strings"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// trail follows the walk of a selection: it knows where an item lies, name by name, since
// the bytes of a name may have a '/' among them.
type trail struct {
	c *collector
	p *picked

	names, paths         []string // of the item at hand: safe, and as fs.FS has them
	baseNames, basePaths int      // how many of them are the selection's own
	dirs                 []*entry // the item's ancestors, the selection first
	passed               int      // depth of a directory that is passed over, with all below it; 0 is none
	touched              *entry   // directory that got a link last
}

// entry is the item at a depth, below the ancestors that came before it.
func (w *trail) entry(depth int, raw string, info fsys.Info) *entry {
	w.names, w.paths = w.names[:w.baseNames+max(0, depth-1)], w.paths[:w.basePaths+max(0, depth-1)]
	if depth > 0 {
		w.names, w.paths = append(w.names, w.c.sink.name(raw)), append(w.paths, fsys.Escape(raw))
	}
	e := &entry{
		volume: w.p.volume, files: w.p.files, info: info,
		name: strings.Join(w.names, "/"), path: cmp.Or(strings.Join(w.paths, "/"), "."),
	}
	if info.Mode.IsDir() {
		w.dirs = append(w.dirs[:depth], e)
	}
	return e
}

// item passes on what the walk yields.
func (w *trail) item(item fsys.Item, err error) error {
	if w.passed > 0 && item.Depth > w.passed {
		return nil
	}
	w.passed = 0
	e := w.entry(item.Depth, item.Entry.Name, item.Info)
	isLink := item.Info.Mode.Type() == fs.ModeSymlink
	if err == nil && (isLink || item.Info.Mode.IsDir()) {
		if err = w.genuine(item); err != nil && !isLink {
			w.passed = item.Depth
		}
	}
	if err != nil {
		if !w.c.symlinks {
			w.c.report.skip(e.volume.ID, e.path, err)
		}
		return nil
	}
	if w.c.symlinks && isLink {
		if err := w.reopen(w.dirs[item.Depth-1]); err != nil {
			return err
		}
	}
	return w.c.entry(e)
}

// genuine tells that a name leads to this entry: in a damaged directory there may be a
// link and a directory of one name, and whoever unpacks both might write through the link.
func (w *trail) genuine(item fsys.Item) error {
	dir, raw := w.dirs[item.Depth-1].info.Node, item.Entry.Name
	found, err := w.p.files.Lookup(dir, raw)
	if err == nil && found.Node != item.Entry.Node {
		err = fmt.Errorf("%w: several entries have this name", fsys.ErrCorrupt)
	}
	if other, ok := fsys.Unescape(raw); err == nil && ok && other != raw && bytesName(other) == raw {
		if _, missing := w.p.files.Lookup(dir, other); missing == nil {
			err = fmt.Errorf("%w: an entry whose name cannot be kept becomes this one", fsys.ErrCorrupt)
		}
	}
	return err
}

// reopen is called before a directory gets a link. Programs that unpack give a directory
// its times when they leave it: it is entered again.
func (w *trail) reopen(dir *entry) error {
	if w.touched == dir || dir.name == "" {
		return nil
	}
	w.touched = dir
	dir.xattrs, _ = dir.files.Xattrs(dir.info.Node) // an error was told the first time
	return w.c.sink.again(dir)
}
