package filerestore

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// dirSink writes into a directory of this machine.
type dirSink struct {
	root      *os.Root
	overwrite bool
	owners    bool
	dirs      []madeDir // their times and modes come at the end
	made      madeNames // to overwrite what was there before, and no more
}

type madeDir struct {
	name   string
	info   fsys.Info
	xattrs map[string][]byte
}

func (d *dirSink) name(raw string) string {
	if runtime.GOOS == "windows" {
		return windowsName(raw)
	}
	return bytesName(raw)
}

func (d *dirSink) keepsHoles() bool     { return true }
func (d *dirSink) again(*entry) error   { return nil } // adornDirs does it
func (d *dirSink) special(*entry) error { return skip(errSpecial) }

// outcome tells errors that concern one entry from those that end all.
func outcome(err error) error {
	if err == nil || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || isFullOnWindows(err) || errors.Is(err, fs.ErrClosed) {
		return err
	}
	if s, ok := asSkip(err); ok {
		return s
	}
	return skip(err)
}

// isFullOnWindows knows ERROR_HANDLE_DISK_FULL and ERROR_DISK_FULL.
func isFullOnWindows(err error) bool {
	return runtime.GOOS == "windows" && (errors.Is(err, syscall.Errno(39)) || errors.Is(err, syscall.Errno(112)))
}

// parents makes the directories on the way that were not selected themselves.
func (d *dirSink) parents(name string) error {
	dir := path.Dir(name)
	if dir == "." {
		return nil
	}
	return d.root.MkdirAll(filepath.FromSlash(dir), 0o755)
}

func (d *dirSink) directory(e *entry) error {
	name := filepath.FromSlash(e.name)
	err := d.parents(e.name)
	if err == nil {
		err = d.root.Mkdir(name, 0o700)
	}
	if errors.Is(err, fs.ErrExist) {
		info, statErr := d.root.Lstat(name)
		if statErr == nil && info.IsDir() {
			err = nil
		}
	}
	if err != nil {
		return outcome(err)
	}
	d.dirs = append(d.dirs, madeDir{name, e.info, e.xattrs})
	return nil
}

// clear makes room for a name.
func (d *dirSink) clear(e *entry) (name string, err error) {
	name = filepath.FromSlash(e.name)
	if err := d.parents(e.name); err != nil {
		return name, err
	}
	if !d.overwrite {
		return name, nil
	}
	known := d.made.add(d.root, name)
	info, err := d.root.Lstat(name)
	if err != nil || info.IsDir() {
		return name, nil //nolint:nilerr // making it tells
	}
	if known {
		return name, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	return name, d.root.Remove(name)
}

func (d *dirSink) file(e *entry, content *fsys.File, data []span, copier *copier) error {
	name, err := d.clear(e)
	if err != nil {
		return outcome(err)
	}
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return outcome(err)
	}
	err = copier.copy(content, data, func(p []byte, off int64) error {
		_, err := f.WriteAt(p, off)
		return err
	})
	damage, isSkip := asSkip(err)
	if isSkip {
		err = nil
	}
	if err == nil {
		err = f.Truncate(content.Size())
	}
	var problem error
	if err == nil {
		problem = d.adorn(f, e.info, e.xattrs)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return outcome(errors.Join(err, d.root.Remove(name)))
	}
	problem = errors.Join(problem, d.times(name, e.info))
	if isSkip {
		problem = errors.Join(damage.err, problem)
	}
	if problem != nil {
		return &skipError{err: problem, kept: true}
	}
	return nil
}

// adorn sets owner, attributes and mode, in this order: changing the owner takes bits of
// the mode away.
func (d *dirSink) adorn(f *os.File, info fsys.Info, xattrs map[string][]byte) error {
	mode := info.Mode.Perm() | info.Mode&fs.ModeSticky
	var failed error
	if d.owners {
		if failed = f.Chown(int(info.UID), int(info.GID)); failed == nil {
			mode |= info.Mode & (fs.ModeSetuid | fs.ModeSetgid)
		}
	}
	return errors.Join(failed, setXattrs(f, xattrs, d.owners), f.Chmod(mode))
}

func (d *dirSink) times(name string, info fsys.Info) error {
	if info.Modified.IsZero() {
		return nil
	}
	accessed := info.Accessed
	if accessed.IsZero() {
		accessed = info.Modified
	}
	return d.root.Chtimes(name, accessed, info.Modified)
}

func (d *dirSink) link(e *entry) error {
	name, err := d.clear(e)
	if err == nil {
		err = d.root.Link(filepath.FromSlash(e.target), name)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return errors.ErrUnsupported // then it is stored again
	}
	return outcome(err)
}

func (d *dirSink) symlink(e *entry) error {
	name, err := d.clear(e)
	if err == nil {
		err = d.root.Symlink(e.target, name)
	}
	if err == nil && d.owners {
		err = d.root.Lchown(name, int(e.info.UID), int(e.info.GID))
	}
	return outcome(err)
}

func (d *dirSink) finish(*Report) error { return nil } // adornDirs does it, in any case

// adornDirs gives directories what they had, the deepest first: after that, this user may
// have no right to go in.
func (d *dirSink) adornDirs(r *Report) {
	for _, dir := range slices.Backward(d.dirs) {
		err := d.adornDir(dir)
		if err == nil {
			continue
		}
		r.skip("", strings.ReplaceAll(dir.name, string(filepath.Separator), "/"), err)
	}
}

func (d *dirSink) adornDir(dir madeDir) error {
	f, err := d.root.Open(dir.name)
	if err != nil {
		return err
	}
	defer f.Close()
	return errors.Join(d.adorn(f, dir.info, dir.xattrs), d.times(dir.name, dir.info))
}
