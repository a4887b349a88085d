package smb

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/xenbackup/xenbackup/remote"
)

// Stat describes a file or directory. Its FileInfo has no permissions.
func (f *FS) Stat(ctx context.Context, name string) (fs.FileInfo, error) {
	if err := checkName("stat", name); err != nil {
		return nil, err
	}
	var i info
	err := f.find(ctx, name, func(at string) (err error) {
		i, err = f.stat(ctx, at)
		return err
	})
	if err != nil {
		return nil, remote.PathError("stat", name, err)
	}
	return i.named(name), nil
}

// stat describes exactly that name.
func (f *FS) stat(ctx context.Context, name string) (i info, err error) {
	err = f.link.do(ctx, func(s *session, _ bool) error {
		i, err = f.statOn(ctx, s, name)
		return err
	})
	return i, err
}

func (f *FS) statOn(ctx context.Context, s *session, name string) (info, error) {
	return call(ctx, s, request[info]{cost: 1, run: func() (info, error) { return s.lib.stat(f.serverPath(name)) }})
}

// ReadDir lists a directory. What replacements that broke off have left in it is
// put right on the way, and not listed.
func (f *FS) ReadDir(ctx context.Context, name string) ([]fs.DirEntry, error) {
	if err := checkName("readdir", name); err != nil {
		return nil, err
	}
	infos, err := f.settle(ctx, name)
	if err != nil {
		return nil, remote.PathError("readdir", name, err)
	}
	entries := make([]fs.DirEntry, len(infos))
	for i, info := range infos {
		entries[i] = entry{info}
	}
	return entries, nil
}

// list returns everything in a directory, sorted.
func (f *FS) list(ctx context.Context, name string) (infos []info, err error) {
	err = f.link.do(ctx, func(s *session, _ bool) error {
		infos, err = roomy(ctx, s, request[[]info]{run: func() ([]info, error) { return s.lib.list(f.serverPath(name)) }})
		return err
	})
	if errors.Is(err, fs.ErrInvalid) { // Samba's answer to who lists a file
		if i, statErr := f.stat(ctx, name); statErr == nil && !i.dir {
			return nil, syscall.ENOTDIR
		}
	}
	if err != nil {
		return nil, err
	}
	for _, i := range infos {
		if !listable(i.name) {
			return nil, errors.New("the server lists a name that cannot be one")
		}
	}
	slices.SortFunc(infos, func(a, b info) int { return strings.Compare(a.name, b.name) })
	return infos, nil
}

