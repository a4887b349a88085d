package catalog

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

// leasesDir has, per VM, a lock "<point>~<token>" for each reader, and a lock
// "changing" while somebody deletes points or merges disks.
const (
	leasesDir  = ".xenbackup/leases"
	changing   = "changing"
	lockSuffix = ".lock"

	leaseWait = time.Minute // for somebody who changes something to notice us
	leasePoll = time.Second // of who changes something, for readers
)

// Lease protects a point while it is read: until it is released, no session of this
// library, in whatever process, deletes the point or touches a disk of its VM. It is
// shared: there may be many. Xen Orchestra does not know of leases.
type Lease struct {
	lock *remote.Lock
	id   string // of the point
}

// Lease begins to read the point with this id. A merge that is under way in its VM is
// interrupted, which a later session finishes; Lease waits for that, and for those
// who delete points, for a minute, or Options.LockWait if that is longer: then
// [remote.ErrLocked]. A point that is gone gives fs.ErrNotExist: it was deleted before
// anything was read. Where leases are not possible, since nothing can be written or
// modification times cannot be set, the error is fs.ErrPermission or
// [errors.ErrUnsupported]: then [Disk.Confirm] alone tells.
//
// A lease whose holder has died ends by itself: those who want to change something
// see that it is not refreshed any more, as with locks.
func (c *Catalog) Lease(ctx context.Context, id string) (*Lease, error) {
	vm, file, err := splitID(id)
	if err != nil {
		return nil, err
	}
	dir := path.Join(leasesDir, vm)
	if c.fsys.Properties().ReadOnly {
		return nil, fmt.Errorf("catalog: lease of %s: %w", id, fs.ErrPermission)
	}
	if err := remote.MkdirAll(ctx, c.fsys, dir); err != nil {
		return nil, fmt.Errorf("catalog: lease of %s: %w", id, err)
	}
	name := path.Join(dir, file+"~"+rand.Text())
	lock, err := remote.AcquireLock(ctx, c.fsys, name, &remote.LockOptions{Wait: -1, Logger: c.log})
	if err != nil {
		return nil, fmt.Errorf("catalog: lease of %s: %w", id, err)
	}
	l := &Lease{lock, id}
	err = c.awaitChange(ctx, vm)
	if err == nil {
		_, err = c.fsys.Stat(ctx, path.Join(vmRoot, vm, file))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("catalog: lease of %s: %w", id, err), l.Release(ctx))
	}
	return l, nil
}

// Err returns [ErrLeaseLost], and [remote.ErrLockLost], once the lease is lost: what is
// read from then on is not protected any more. It asks nobody.
func (l *Lease) Err() error {
	if err := l.lock.Err(); err != nil {
		return fmt.Errorf("catalog: lease of %s: %w: %w", l.id, ErrLeaseLost, err)
	}
	return nil
}

// Lost is closed when the lease is lost.
func (l *Lease) Lost() <-chan struct{} { return l.lock.Lost() }

// Guard returns a reader of what the lease protects: whatever it gives was read while the
// lease was held, and after its loss it gives nothing but [ErrLeaseLost]. Of a nil Lease
// it is r itself.
func (l *Lease) Guard(r io.ReaderAt) io.ReaderAt {
	if l == nil {
		return r
	}
	return &guardedReader{l, r}
}

type guardedReader struct {
	lease *Lease
	r     io.ReaderAt
}

// ReadAt implements io.ReaderAt. The lease is looked at afterwards too: what was read before
// it was lost is right.
func (g *guardedReader) ReadAt(p []byte, off int64) (int, error) {
	if lost := g.lease.Err(); lost != nil {
		return 0, lost // and does not wait for a storage that may be dead
	}
	n, err := g.r.ReadAt(p, off)
	if lost := g.lease.Err(); lost != nil {
		return 0, lost
	}
	return n, err
}

// Release ends the lease. It works after ctx has ended.
func (l *Lease) Release(ctx context.Context) error { return l.lock.Release(ctx) }

