package remotetest

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

const (
	errIsDir  = syscall.EISDIR
	errNotDir = syscall.ENOTDIR
)

func pathError(op, name string, err error) error { return remote.PathError(op, name, err) }

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// find walks from the root to name.
func (c *Crash) find(ctx context.Context, op, name string) (*node, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, pathError(op, name, err)
	}
	if err := remote.CheckName(op, name); err != nil {
		return nil, err
	}
	n := c.root
	if name == "." {
		return n, nil
	}
	for base := range strings.SplitSeq(name, "/") {
		switch {
		case len(base) > 255 || strings.ContainsRune(base, 0):
			return nil, pathError(op, name, fs.ErrInvalid)
		case !n.dir:
			return nil, pathError(op, name, errNotDir)
		case n.entries[base] == nil:
			return nil, pathError(op, name, fs.ErrNotExist)
		}
		n = n.entries[base]
	}
	return n, nil
}

func (c *Crash) findDir(ctx context.Context, op, name string) (*node, error) {
	n, err := c.find(ctx, op, name)
	if err == nil && !n.dir {
		return nil, pathError(op, name, errNotDir)
	}
	return n, err
}

// parent is the directory that holds name, or could, and the base name.
func (c *Crash) parent(ctx context.Context, op, name string) (*node, string, error) {
	if name == "." {
		return nil, "", pathError(op, name, fs.ErrInvalid)
	}
	if err := remote.CheckName(op, name); err != nil {
		return nil, "", err
	}
	dir, err := c.findDir(ctx, op, path.Dir(name))
	if err != nil {
		return nil, "", pathError(op, name, errors.Unwrap(err))
	}
	return dir, path.Base(name), nil
}

// link makes name lead to n, or to nothing.
func (c *Crash) link(ctx context.Context, op, name string, n *node) error {
	dir, base, err := c.parent(ctx, op, name)
	if err != nil {
		return err
	}
	c.apply(edit{dir, base, n})
	return nil
}

// apply makes a change that is not durable yet.
func (c *Crash) apply(edits ...edit) {
	for _, e := range edits {
		e.on(e.dir.entries)
		e.dir.mtime = time.Now()
	}
	c.journal = append(c.journal, &change{edits: edits})
}

func (e edit) on(entries map[string]*node) {
	if e.to == nil {
		delete(entries, e.name)
	} else {
		entries[e.name] = e.to
	}
}

func (ch *change) touches(dir *node) bool {
	for _, e := range ch.edits {
		if e.dir == dir {
			return true
		}
	}
	return false
}

// commit makes the change durable.
func (ch *change) commit() {
	for _, e := range ch.edits {
		e.on(e.dir.durable)
	}
}

func (n *node) info(name string) fs.FileInfo {
	return nodeInfo{name: name, size: int64(len(n.data)), mtime: n.mtime, dir: n.dir}
}

type nodeInfo struct {
	name  string
	size  int64
	mtime time.Time
	dir   bool
}

func (i nodeInfo) Name() string       { return i.name }
func (i nodeInfo) Size() int64        { return i.size }
func (i nodeInfo) ModTime() time.Time { return i.mtime }
func (i nodeInfo) IsDir() bool        { return i.dir }
func (i nodeInfo) Sys() any           { return nil }

func (i nodeInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}
