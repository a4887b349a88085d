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

// settled remembers for a while the directories in which no leavings of earlier
// replacements were found, or are any more. Others may die and leave more.
type settled struct {
	mu   sync.Mutex
	dirs map[string]time.Time // when that was
}

const (
	maxSettled = 10_000
	settledFor = 5 * time.Second
)

func (s *settled) set(dir string, is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.dirs) >= maxSettled || s.dirs == nil {
		s.dirs = map[string]time.Time{}
	}
	if is {
		s.dirs[dir] = time.Now()
	} else {
		delete(s.dirs, dir)
	}
}

func (s *settled) is(dir string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.dirs[dir]
	return ok && time.Since(at) < settledFor
}

// gate lets one at a time rename or remove what has these names, or look for what
// a replacement left.
func (f *FS) gate(ctx context.Context, names ...string) (open func(), err error) {
	var held []uint64
	for _, name := range names {
		held = append(held, maphash.String(f.seed, name)%gates)
	}
	slices.Sort(held) // the same order for all
	held = slices.Compact(held)
	open = func() {
		for _, g := range held {
			<-f.gates[g]
		}
	}
	for i, g := range held {
		select {
		case f.gates[g] <- struct{}{}:
		case <-ctx.Done():
			held = held[:i]
			open()
			return nil, context.Cause(ctx)
		}
	}
	return open, nil
}

// Rename moves a file or directory. The client library cannot replace, so a file
// at newname is first renamed to an aside, beside it, and removed once the new
// one has its name: in between the name is missing, and every [FS] that misses it
// puts the old content back. What has begun goes on after ctx has ended, and this
// FS does nothing else with the two names until it is done.
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
	for _, name := range []string{oldname, newname} {
		// What was replaced there once must not come back when this name moves away,
		// and counts as there when it moves here.
		if err := f.settleOnce(ctx, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if oldname == newname {
		_, err := f.stat(ctx, oldname)
		return err
	}
	open, err := f.gate(ctx, oldname, newname)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	f.background.Go(func() {
		defer open()
		ctx := context.WithoutCancel(ctx)
		err := f.patient(ctx, isBusy, func() error { return f.move(ctx, oldname, newname) })
		if errors.Is(err, fs.ErrExist) {
			err = exists(ctx, oldname, newname)
		}
		done <- err
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
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

// replace puts the file oldname in the place of the file newname: old aside, new
// in place, aside removed. A reader that misses the name meanwhile puts the old
// content back, and then it begins anew.
func (f *FS) replace(ctx context.Context, oldname, newname string) error {
	var i info
	var err error
	for _, name := range []string{newname, oldname} {
		i, err = f.stat(ctx, name)
		if errors.Is(err, fs.ErrNotExist) && name == newname {
			continue // it has gone by now
		}
		if err != nil {
			return err
		}
		if i.dir {
			return remote.MarkError(errors.New("a directory is neither replaced nor replaces"), fs.ErrExist)
		}
	}
	f.settled.set(path.Dir(newname), false)
	overtaken := func(err error) bool { return errors.Is(err, fs.ErrExist) }
	return f.patient(ctx, overtaken, func() error { return f.exchange(ctx, oldname, newname, i) })
}

// exchange is one try at the steps of replace, with the file that moved describes.
func (f *FS) exchange(ctx context.Context, oldname, newname string, moved info) error {
	aside := asideName(newname, time.Now())
	refused := func(err error) bool { return errors.Is(err, fs.ErrPermission) }
	err := f.patient(ctx, refused, func() error { return f.move(ctx, newname, aside) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("put the old file aside: %w", err)
	}
	err = f.patient(ctx, isBusy, func() error { return f.move(ctx, oldname, newname) })
	if err == nil {
		// Who was removing it under its old name may have removed it under this one.
		err = f.patient(ctx, isBusy, func() error { return f.landed(ctx, newname, moved) })
	}
	if err == nil {
		if f.remove(ctx, aside) == nil {
			f.settled.set(path.Dir(newname), true)
		}
		return nil
	}
	backErr := f.move(ctx, aside, newname)
	if errors.Is(backErr, fs.ErrNotExist) || errors.Is(backErr, fs.ErrExist) {
		backErr = nil // somebody else has put it back
	}
	return errors.Join(err, backErr)
}

// landed is nil when moved got the name, from which somebody else may have put it
// aside again.
func (f *FS) landed(ctx context.Context, name string, moved info) error {
	dir, base := path.Split(name)
	for range looks {
		_, err := f.stat(ctx, name)
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		infos, err := f.list(ctx, path.Clean(dir))
		if err != nil {
			return err
		}
		for _, i := range infos {
			if of, isAside := asideOf(i.name); isAside && of == base && i.sameFile(moved) {
				return nil
			}
		}
	}
	return fs.ErrNotExist
}

// find runs try on name, and while that is fs.ErrNotExist, on what is there in its
// place: a replacement may have broken off, or be under way.
func (f *FS) find(ctx context.Context, name string, try func(at string) error) error {
	at := name
	for {
		err := try(at)
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if at, err = f.locate(ctx, name); err != nil {
			return err
		}
	}
}

// looks is how often locate looks while somebody seems to be replacing the name.
const looks = 5

// locate returns the name under which to find what name leads to when it seems
// not to be there. fs.ErrNotExist means that there is nothing.
func (f *FS) locate(ctx context.Context, name string) (string, error) {
	if _, isAside := asideOf(path.Base(name)); isAside || name == "." || remote.IsTemp(name) {
		return "", fs.ErrNotExist
	}
	open, err := f.gate(ctx, name)
	if err != nil {
		return "", err
	}
	defer open()
	for range looks {
		aside, writing, err := f.look(ctx, name)
		if err != nil {
			return "", err
		}
		if aside != "" {
			at, err := f.putBack(ctx, name, aside)
			if !errors.Is(err, fs.ErrNotExist) {
				return at, err
			}
		}
		// A replacement by somebody else may have ended while the list was made, and
		// another begun since, if there was a file or a name to do it with.
		_, err = f.stat(ctx, name)
		if !errors.Is(err, fs.ErrNotExist) {
			return name, err
		}
		if !writing {
			break
		}
	}
	return "", fs.ErrNotExist
}

// look returns the youngest aside of name, if there is any, and whether there is
// something that has the name or may be about to get it, a temporary file.
func (f *FS) look(ctx context.Context, name string) (aside string, writing bool, err error) {
	dir, base := path.Dir(name), path.Base(name)
	infos, err := f.list(ctx, dir)
	if errors.Is(err, syscall.ENOTDIR) {
		return "", false, fs.ErrNotExist
	}
	for _, i := range infos {
		of, isAside := asideOf(i.name)
		if isAside && of == base {
			aside = path.Join(dir, i.name) // they are sorted
		}
		writing = writing || i.name == base || (remote.IsTemp(i.name) && strings.HasPrefix(i.name, "."+base+"."))
	}
	return aside, writing, err
}

// putBack gives the aside of a name its name again, and returns what to open: the
// aside itself where this user may not rename.
func (f *FS) putBack(ctx context.Context, name, aside string) (string, error) {
	err := f.move(ctx, aside, name)
	switch {
	case err == nil:
		f.logger.WarnContext(ctx, "smb file put back that a broken replacement had left aside", slog.String("name", name))
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