// awaitChange returns when nobody changes the VM who may not have seen us.
func (c *Catalog) awaitChange(ctx context.Context, vm string) error {
	name := path.Join(leasesDir, vm, changing)
	_, err := c.fsys.Stat(ctx, name+lockSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	lock, err := remote.AcquireLock(ctx, c.fsys, name, &remote.LockOptions{Wait: max(leaseWait, c.lockWait), Logger: c.log})
	if err != nil {
		return err
	}
	if err := lock.Release(ctx); !errors.Is(err, remote.ErrLockLost) { // the next session takes it at once
		return err
	}
	return nil
}

// change is the time in which a session deletes points or merges disks. It begins
// with an announcement that new readers wait for, and knows the readers that were
// there before.
type change struct {
	s       *Session
	dir     string
	lock    *remote.Lock    // nil where there are no leases
	readers map[string]bool // points that are read

	mu     sync.Mutex
	looked time.Time
	came   bool // a reader, since
}

// beginChange must be followed by end.
func (s *Session) beginChange(ctx context.Context) (*change, error) {
	if s.c.isFixed {
		return nil, fmt.Errorf("catalog: vm %s: %w", s.vm, ErrAppendOnly)
	}
	ch := &change{s: s, dir: path.Join(leasesDir, s.vm), readers: map[string]bool{}, looked: time.Now()}
	if err := remote.MkdirAll(ctx, s.fsys, ch.dir); err != nil {
		return nil, fmt.Errorf("catalog: vm %s: %w", s.vm, err)
	}
	name := path.Join(ch.dir, changing)
	// Whoever has the lock of the VM is the only one to change it: what is there was left by
	// one who died, or is a reader's for an instant.
	_, err := s.fsys.Stat(ctx, name+lockSuffix)
	if err == nil {
		err = s.fsys.Remove(ctx, name+lockSuffix)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("catalog: vm %s: %w", s.vm, err)
	}
	lock, err := remote.AcquireLock(ctx, s.c.fsys, name, &remote.LockOptions{Wait: leaseWait, Logger: s.c.log})
	if errors.Is(err, errors.ErrUnsupported) {
		return ch, nil
	}
	if err != nil {
		return nil, fmt.Errorf("catalog: vm %s: %w", s.vm, err)
	}
	ch.lock = lock
	if err := ch.findReaders(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("catalog: vm %s: %w", s.vm, err), ch.end(ctx))
	}
	return ch, nil
}

func (ch *change) end(ctx context.Context) error {
	if ch.lock == nil {
		return nil
	}
	if err := ch.lock.Release(ctx); err != nil {
		return fmt.Errorf("catalog: vm %s: %w", ch.s.vm, err)
	}
	return nil
}

// leases returns the names of the locks of readers.
func (ch *change) leases(ctx context.Context) ([]string, error) {
	entries, err := ch.s.fsys.ReadDir(ctx, ch.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), lockSuffix); ok && name != changing {
			names = append(names, name)
		}
	}
	return names, nil
}

// findReaders tells live leases from those of the dead, which it takes away.
func (ch *change) findReaders(ctx context.Context) error {
	names, err := ch.leases(ctx)
	if err != nil {
		return err
	}
	errs := make([]error, len(names))
	var probes sync.WaitGroup
	for i, name := range names {
		probes.Go(func() { errs[i] = ch.probe(ctx, name) })
	}
	probes.Wait()
	for i, name := range names {
		if errors.Is(errs[i], remote.ErrLocked) && context.Cause(ctx) == nil {
			point, _, _ := strings.Cut(name, "~")
			ch.readers[path.Join(ch.s.dir, point)] = true
		} else if errs[i] != nil {
			return cmp.Or(context.Cause(ctx), errs[i])
		}
	}
	return nil
}

// probe takes a lease that nobody refreshes, and gives it up.
func (ch *change) probe(ctx context.Context, name string) error {
	lock, err := remote.AcquireLock(ctx, ch.s.c.fsys, path.Join(ch.dir, name), &remote.LockOptions{Logger: ch.s.c.log})
	if err != nil {
		return err
	}
	return lock.Release(ctx)
}

// lost is what a merge asks before each step: it ends when the lock of the VM is
// lost, and when a reader has come, who waits for that.
func (ch *change) lost(ctx context.Context) func() error {
	return func() error {
		if err := ch.s.Err(); err != nil {
			return err
		}
		ch.mu.Lock()
		defer ch.mu.Unlock()
		if !ch.came && ch.lock != nil && time.Since(ch.looked) >= leasePoll {
			names, err := ch.leases(ctx)
			ch.came, ch.looked = err == nil && len(names) > 0, time.Now()
		}
		if ch.came {
			return ErrLeased
		}
		return nil
	}
}
