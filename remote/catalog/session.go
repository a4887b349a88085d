package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

// Session is the right to change the backups of one VM: it holds the lock that
// Xen Orchestra takes too. Every change asks first whether the lock is still
// held; when it may have been lost, the change is not made and the error is
// [remote.ErrLockLost].
//
// Points may be written concurrently with reads, but the other methods that
// change something must be called one at a time.
type Session struct {
	c    *Catalog
	fsys remote.Filesystem // refuses changes once the lock is lost
	vm   string
	dir  string
	lock *remote.Lock

	writing atomic.Int32 // points begun and neither committed nor aborted

	goneMu sync.Mutex
	gone   map[string]bool // disks and their data that nothing needs since this session deleted what did
}

// LockVM makes the directory of the VM if need be, durably, and locks it. When
// somebody else holds the lock for longer than Options.LockWait, the error is
// [remote.ErrLocked]. The session ends with Close.
func (c *Catalog) LockVM(ctx context.Context, vm string) (*Session, error) {
	dir, err := vmDir(vm)
	if err != nil {
		return nil, err
	}
	if err := remote.MkdirAll(ctx, c.fsys, dir); err != nil {
		return nil, fmt.Errorf("catalog: vm %s: %w", vm, err)
	}
	lock, err := remote.AcquireLock(ctx, c.fsys, dir, &remote.LockOptions{Wait: c.lockWait, Logger: c.log})
	if err != nil {
		return nil, fmt.Errorf("catalog: vm %s: %w", vm, err)
	}
	s := &Session{c: c, vm: vm, dir: dir, lock: lock}
	s.fsys = &fence{Filesystem: c.fsys, alive: lock.Err}
	return s, nil
}

// VM returns the name of the VM's directory: its uuid.
func (s *Session) VM() string { return s.vm }

// Close releases the lock. What was committed stays; a point that is still
// being written must be aborted before.
func (s *Session) Close(ctx context.Context) error { return s.lock.Release(ctx) }

// Err returns a non-nil error once the lock is lost.
func (s *Session) Err() error { return s.lock.Err() }

// Lost is closed when the lock is lost.
func (s *Session) Lost() <-chan struct{} { return s.lock.Lost() }

// check asks the storage whether the lock is still ours.
func (s *Session) check(ctx context.Context) error {
	if err := s.lock.Err(); err != nil {
		return err
	}
	return s.lock.Check(ctx)
}

// Latest returns the newest date that a backup or a disk of this VM has in its
// name, so that the next one can be later; the zero time when there is none.
func (s *Session) Latest(ctx context.Context) (time.Time, error) {
	latest, err := s.latestIn(ctx, s.dir)
	if err != nil {
		return time.Time{}, err
	}
	dirs, err := s.vdiDirs(ctx)
	if err != nil {
		return time.Time{}, err
	}
	for _, dir := range dirs {
		t, err := s.latestIn(ctx, dir)
		if err != nil {
			return time.Time{}, err
		}
		if t.After(latest) {
			latest = t
		}
	}
	return latest, nil
}

func (s *Session) latestIn(ctx context.Context, dir string) (time.Time, error) {
	var latest time.Time
	entries, err := s.fsys.ReadDir(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return latest, nil
	}
	if err != nil {
		return latest, fmt.Errorf("catalog: list %s: %w", dir, err)
	}
	for _, e := range entries {
		if t, ok := leadingDate(e.Name()); ok && t.After(latest) {
			latest = t
		}
	}
	return latest, nil
}

// vdiDirs returns the directories of disks, vdis/<job>/<vdi>, sorted.
func (s *Session) vdiDirs(ctx context.Context) ([]string, error) {
	dirs := []string{path.Join(s.dir, vdisName)}
	for range 2 {
		var below []string
		for _, dir := range dirs {
			entries, err := s.fsys.ReadDir(ctx, dir)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("catalog: list %s: %w", dir, err)
			}
			for _, e := range entries {
				if e.IsDir() && isElement(e.Name()) {
					below = append(below, path.Join(dir, e.Name()))
				}
			}
		}
		dirs = below
	}
	return dirs, nil
}

// unneeded notes that this session has taken away what needed name.
func (s *Session) unneeded(name string) {
	s.goneMu.Lock()
	defer s.goneMu.Unlock()
	if s.gone == nil {
		s.gone = map[string]bool{}
	}
	s.gone[name] = true
}

func (s *Session) isUnneeded(name string) bool {
	s.goneMu.Lock()
	defer s.goneMu.Unlock()
	return s.gone[name]
}

// dropCache removes the listing that Xen Orchestra keeps: it would believe it
// without looking at the directory, and makes a new one when it is missing.
func (s *Session) dropCache(ctx context.Context) error {
	err := s.fsys.Remove(ctx, path.Join(s.dir, cacheName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("catalog: vm %s: %w", s.vm, err)
	}
	return nil
}
