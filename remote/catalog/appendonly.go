package catalog

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

// appendOnly is a Filesystem on which nothing that was there is removed, replaced
// or written to. What is ours to take back stays so: what was made through it, temporary
// files, locks, the cache of listings, and what is under .xenbackup.
type appendOnly struct {
	remote.Filesystem

	mu   sync.Mutex
	made map[string]bool // files and directories; what is in a directory that we made is ours
}

var (
	_ remote.Decliner      = (*appendOnly)(nil)
	_ remote.SpaceReporter = (*appendOnly)(nil)
	_ remote.Locker        = (*appendOnly)(nil)
	_ remote.DirSyncer     = (*appendOnly)(nil)
	_ remote.NoReplacer    = (*appendOnly)(nil)
	_ remote.Toucher       = (*appendOnly)(nil)
)

func newAppendOnly(fsys remote.Filesystem) *appendOnly {
	return &appendOnly{Filesystem: fsys, made: map[string]bool{}}
}

// isOurs tells whether what has the name may be changed.
func (a *appendOnly) isOurs(name string) bool {
	base := path.Base(name)
	if remote.IsTemp(base) || base == cacheName || strings.HasPrefix(name, ".xenbackup/") ||
		(strings.HasSuffix(base, lockSuffix) && path.Dir(name) == vmRoot) {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.isMade(name)
}

func (a *appendOnly) isMade(name string) bool {
	for ; name != "."; name = path.Dir(name) {
		if a.made[name] {
			return true
		}
	}
	return false
}

func (a *appendOnly) note(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.isMade(name) && !remote.IsTemp(name) {
		a.made[name] = true
	}
}

func refuse(op, name string) error { return &fs.PathError{Op: op, Path: name, Err: ErrAppendOnly} }

// OpenFile implements remote.Filesystem.
func (a *appendOnly) OpenFile(ctx context.Context, name string, flag int) (remote.File, error) {
	if flag&os.O_RDWR != 0 && flag&os.O_EXCL == 0 && !a.isOurs(name) {
		return nil, refuse("open", name)
	}
	f, err := a.Filesystem.OpenFile(ctx, name, flag)
	if err == nil && flag&os.O_EXCL != 0 {
		a.note(name)
	}
	return f, err
}

// Mkdir implements remote.Filesystem. The directories of VMs are shared with others.
func (a *appendOnly) Mkdir(ctx context.Context, name string) error {
	err := a.Filesystem.Mkdir(ctx, name)
	if err == nil && strings.HasSuffix(name, ".vhd") {
		a.note(name)
	}
	return err
}

// Rename implements remote.Filesystem.
func (a *appendOnly) Rename(ctx context.Context, oldname, newname string) error {
	if !a.isOurs(newname) {
		return a.RenameNoReplace(ctx, oldname, newname)
	}
	if !a.isOurs(oldname) {
		return refuse("rename", oldname)
	}
	return a.Filesystem.Rename(ctx, oldname, newname)
}

// RenameNoReplace implements remote.NoReplacer.
func (a *appendOnly) RenameNoReplace(ctx context.Context, oldname, newname string) error {
	if !a.isOurs(oldname) {
		return refuse("rename", oldname)
	}
	err := remote.RenameNoReplace(ctx, a.Filesystem, oldname, newname)
	if err == nil {
		a.note(newname)
	}
	return err
}

// Remove implements remote.Filesystem.
func (a *appendOnly) Remove(ctx context.Context, name string) error {
	if a.isOurs(name) {
		return a.Filesystem.Remove(ctx, name)
	}
	if _, err := a.Stat(ctx, name); errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return refuse("remove", name)
}

// Declines implements remote.Decliner. A RenameNoReplace is better than none.
func (a *appendOnly) Declines(capability any) bool {
	if _, ok := capability.(*remote.NoReplacer); ok {
		return false
	}
	return !remote.Offers(a.Filesystem, capability)
}

// Space implements remote.SpaceReporter.
func (a *appendOnly) Space(ctx context.Context) (remote.Space, error) {
	below, _ := remote.As[remote.SpaceReporter](a.Filesystem)
	return below.Space(ctx)
}

// Lock implements remote.Locker.
func (a *appendOnly) Lock(ctx context.Context, name string, opts *remote.LockOptions) (*remote.Lock, error) {
	below, _ := remote.As[remote.Locker](a.Filesystem)
	return below.Lock(ctx, name, opts)
}

// SyncDir implements remote.DirSyncer.
func (a *appendOnly) SyncDir(ctx context.Context, name string) error {
	return remote.SyncDir(ctx, a.Filesystem, name)
}

// Touch implements remote.Toucher.
func (a *appendOnly) Touch(ctx context.Context, name string, mtime time.Time) error {
	below, _ := remote.As[remote.Toucher](a.Filesystem)
	return below.Touch(ctx, name, mtime)
}
