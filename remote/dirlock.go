package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	lockSuffix = ".lock" // Xen Orchestra's

	// refreshEvery and staleAfter are the defaults of npm proper-lockfile, which
	// Xen Orchestra uses.
	refreshEvery = 5 * time.Second
	staleAfter   = 10 * time.Second

	// fenceAfter is when a holder whose refreshes fail stops believing in its
	// lock: before others may take it, with time for a write under way.
	fenceAfter = 8 * time.Second

	pollEvery  = time.Second // of who waits for a lock
	retryEvery = time.Second // of a refresh that failed
)

// dirLock is the holder's side of a lock directory.
//
// The directory has to stay empty, for Xen Orchestra removes it with rmdir; who
// holds it shows in its modification time alone. Ours have a fraction of a second
// drawn by lot, so that our lock is told from one made in its place, and the
// owner's record belongs to exactly one lock.
type dirLock struct {
	fsys     Filesystem
	toucher  Toucher
	dir      string // the lock directory
	record   string // the owner's record, if written
	fraction time.Duration
	logger   *slog.Logger
	lock     *Lock

	mu    sync.Mutex // held while mtime and the storage may differ
	mtime time.Time  // what we wrote, as the storage tells it

	cancel context.CancelFunc
	done   sync.WaitGroup
}

func acquireDirLock(ctx context.Context, fsys Filesystem, name string, opts *LockOptions) (*Lock, error) {
	toucher, ok := As[Toucher](fsys)
	if !ok || name == "." {
		return nil, &fs.PathError{Op: "lock", Path: name, Err: errors.ErrUnsupported}
	}
	d := &dirLock{
		fsys: fsys, toucher: toucher, dir: name + lockSuffix, logger: opts.Logger,
		// 100 ns is what SMB and NTFS can store.
		fraction: time.Duration(1+rand.IntN(9_999_999)) * 100,
	}
	if d.logger == nil {
		d.logger = slog.New(slog.DiscardHandler)
	}
	d.lock, _ = NewLock(d.check, d.release)
	w := &lockWatch{fsys: fsys, name: name, dir: d.dir, wait: opts.Wait, start: time.Now(), logger: d.logger}
	for {
		start := time.Now()
		err := fsys.Mkdir(ctx, d.dir)
		if err == nil {
			if err = d.claim(ctx, start); err == nil {
				d.lock.silent = w.silent
				d.begin(ctx, name)
				return d.lock, nil
			}
		}
		switch {
		case errors.Is(err, fs.ErrExist), errors.Is(err, errClaimLost):
			if err := w.untilFree(ctx); err != nil {
				return nil, err
			}
		default:
			return nil, err
		}
	}
}

// errClaimLost: somebody took the directory for the stale one it replaced.
var errClaimLost = errors.New("lock directory vanished")

// claim gives the directory made after start our modification time. On storage
// so slow that others may take the directory for abandoned meanwhile, it touches
// and removes it no more.
func (d *dirLock) claim(ctx context.Context, start time.Time) error {
	until := start.Add(fenceAfter)
	touching, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	err := d.touch(touching)
	if errors.Is(err, fs.ErrNotExist) {
		return errClaimLost
	}
	if err != nil {
		cleaning, cancel := context.WithDeadline(context.WithoutCancel(ctx), until)
		defer cancel()
		return errors.Join(err, d.fsys.Remove(cleaning, d.dir))
	}
	return nil
}

// begin starts to refresh. The goroutine ends with Release, which waits for it,
// or when the lock is lost.
func (d *dirLock) begin(ctx context.Context, name string) {
	ours := d.mtime
	exact := time.Duration(ours.Nanosecond()) == d.fraction
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.cancel = cancel
	d.done.Go(func() { d.refresh(own) })
	if err := removeLeavings(ctx, d.fsys, name, ours); err != nil {
		d.logger.DebugContext(ctx, "leavings of a killed process stay", "lock", d.dir, "error", err)
	}
	if !exact {
		return // the storage rounds: a record would not know its lock again
	}
	record, err := writeOwner(ctx, d.fsys, name, d.fraction)
	if err != nil {
		// It only spares the next process of this machine a wait of 10 s.
		d.logger.DebugContext(ctx, "lock owner not recorded", "lock", d.dir, "error", err)
	}
	d.record = record
}

func (d *dirLock) refresh(ctx context.Context) {
	timer := time.NewTimer(refreshEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.lock.lost:
			return
		case <-timer.C:
		}
		if d.lock.Err() != nil {
			return
		}
		err := d.refreshOnce(ctx)
		switch {
		case err == nil:
			timer.Reset(refreshEvery)
		case errors.Is(err, ErrLockLost):
			d.logger.WarnContext(ctx, "lock lost", "lock", d.dir, "error", err)
			d.lock.lose(err)
			return
		default:
			d.logger.WarnContext(ctx, "lock not refreshed", "lock", d.dir, "error", err)
			timer.Reset(retryEvery)
		}
	}
}

func (d *dirLock) refreshOnce(ctx context.Context) error {
	d.lock.mu.Lock()
	until := d.lock.until
	d.lock.mu.Unlock()
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.stillOurs(ctx); err != nil {
		return err
	}
	return d.touch(ctx)
}

// touch sets a new modification time and learns what the storage made of it. A
// touch whose outcome is unknown leaves d.mtime as it was, and with it the
// possibility that the next look finds a time we do not know: d.fraction tells.
func (d *dirLock) touch(ctx context.Context) error {
	start := time.Now()
	mtime := start.Truncate(time.Second).Add(d.fraction)
	if mtime.Unix() == d.mtime.Unix() { // our clock was set back, and others watch for a change
		mtime = mtime.Add(time.Second)
	}
	if err := d.toucher.Touch(ctx, d.dir, mtime); err != nil {
		return err
	}
	info, err := d.fsys.Stat(ctx, d.dir)
	if err != nil {
		return err
	}
	d.mtime = info.ModTime()
	d.lock.extend(start.Add(fenceAfter))
	return nil
}

// stillOurs compares the directory with what we made of it. d.mu is held.
func (d *dirLock) stillOurs(ctx context.Context) error {
	info, err := d.fsys.Stat(ctx, d.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s was removed", ErrLockLost, d.dir)
	case err != nil:
		return err
	}
	mtime := info.ModTime()
	if mtime.Equal(d.mtime) || time.Duration(mtime.Nanosecond()) == d.fraction {
		return nil
	}
	return fmt.Errorf("%w: someone else holds %s", ErrLockLost, d.dir)
}

func (d *dirLock) check(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.stillOurs(ctx)
	if errors.Is(err, ErrLockLost) {
		d.lock.lose(err)
	}
	return err
}

// release removes what is ours. A record that outlives its lock is harmless: it
// names a fraction that no other lock has.
func (d *dirLock) release(ctx context.Context) error {
	d.cancel()
	d.done.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.stillOurs(ctx); err != nil {
		return err
	}
	var err error
	if d.record != "" {
		err = ignoreNotExist(d.fsys.Remove(ctx, d.record))
	}
	return errors.Join(d.fsys.Remove(ctx, d.dir), err)
}