// Mkdir makes a directory. After a lost connection a directory that is there is
// fs.ErrExist, though it may be this call's own.
func (f *FS) Mkdir(ctx context.Context, name string) error {
	if err := checkName("mkdir", name); err != nil {
		return err
	}
	return remote.PathError("mkdir", name, f.link.do(ctx, func(s *session, again bool) error {
		if again {
			_, err := f.statOn(ctx, s, name)
			if err == nil {
				return fs.ErrExist
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		_, err := call(ctx, s, request[struct{}]{cost: 1, run: func() (struct{}, error) {
			return struct{}{}, s.lib.Mkdir(f.serverPath(name), 0o777)
		}})
		return err
	}))
}

// Remove removes a file that nobody has open, or an empty directory.
func (f *FS) Remove(ctx context.Context, name string) error {
	if err := checkName("remove", name); err != nil {
		return err
	}
	if name == "." {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrInvalid}
	}
	// The old content of a name must not come back once the name has gone.
	if err := f.settleOnce(ctx, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return remote.PathError("remove", name, err)
	}
	err := f.removeAlone(ctx, name)
	if errors.Is(err, remote.ErrNotEmpty) {
		// It may hold nothing but what a broken replacement left, which no list shows.
		if infos, listErr := f.settle(ctx, name); listErr == nil && len(infos) == 0 {
			err = f.removeAlone(ctx, name)
		}
	}
	return remote.PathError("remove", name, err)
}

// removeAlone waits for a rename of the name that may be under way: the server
// would remove the file under its new name.
func (f *FS) removeAlone(ctx context.Context, name string) error {
	open, err := f.gate(ctx, name)
	if err != nil {
		return err
	}
	defer open()
	return f.remove(ctx, name)
}

// remove removes exactly that name. It waits for others to close it.
func (f *FS) remove(ctx context.Context, name string) error {
	return f.patient(ctx, isBusy, func() error {
		return f.link.do(ctx, func(s *session, again bool) error {
			_, err := call(ctx, s, request[struct{}]{cost: 1, run: func() (struct{}, error) {
				return struct{}{}, s.lib.Remove(f.serverPath(name))
			}})
			if again && errors.Is(err, fs.ErrNotExist) {
				return nil // the earlier try did it
			}
			return err
		})
	})
}

// RemoveAll removes a tree, with many requests in flight.
func (f *FS) RemoveAll(ctx context.Context, name string) error {
	if err := checkName("removeall", name); err != nil {
		return err
	}
	if name == "." {
		return &fs.PathError{Op: "removeall", Path: name, Err: fs.ErrInvalid}
	}
	if err := f.settleOnce(ctx, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return remote.PathError("removeall", name, err)
	}
	err := f.remove(ctx, name)
	if errors.Is(err, remote.ErrNotEmpty) {
		err = f.removeTree(ctx, name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return remote.PathError("removeall", name, err)
}

func (f *FS) removeTree(ctx context.Context, name string) error {
	infos, err := f.list(ctx, name)
	if err != nil {
		return err
	}
	files, bounded := errgroup.WithContext(ctx)
	files.SetLimit(depth)
	for _, i := range infos {
		if !i.dir {
			files.Go(func() error { return absentIsFine(f.remove(bounded, path.Join(name, i.name))) })
		}
	}
	if err := files.Wait(); err != nil {
		return err
	}
	for _, i := range infos {
		if i.dir {
			if err := f.removeTree(ctx, path.Join(name, i.name)); err != nil {
				return err
			}
		}
	}
	return absentIsFine(f.remove(ctx, name))
}

func absentIsFine(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Touch sets the modification time, which the server may round to 100 ns.
func (f *FS) Touch(ctx context.Context, name string, mtime time.Time) error {
	if err := checkName("touch", name); err != nil {
		return err
	}
	return remote.PathError("touch", name, f.link.do(ctx, func(s *session, _ bool) error {
		_, err := call(ctx, s, request[struct{}]{cost: 1, run: func() (struct{}, error) {
			return struct{}{}, s.lib.touch(f.serverPath(name), mtime)
		}})
		return err
	}))
}

// Space is that of the storage below the share, as far as this user may use it.
func (f *FS) Space(ctx context.Context) (remote.Space, error) {
	var space [2]uint64
	err := f.link.do(ctx, func(s *session, _ bool) (err error) {
		space, err = call(ctx, s, request[[2]uint64]{cost: 1, run: func() ([2]uint64, error) {
			total, free, err := s.lib.space(f.serverPath("."))
			return [2]uint64{total, free}, err
		}})
		return err
	})
	if err != nil {
		return remote.Space{}, remote.PathError("space", ".", err)
	}
	total := int64(min(space[0], math.MaxInt64))
	return remote.Space{Total: total, Free: min(int64(min(space[1], math.MaxInt64)), total)}, nil
}

// patient tries again while what fails is worth waiting for, for as long as the
// FS is patient.
func (f *FS) patient(ctx context.Context, worth func(error) bool, try func() error) error {
	deadline := time.Now().Add(f.busy)
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		err := try()
		if err == nil || !worth(err) || time.Now().Add(pause).After(deadline) {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// openOn opens exactly that name on a session.
func (f *FS) openOn(ctx context.Context, s *session, name string, flag int) (*libFile, error) {
	return call(ctx, s, request[*libFile]{
		cost: 1,
		run:  func() (*libFile, error) { return s.lib.openFile(f.serverPath(name), flag) },
		drop: func(file *libFile) {
			_ = file.Close()
			if flag&os.O_EXCL != 0 { // nobody knows of it
				_ = s.lib.Remove(f.serverPath(name))
			}
		},
	})
}

// createOn makes a file. A name drawn by lot that is there after a lost
// connection is this call's own.
func (f *FS) createOn(ctx context.Context, s *session, name string, again bool) (*libFile, error) {
	file, err := f.openOn(ctx, s, name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if again && remote.IsTemp(name) && errors.Is(err, fs.ErrExist) {
		return f.openOn(ctx, s, name, os.O_RDWR)
	}
	return file, err
}
