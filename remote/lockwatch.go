package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"
)

// lockWatch is the view of one who wants a lock that exists.
type lockWatch struct {
	fsys   Filesystem
	name   string
	dir    string
	wait   time.Duration
	start  time.Time
	logger *slog.Logger

	mtime time.Time // as last seen
	since time.Time // when it was first seen so
	moved bool      // the holder was seen alive

	silent bool // a lock was taken from a holder that may be alive
}

// untilFree returns nil when it is worth trying to make the directory again.
func (w *lockWatch) untilFree(ctx context.Context) error {
	for {
		info, err := w.fsys.Stat(ctx, w.dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			w.moved = true
			return nil
		case err != nil:
			return err
		case !info.IsDir():
			return &fs.PathError{Op: "lock", Path: w.dir, Err: errors.New("a file is in the way")}
		}
		w.note(info.ModTime())
		dead := ownerIsDead(ctx, w.fsys, w.name, w.mtime)
		if dead || time.Since(w.since) > staleAfter {
			w.silent = w.silent || !dead
			return w.takeOver(ctx)
		}
		if w.wait < 0 || (w.moved && time.Since(w.start) >= w.wait) {
			return &fs.PathError{Op: "lock", Path: w.name, Err: ErrLocked}
		}
		if err := sleep(ctx, pollEvery); err != nil {
			return &fs.PathError{Op: "lock", Path: w.name, Err: fmt.Errorf("%w: %w", ErrLocked, err)}
		}
	}
}

func (w *lockWatch) note(mtime time.Time) {
	if !w.since.IsZero() && mtime.Equal(w.mtime) {
		return
	}
	w.moved = w.moved || !w.since.IsZero()
	w.mtime, w.since = mtime, time.Now()
}

// takeOver moves the stale lock away, so that one of all who judged it stale has
// moved it, and removes it. Between our look and our rename another may have done
// the same and made a lock of its own: then we moved that one, see it by its
// time, and put it back.
func (w *lockWatch) takeOver(ctx context.Context) error {
	stale := w.mtime
	info, err := w.fsys.Stat(ctx, w.dir)
	if err != nil || !info.ModTime().Equal(stale) {
		return ignoreNotExist(err)
	}
	// Among the records, where the next holder removes it if we are killed now.
	if err := MkdirAll(ctx, w.fsys, ownersDir); err != nil {
		return err
	}
	aside := tempName(ownerName(w.name))
	if err := w.fsys.Rename(ctx, w.dir, aside); err != nil {
		return ignoreNotExist(err)
	}
	info, err = w.fsys.Stat(ctx, aside)
	if err != nil {
		return ignoreNotExist(err)
	}
	if !info.ModTime().Equal(stale) {
		err := RenameNoReplace(ctx, w.fsys, aside, w.dir)
		if errors.Is(err, fs.ErrExist) {
			err = w.fsys.Remove(ctx, aside) // a third one was faster; the second will notice
		}
		return ignoreNotExist(err) // the third one may have removed it already
	}
	w.logger.WarnContext(ctx, "abandoned lock taken over", "lock", w.dir, "last_refresh", stale)
	return ignoreNotExist(w.fsys.Remove(ctx, aside))
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
