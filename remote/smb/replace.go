package smb

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

// settled remembers the directories in which no leavings of earlier replacements
// were found, or are any more.
type settled struct {
	mu   sync.Mutex
	dirs map[string]bool
}

const maxSettled = 10_000

func (s *settled) set(dir string, is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.dirs) >= maxSettled || s.dirs == nil {
		s.dirs = map[string]bool{}
	}
	s.dirs[dir] = is
}

func (s *settled) is(dir string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dirs[dir]
}

// gate lets one at a time replace name, or look for what such a replacement left.
func (f *FS) gate(ctx context.Context, name string) (open func(), err error) {
	g := f.gates[maphash.String(f.seed, name)%gates]
	select {
	case g <- struct{}{}:
		return func() { <-g }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Rename moves a file or directory. The client library cannot replace, so a file
// at newname is first renamed to an aside, beside it, and removed once the new
// one has its name: in between the name is missing, and every [FS] that misses it
// puts the old content back. It goes on after ctx has ended once it has begun.
func (f *FS) Rename(ctx context.Context, oldname, newname string) error {
	return remote.LinkError("rename", oldname, newname, f.rename(ctx, oldname, newname, f.replace))
}

// RenameNoReplace moves a file or directory unless newname exists. The server
// does both in one step.
func (f *FS) RenameNoReplace(ctx context.Context, oldname, newname string) error {
	refuse := func(context.Context, string, string) error { return fs.ErrExist }
	return remote.LinkError("rename", oldname, newname, f.rename(ctx, oldname, newname, refuse))
}

// rename moves, or leaves it to exists when newname is there.
func (f *FS) rename(ctx context.Context, oldname, newname string, exists func(context.Context, string, string) error) error {
	for _, name := range []string{oldname, newname} {
		if err := checkName("rename", name); err != nil {
			return bare(err)
		}
		if name == "." {
			return fs.ErrInvalid
		}
	}
	if !remote.IsTemp(oldname) {
		// What was replaced there once must not come back when this name moves away.
		if err := f.settleOnce(ctx, oldname); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := f.settleOnce(ctx, newname); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if oldname == newname {
		_, err := f.stat(ctx, oldname)
		return err
	}
	err := f.patient(ctx, isBusy, func() error { return f.move(ctx, oldname, newname) })
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	return exists(ctx, oldname, newname)
}

// move renames to a name that does not exist, else fs.ErrExist.
func (f *FS) move(ctx context.Context, oldname, newname string) error {
	return f.link.do(ctx, func(s *session, again bool) error {
		if again {
			if moved, err := f.movedOn(ctx, s, oldname, newname); moved || err != nil {
				return err
			}
		}
		_, err := call(ctx, s, request[struct{}]{cost: 1, run: func() (struct{}, error) {
			return struct{}{}, s.lib.Rename(f.serverPath(oldname), f.serverPath(newname))
		}})
		return err
	})
}

// movedOn reports whether a rename has taken place of which the answer was lost.
func (f *FS) movedOn(ctx context.Context, s *session, oldname, newname string) (bool, error) {
	_, err := f.statOn(ctx, s, oldname)
	if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	_, err = f.statOn(ctx, s, newname)
	return err == nil, err
}

// replace puts the file oldname in the place of the file newname. It does not
// stop half way when ctx ends: the caller is told, and the rest goes on.
func (f *FS) replace(ctx context.Context, oldname, newname string) error {
	for _, name := range []string{newname, oldname} {
		i, err := f.stat(ctx, name)
		if errors.Is(err, fs.ErrNotExist) && name == newname {
			break // it has gone by now
		}
		if err != nil {
			return err
		}
		if i.dir {
			return remote.MarkError(errors.New("a directory is neither replaced nor replaces"), fs.ErrExist)
		}
	}
	open, err := f.gate(ctx, newname)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	f.background.Go(func() {
		defer open()
		done <- f.exchange(context.WithoutCancel(ctx), oldname, newname)
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// exchange is the steps of replace: old aside, new in place, aside removed. A
// reader that misses the name meanwhile puts the old content back, and then they
// begin anew.
func (f *FS) exchange(ctx context.Context, oldname, newname string) error {
	dir := path.Dir(newname)
	f.settled.set(dir, false)
	refused := func(err error) bool { return errors.Is(err, fs.ErrPermission) }
	err := f.patient(ctx, func(err error) bool { return errors.Is(err, fs.ErrExist) }, func() error {
		aside := asideName(newname, time.Now())
		err := f.patient(ctx, refused, func() error { return f.move(ctx, newname, aside) })
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("put the old file aside: %w", err)
		}
		err = f.patient(ctx, isBusy, func() error { return f.move(ctx, oldname, newname) })
		if err == nil {
			if f.remove(ctx, aside) == nil {
				f.settled.set(dir, true)
			}
			return nil
		}
		backErr := f.move(ctx, aside, newname)
		if errors.Is(backErr, fs.ErrNotExist) || errors.Is(backErr, fs.ErrExist) {
			backErr = nil // somebody else has put it back
		}
		if errors.Is(err, fs.ErrNotExist) && backErr == nil {
			return fs.ErrNotExist
		}
		return errors.Join(err, backErr)
	})
	return err
}

// locate returns the name under which to find what name leads to when it seems
// not to be there: a replacement may have broken off, or be under way, and is put
// right. fs.ErrNotExist proves that there is nothing.
func (f *FS) locate(ctx context.Context, name string) (string, error) {
	if _, isAside := asideOf(path.Base(name)); isAside || name == "." || remote.IsTemp(name) {
		return "", fs.ErrNotExist
	}
	open, err := f.gate(ctx, name)
	if err != nil {
		return "", err
	}
	defer open()
	infos, err := f.list(ctx, path.Dir(name))
	if err != nil {
		if errors.Is(err, syscall.ENOTDIR) {
			return "", fs.ErrNotExist
		}
		return "", err
	}
	var asides []string
	for _, i := range infos {
		if base, ok := asideOf(i.name); ok && base == path.Base(name) {
			asides = append(asides, i.name)
		}
	}
	if len(asides) > 0 {
		at, err := f.putBack(ctx, name, path.Join(path.Dir(name), slices.Max(asides)))
		if !errors.Is(err, fs.ErrNotExist) {
			return at, err
		}
	}
	// A replacement by somebody else may have ended while the list was made.
	_, err = f.stat(ctx, name)
	return name, err
}

// putBack gives the aside of a name its name again, and returns what to open: the
// aside itself where this user may not rename.
func (f *FS) putBack(ctx context.Context, name, aside string) (string, error) {
	err := f.move(ctx, aside, name)
	switch {
	case err == nil:
		f.logger.Warn("smb file put back that a broken replacement had left aside", slog.String("name", name))
		return name, nil
	case errors.Is(err, fs.ErrExist):
		return name, nil
	case errors.Is(err, fs.ErrPermission):
		return aside, nil
	}
	return "", err
}

// settleOnce settles the directory of name, unless that was done before.
func (f *FS) settleOnce(ctx context.Context, name string) error {
	dir := path.Dir(name)
	if remote.IsTemp(name) || f.settled.is(dir) {
		return nil
	}
	_, err := f.settle(ctx, dir)
	return err
}

// settle lists a directory without asides, after it has put back those whose
// names are missing and removed those that have been replaced.
func (f *FS) settle(ctx context.Context, dir string) ([]info, error) {
	infos, err := f.list(ctx, dir)
	if err != nil {
		return nil, err
	}
	var kept, asides []info
	listed := map[string]bool{}
	for _, i := range infos {
		if _, ok := asideOf(i.name); ok && !i.dir {
			asides = append(asides, i)
		} else {
			kept = append(kept, i)
			listed[i.name] = true
		}
	}
	clean := true
	for _, aside := range slices.Backward(asides) { // the youngest of each name first
		base, _ := asideOf(aside.name)
		gone, err := f.settleAside(ctx, path.Join(dir, base), path.Join(dir, aside.name))
		if err != nil {
			return nil, err
		}
		clean = clean && gone
		if !listed[base] {
			listed[base] = true
			kept = append(kept, aside.named(base))
		}
	}
	slices.SortFunc(kept, func(a, b info) int { return strings.Compare(a.name, b.name) })
	f.settled.set(dir, clean)
	return kept, nil
}

// settleAside removes an aside whose name is there, and else gives it its name.
// That the name was seen after the aside proves that the aside has been replaced:
// its name was taken from it before. It reports whether the aside has gone.
func (f *FS) settleAside(ctx context.Context, name, aside string) (bool, error) {
	open, err := f.gate(ctx, name)
	if err != nil {
		return false, err
	}
	defer open()
	if _, err = f.stat(ctx, aside); errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	_, err = f.stat(ctx, name)
	switch {
	case err == nil:
		err = f.link.do(ctx, func(s *session, _ bool) error { // impatiently
			_, err := call(ctx, s, request[struct{}]{cost: 1, run: func() (struct{}, error) {
				return struct{}{}, s.lib.Remove(f.serverPath(aside))
			}})
			return err
		})
		switch {
		case err == nil, errors.Is(err, fs.ErrNotExist):
			return true, nil
		case errors.Is(err, fs.ErrPermission):
			return false, nil
		}
		return false, err
	case errors.Is(err, fs.ErrNotExist):
		at, err := f.putBack(ctx, name, aside)
		if errors.Is(err, fs.ErrNotExist) {
			return true, nil
		}
		return err == nil && at == name, err
	}
	return false, err
}
