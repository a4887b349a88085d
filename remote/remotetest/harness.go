package remotetest

import (
	"context"
	"errors"
	"fmt"

	"github.com/xenbackup/xenbackup/remote"
)

// Harness tells [TestHarness] how to get at a storage, and what can be done to it
// from outside. Only Open is required: what is nil is not tested.
type Harness struct {
	// Open opens the storage as one more process would: each call returns another
	// Filesystem on the same tree.
	Open func(ctx context.Context) (remote.Filesystem, error)

	// Break interrupts all that uses the storage, as a crash of its server does:
	// connections are gone, what was not synced may be. Mend brings it back.
	Break, Mend func() error

	// Full opens another, empty storage with room for some MiB, at most 64.
	Full func(ctx context.Context) (remote.Filesystem, error)

	// ReadOnly opens a storage that refuses changes.
	ReadOnly func(ctx context.Context) (remote.Filesystem, error)

	// Fill makes n empty files called "0".."n-1" in the directory dir, which
	// exists, from the server's side. Without it the suite makes them itself.
	Fill func(dir string, n int) error

	// Slow adds what takes more than ten seconds: that the lock of a holder who was
	// killed is taken over.
	Slow bool
}

// TestHarness is [Test], and all that takes several Filesystems on one tree, or a
// storage that breaks, is full, or cannot be changed. It must not run while
// others use the same package of the same process: it counts its goroutines.
func TestHarness(ctx context.Context, h Harness) error {
	before := goroutines()
	var pkg string
	err := h.with(ctx, h.Open, func(fsys remote.Filesystem) error {
		pkg = packageOf(fsys)
		return Test(ctx, fsys)
	})
	all := []error{err}
	for _, c := range []struct {
		promise string
		applies bool
		run     func(context.Context) error
	}{
		{"another Filesystem on the tree", true, h.checkTwo},
		{"open outlives its context", true, h.checkOpenContext},
		{"many entries", true, h.checkMany},
		{"long files", true, h.checkLong},
		{"two lockers", true, h.checkLockers},
		{"a locker killed", h.Slow, h.checkKilledLocker},
		{"break and mend", h.Break != nil && h.Mend != nil, h.checkBreak},
		{"full", h.Full != nil, h.checkFull},
		{"read-only", h.ReadOnly != nil, h.checkReadOnly},
	} {
		if !c.applies {
			continue
		}
		if err := c.run(ctx); err != nil {
			all = append(all, fmt.Errorf("%s: %w", c.promise, err))
		}
	}
	return errors.Join(append(all, leaked(ctx, pkg, before))...)
}

// with opens, runs and closes.
func (h Harness) with(ctx context.Context, open func(context.Context) (remote.Filesystem, error), run func(remote.Filesystem) error) error {
	fsys, err := open(ctx)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	return errors.Join(run(fsys), fsys.Close())
}

// within runs in a directory of its own on a Filesystem of its own.
func (h Harness) within(ctx context.Context, dir string, run func(*suite) error) error {
	return h.with(ctx, h.Open, func(fsys remote.Filesystem) error {
		s := &suite{Filesystem: fsys, dir: "remotetest-" + dir}
		if err := fsys.Mkdir(ctx, s.dir); err != nil {
			return fmt.Errorf("make its directory: %w", err)
		}
		return errors.Join(run(s), remote.RemoveAll(ctx, fsys, s.dir))
	})
}
