package remotetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/xenbackup/xenbackup/remote"
)

// checkTwo: what one has published, the other one sees at once.
func (h Harness) checkTwo(ctx context.Context) error {
	return h.within(ctx, "two", func(s *suite) error {
		return h.with(ctx, h.Open, func(fsys remote.Filesystem) error {
			other := &suite{Filesystem: fsys, dir: s.dir}
			if err := other.wantList(ctx); err != nil { // so that it has something to remember
				return err
			}
			if err := errors.Join(s.put(ctx, "f", "first"), other.wantContent(ctx, "f", "first")); err != nil {
				return err
			}
			return errors.Join(
				s.put(ctx, "f", "the second"), other.wantContent(ctx, "f", "the second"),
				other.Rename(ctx, s.in("f"), s.in("g")), s.wantContent(ctx, "g", "the second"), s.wantList(ctx, "g"),
				s.Mkdir(ctx, s.in("d")), other.put(ctx, "d/x", "x"), s.wantContent(ctx, "d/x", "x"),
				remote.RemoveAll(ctx, s.Filesystem, s.in("d")), s.Mkdir(ctx, s.in("d")),
				other.put(ctx, "d/y", "y"), other.wantList(ctx, "d", "g"))
		})
	})
}

func (h Harness) checkOpenContext(ctx context.Context) error {
	opening, cancel := context.WithCancel(ctx)
	defer cancel()
	return h.with(opening, h.Open, func(fsys remote.Filesystem) error {
		cancel()
		_, err := fsys.ReadDir(ctx, ".")
		return err
	})
}

// checkMany: 5,000 entries, each listed once and in order.
func (h Harness) checkMany(ctx context.Context) error {
	const n = 5000
	return h.within(ctx, "many", func(s *suite) error {
		if err := h.fill(ctx, s, n); err != nil {
			return err
		}
		entries, err := s.ReadDir(ctx, s.dir)
		if err != nil {
			return err
		}
		want := make([]string, n)
		for i := range want {
			want[i] = strconv.Itoa(i)
		}
		slices.Sort(want)
		got := make([]string, 0, n)
		for _, e := range entries {
			got = append(got, e.Name())
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("of %d entries the listing has %d, or not in order", n, len(got))
		}
		return nil
	})
}

func (h Harness) fill(ctx context.Context, s *suite, n int) error {
	if h.Fill != nil {
		return h.Fill(s.dir, n)
	}
	group, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range 16 {
		group.Go(func() error {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				f, err := s.OpenFile(ctx, s.in(strconv.FormatInt(i, 10)), CreateNew)
				if err == nil {
					err = f.Close()
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// checkLong: offsets beyond what 32 bits hold, in a file that is a hole mostly.
func (h Harness) checkLong(ctx context.Context) error {
	const end = 5<<30 + 12345
	return h.within(ctx, "long", func(s *suite) error {
		f, err := s.OpenFile(ctx, s.in("f"), CreateNew)
		if err != nil {
			return err
		}
		defer f.Close()
		at := []int64{0, 1<<31 - 3, 1<<32 - 3, end - 6}
		for i, off := range at {
			if _, err := f.WriteAt(fmt.Appendf(nil, "mark %d", i), off); err != nil {
				return fmt.Errorf("write at %d: %w", off, err)
			}
		}
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if info.Size() != end {
			return fmt.Errorf("the size is %d, want %d", info.Size(), int64(end))
		}
		for i, off := range at {
			got := make([]byte, 10)
			n, err := f.ReadAt(got, off)
			if err != nil && !errors.Is(err, io.EOF) {
				return fmt.Errorf("read at %d: %w", off, err)
			}
			if want := fmt.Appendf(nil, "mark %d\x00\x00\x00\x00", i); !bytes.Equal(got[:n], want[:n]) || n < 6 {
				return fmt.Errorf("read at %d: %q", off, got[:n])
			}
		}
		return f.Truncate(1 << 32)
	})
}

// checkLockers: the second one is kept out until the first one lets go.
func (h Harness) checkLockers(ctx context.Context) error {
	now := &remote.LockOptions{Wait: -1}
	return h.within(ctx, "lockers", func(s *suite) error {
		first, err := remote.AcquireLock(ctx, s.Filesystem, s.dir, now)
		if errors.Is(err, errors.ErrUnsupported) {
			return nil
		}
		if err != nil {
			return err
		}
		return h.with(ctx, h.Open, func(other remote.Filesystem) error {
			_, err := remote.AcquireLock(ctx, other, s.dir, now)
			if err := wantErr("a second lock", err, remote.ErrLocked); err != nil {
				return errors.Join(err, first.Release(ctx))
			}
			if err := errors.Join(first.Check(ctx), first.Release(ctx)); err != nil {
				return err
			}
			second, err := remote.AcquireLock(ctx, other, s.dir, now)
			if err != nil {
				return fmt.Errorf("after the release: %w", err)
			}
			return second.Release(ctx)
		})
	})
}

// checkKilledLocker: a holder that refreshes no more loses the lock, and knows.
func (h Harness) checkKilledLocker(ctx context.Context) error {
	return h.within(ctx, "killed", func(s *suite) error {
		faulty := NewFaulty(s.Filesystem)
		killed, err := remote.AcquireLock(ctx, faulty, s.dir, nil)
		if errors.Is(err, errors.ErrUnsupported) {
			return nil
		}
		if err != nil {
			return err
		}
		faulty.FailFrom(1, syscall.EIO)
		return h.with(ctx, h.Open, func(other remote.Filesystem) error {
			second, err := remote.AcquireLock(ctx, other, s.dir, &remote.LockOptions{Wait: time.Minute})
			if err != nil {
				return err
			}
			faulty.Heal()
			return errors.Join(
				wantLost("Err of the killed holder", killed.Err()),
				wantLost("Release of the killed holder", killed.Release(ctx)),
				second.Check(ctx), second.Release(ctx))
		})
	})
}

func wantLost(what string, err error) error {
	switch {
	case err == nil:
		return fmt.Errorf("%s: no error, want %q", what, remote.ErrLockLost.Error())
	case !errors.Is(err, remote.ErrLockLost):
		return fmt.Errorf("%s: want an error that is %q: %w", what, remote.ErrLockLost.Error(), err)
	}
	return nil
}
