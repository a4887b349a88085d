package remotetest

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

// Crash is a Filesystem in memory that knows what a power cut would leave of it:
// see [Crash.PowerCut]. It behaves as a local disk on Linux does, except that it
// promises less: only what was synced is durable, and syncing a file does not
// make its name so. It has all capabilities of a local disk except Space, and is
// safe for concurrent use.
//
// Times are those of time.Now, so that it can be used with testing/synctest.
type Crash struct {
	mu      sync.Mutex
	root    *node
	journal []*change // of directories, not yet durable, oldest first
}

var (
	_ remote.Filesystem  = (*Crash)(nil)
	_ remote.TreeRemover = (*Crash)(nil)
	_ remote.DirSyncer   = (*Crash)(nil)
	_ remote.NoReplacer  = (*Crash)(nil)
	_ remote.Toucher     = (*Crash)(nil)
)

// node is a file or a directory, whatever names lead to it.
type node struct {
	dir     bool
	mtime   time.Time
	entries map[string]*node // of a directory
	durable map[string]*node // of a directory: what a power cut leaves at least

	data    []byte  // of a file
	synced  []byte  // of a file: as of the last Sync
	pending []write // of a file: since then

	sharedData, sharedSynced bool // other files have the same bytes: they are copied before a change
}

// change is one operation on directories. It happens as a whole or not at all.
type change struct{ edits []edit }

// edit makes name lead to a node, or to nothing.
type edit struct {
	dir  *node
	name string
	to   *node
}

// NewCrash returns an empty Filesystem.
func NewCrash() *Crash { return &Crash{root: newDir()} }

func newDir() *node {
	return &node{dir: true, mtime: time.Now(), entries: map[string]*node{}, durable: map[string]*node{}}
}

// Properties implements [remote.Filesystem].
func (c *Crash) Properties() remote.Properties {
	return remote.Properties{AtomicReplace: true, ReplaceOpenTarget: true, CaseSensitive: true, PipelineDepth: 1, IOSize: 1 << 20}
}

// Close implements [remote.Filesystem]. It does nothing.
func (c *Crash) Close() error { return nil }

// Stat implements [remote.Filesystem].
func (c *Crash) Stat(ctx context.Context, name string) (fs.FileInfo, error) {
	defer c.lock()()
	n, err := c.find(ctx, "stat", name)
	if err != nil {
		return nil, err
	}
	return n.info(path.Base(name)), nil
}

// ReadDir implements [remote.Filesystem].
func (c *Crash) ReadDir(ctx context.Context, name string) ([]fs.DirEntry, error) {
	defer c.lock()()
	n, err := c.findDir(ctx, "readdir", name)
	if err != nil {
		return nil, err
	}
	var entries []fs.DirEntry
	for _, base := range slices.Sorted(maps.Keys(n.entries)) {
		entries = append(entries, fs.FileInfoToDirEntry(n.entries[base].info(base)))
	}
	return entries, nil
}

// OpenFile implements [remote.Filesystem].
func (c *Crash) OpenFile(ctx context.Context, name string, flag int) (remote.File, error) {
	defer c.lock()()
	n, err := c.find(ctx, "open", name)
	switch {
	case flag&os.O_CREATE != 0 && err == nil:
		return nil, pathError("open", name, fs.ErrExist)
	case flag&os.O_CREATE != 0 && isNotExist(err):
		n = &node{mtime: time.Now()}
		if err := c.link(ctx, "open", name, n); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case n.dir:
		return nil, pathError("open", name, errIsDir)
	}
	f := &crashFile{ctx: ctx, c: c, n: n, name: name, writable: flag&os.O_RDWR != 0}
	if flag&os.O_TRUNC != 0 {
		n.truncate(0)
	}
	return f, nil
}

// Mkdir implements [remote.Filesystem].
func (c *Crash) Mkdir(ctx context.Context, name string) error {
	defer c.lock()()
	_, err := c.find(ctx, "mkdir", name)
	if err == nil {
		return pathError("mkdir", name, fs.ErrExist)
	}
	if !isNotExist(err) {
		return err
	}
	return c.link(ctx, "mkdir", name, newDir())
}

// Remove implements [remote.Filesystem].
func (c *Crash) Remove(ctx context.Context, name string) error {
	defer c.lock()()
	n, err := c.find(ctx, "remove", name)
	switch {
	case err != nil:
		return err
	case name == ".":
		return pathError("remove", name, fs.ErrInvalid)
	case len(n.entries) > 0:
		return pathError("remove", name, remote.ErrNotEmpty)
	}
	return c.link(ctx, "remove", name, nil)
}

// RemoveAll implements [remote.TreeRemover].
func (c *Crash) RemoveAll(ctx context.Context, name string) error {
	defer c.lock()()
	n, err := c.find(ctx, "removeall", name)
	if isNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, base := range slices.Sorted(maps.Keys(n.entries)) {
		if err := c.removeTree(n, base); err != nil {
			return err
		}
	}
	return c.link(ctx, "removeall", name, nil)
}

func (c *Crash) removeTree(dir *node, base string) error {
	n := dir.entries[base]
	for _, name := range slices.Sorted(maps.Keys(n.entries)) {
		if err := c.removeTree(n, name); err != nil {
			return err
		}
	}
	c.apply(edit{dir, base, nil})
	return nil
}

// Rename implements [remote.Filesystem].
func (c *Crash) Rename(ctx context.Context, oldname, newname string) error {
	return c.rename(ctx, oldname, newname, true)
}

// RenameNoReplace implements [remote.NoReplacer].
func (c *Crash) RenameNoReplace(ctx context.Context, oldname, newname string) error {
	return c.rename(ctx, oldname, newname, false)
}

func (c *Crash) rename(ctx context.Context, oldname, newname string, replace bool) error {
	defer c.lock()()
	n, err := c.find(ctx, "rename", oldname)
	if err != nil {
		return err
	}
	olddir, oldbase, err := c.parent(ctx, "rename", oldname)
	if err != nil {
		return err
	}
	newdir, newbase, err := c.parent(ctx, "rename", newname)
	if err != nil {
		return err
	}
	target := newdir.entries[newbase]
	switch {
	case strings.HasPrefix(newname, oldname+"/"):
		err = fs.ErrInvalid
	case target == nil:
	case !replace:
		err = fs.ErrExist
	case target == n:
		return nil
	case len(target.entries) > 0:
		err = remote.ErrNotEmpty
	case target.dir && !n.dir:
		err = errIsDir
	case n.dir && !target.dir:
		err = errNotDir
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: err}
	}
	c.apply(edit{olddir, oldbase, nil}, edit{newdir, newbase, n})
	return nil
}

// Touch implements [remote.Toucher]. The time survives a power cut or not, as an
// accident.
func (c *Crash) Touch(ctx context.Context, name string, mtime time.Time) error {
	defer c.lock()()
	n, err := c.find(ctx, "touch", name)
	if err == nil {
		n.mtime = mtime
	}
	return err
}

// SyncDir implements [remote.DirSyncer].
func (c *Crash) SyncDir(ctx context.Context, name string) error {
	defer c.lock()()
	n, err := c.findDir(ctx, "syncdir", name)
	if err != nil {
		return err
	}
	rest := c.journal[:0]
	for _, ch := range c.journal {
		if ch.touches(n) {
			ch.commit()
		} else {
			rest = append(rest, ch)
		}
	}
	clear(c.journal[len(rest):])
	c.journal = rest
	return nil
}

func (c *Crash) lock() (unlock func()) {
	c.mu.Lock()
	return c.mu.Unlock
}
