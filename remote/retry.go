package remote

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"time"
)

// RetryOptions direct [Retry]. nil and the zero value are the defaults.
type RetryOptions struct {
	// Attempts is how often an operation is tried in all; 0 is 6.
	Attempts int
	// Pause is before the second attempt, and doubles from then on, up to MaxPause;
	// each pause is between half of that and all of it. 0 is 100 ms and 10 s.
	Pause, MaxPause time.Duration
	// Temporary tells which errors pass by themselves. nil takes those that are
	// [ErrUnavailable].
	Temporary func(err error) bool
	// Logger is told of each attempt that failed. nil discards.
	Logger *slog.Logger
}

// Retry is fsys, with operations tried again whose failure is temporary, where
// doing them twice is the same as doing them once. Closing it closes fsys.
//
//   - Stat, ReadDir, Space, SyncDir, Touch, Truncate, reads, writes, and opening a
//     file that exists are tried again as they are.
//   - Rename, Remove and RemoveAll may have taken place although their answer was
//     lost. When a later attempt finds nothing to rename or remove, it looks
//     whether that is so, and if it is, the operation has succeeded. This supposes
//     that nobody else works on the same names: hold the [Lock].
//   - Mkdir and the exclusive creation of a file may answer fs.ErrExist although it
//     was an attempt of theirs that made it. That is the safe answer: who uses
//     them to exclude others must not win by mistake. A lock directory left that
//     way becomes stale.
//   - Sync is never tried again: what its failure has lost stays lost. Nor is a
//     clone.
//
// Writes are tried again on the same open file. A back end whose files die with
// their connection answers the same each time, and the file is to be written anew.
func Retry(fsys Filesystem, opts *RetryOptions) Filesystem {
	r := &retry{below: fsys}
	if opts != nil {
		r.opts = *opts
	}
	if r.opts.Attempts <= 0 {
		r.opts.Attempts = 6
	}
	if r.opts.Pause <= 0 {
		r.opts.Pause = 100 * time.Millisecond
	}
	if r.opts.MaxPause <= 0 {
		r.opts.MaxPause = 10 * time.Second
	}
	if r.opts.Temporary == nil {
		r.opts.Temporary = func(err error) bool { return errors.Is(err, ErrUnavailable) }
	}
	if r.opts.Logger == nil {
		r.opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &around{below: fsys, do: r.do}
}

type retry struct {
	below Filesystem
	opts  RetryOptions
}

func (r *retry) do(ctx context.Context, o operation, run func() error) error {
	err := run()
	if o.kind == "sync" || o.kind == "clone" {
		return err
	}
	pause := r.opts.Pause
	for attempt := 1; err != nil && attempt < r.opts.Attempts && ctx.Err() == nil && r.opts.Temporary(err); attempt++ {
		r.opts.Logger.WarnContext(ctx, "storage operation is tried again", "op", o.kind, "name", o.name, "attempt", attempt, "err", err)
		if sleep(ctx, pause/2+rand.N(pause/2+1)) != nil {
			return err
		}
		pause = min(2*pause, r.opts.MaxPause)
		err = r.settle(ctx, o, run())
	}
	return err
}

// settle gives the answer of a later attempt its meaning: an earlier one may have
// done the work.
func (r *retry) settle(ctx context.Context, o operation, err error) error {
	absent := errors.Is(err, fs.ErrNotExist)
	switch {
	case o.kind == "remove" && absent:
		if _, statErr := r.below.Stat(ctx, o.name); errors.Is(statErr, fs.ErrNotExist) {
			return nil
		}
	case o.kind == "rename" && (absent || errors.Is(err, fs.ErrExist)):
		_, oldErr := r.below.Stat(ctx, o.name)
		_, newErr := r.below.Stat(ctx, o.to)
		if errors.Is(oldErr, fs.ErrNotExist) && newErr == nil {
			return nil
		}
	}
	return err
}
