package remotetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

func checkAbsence(ctx context.Context, s *suite) error {
	_, statErr := s.Stat(ctx, s.in("none"))
	_, openErr := s.OpenFile(ctx, s.in("none"), os.O_RDWR)
	_, createErr := s.OpenFile(ctx, s.in("none/file"), CreateNew)
	_, listErr := s.ReadDir(ctx, s.in("none"))
	return errors.Join(
		wantErr("Stat of nothing", statErr, fs.ErrNotExist),
		wantErr("OpenFile of nothing", openErr, fs.ErrNotExist),
		wantErr("OpenFile in a directory that is not there", createErr, fs.ErrNotExist),
		wantErr("ReadDir of nothing", listErr, fs.ErrNotExist),
		wantErr("Remove of nothing", s.Remove(ctx, s.in("none")), fs.ErrNotExist),
		wantErr("Rename of nothing", s.Rename(ctx, s.in("none"), s.in("other")), fs.ErrNotExist),
		wantErr("Mkdir in a directory that is not there", s.Mkdir(ctx, s.in("none/dir")), fs.ErrNotExist))
}

func checkDirectories(ctx context.Context, s *suite) error {
	if err := s.Mkdir(ctx, s.in("d")); err != nil {
		return err
	}
	info, err := s.Stat(ctx, s.in("d"))
	if err != nil {
		return err
	}
	if !info.IsDir() || info.Name() != "d" {
		return fmt.Errorf("Stat of directory d: name %q, mode %v", info.Name(), info.Mode())
	}
	root, err := s.Stat(ctx, ".")
	if err != nil || !root.IsDir() {
		return fmt.Errorf("Stat of the root: %w", errors.Join(err, errors.New("not a directory")))
	}
	_, openErr := s.OpenFile(ctx, s.in("d"), os.O_RDONLY)
	return errors.Join(
		wantErr("Mkdir twice", s.Mkdir(ctx, s.in("d")), fs.ErrExist),
		refused("OpenFile of a directory", openErr),
		remote.SyncDir(ctx, s.Filesystem, s.in("d")))
}

func checkListing(ctx context.Context, s *suite) error {
	if err := s.Mkdir(ctx, s.in("b")); err != nil {
		return err
	}
	if err := errors.Join(s.put(ctx, "c", "ccc"), s.put(ctx, "a", "a")); err != nil {
		return err
	}
	if err := s.wantList(ctx, "a", "b", "c"); err != nil {
		return err
	}
	entries, err := s.ReadDir(ctx, s.dir)
	if err != nil {
		return err
	}
	info, err := entries[2].Info()
	if err != nil {
		return err
	}
	if !entries[1].IsDir() || entries[2].IsDir() || info.Size() != 3 {
		return fmt.Errorf("listing says of directory b %v, of a file of 3 bytes %v and %d bytes", entries[1].Type(), entries[2].Type(), info.Size())
	}
	_, err = s.ReadDir(ctx, s.in("a"))
	return refused("ReadDir of a file", err)
}

func checkRename(ctx context.Context, s *suite) error {
	if err := errors.Join(s.put(ctx, "a", "new"), s.put(ctx, "b", "old"), s.Mkdir(ctx, s.in("d"))); err != nil {
		return err
	}
	if err := s.Rename(ctx, s.in("a"), s.in("b")); err != nil {
		return fmt.Errorf("rename over a file: %w", err)
	}
	if err := errors.Join(s.wantContent(ctx, "b", "new"), s.wantList(ctx, "b", "d")); err != nil {
		return err
	}
	if err := s.Rename(ctx, s.in("b"), s.in("d/b")); err != nil {
		return fmt.Errorf("rename into another directory: %w", err)
	}
	return errors.Join(s.wantContent(ctx, "d/b", "new"), s.wantList(ctx, "d"))
}

func checkRenameDirectory(ctx context.Context, s *suite) error {
	if err := errors.Join(s.Mkdir(ctx, s.in("a")), s.Mkdir(ctx, s.in("b"))); err != nil {
		return err
	}
	if err := errors.Join(s.put(ctx, "a/x", "x"), s.put(ctx, "b/y", "y")); err != nil {
		return err
	}
	if err := refused("rename over a directory that is not empty", s.Rename(ctx, s.in("a"), s.in("b"))); err != nil {
		return err
	}
	if err := errors.Join(s.wantContent(ctx, "a/x", "x"), s.wantContent(ctx, "b/y", "y")); err != nil {
		return err
	}
	if err := s.Rename(ctx, s.in("a"), s.in("c")); err != nil {
		return err
	}
	if err := errors.Join(s.wantContent(ctx, "c/x", "x"), s.wantList(ctx, "b", "c")); err != nil {
		return err
	}
	return s.renameAcrossKinds(ctx)
}

// renameAcrossKinds: a file never replaces a directory, nor the other way round;
// an empty directory may be replaced by one, or not.
func (s *suite) renameAcrossKinds(ctx context.Context) error {
	if err := errors.Join(s.Mkdir(ctx, s.in("empty")), s.put(ctx, "file", "file")); err != nil {
		return err
	}
	if err := errors.Join(
		refused("rename of a file over a directory", s.Rename(ctx, s.in("file"), s.in("empty"))),
		refused("rename of a directory over a file", s.Rename(ctx, s.in("c"), s.in("file"))),
		refused("rename of a directory into itself", s.Rename(ctx, s.in("c"), s.in("c/d"))),
		s.wantContent(ctx, "file", "file"), s.wantContent(ctx, "c/x", "x"), s.wantList(ctx, "b", "c", "empty", "file")); err != nil {
		return err
	}
	if err := s.Rename(ctx, s.in("c"), s.in("empty")); err != nil {
		return errors.Join(s.wantContent(ctx, "c/x", "x"), s.wantList(ctx, "b", "c", "empty", "file"))
	}
	return errors.Join(s.wantContent(ctx, "empty/x", "x"), s.wantList(ctx, "b", "empty", "file"))
}

func checkNoReplace(ctx context.Context, s *suite) error {
	r, ok := remote.As[remote.NoReplacer](s.Filesystem)
	if !ok {
		return nil
	}
	if err := errors.Join(s.put(ctx, "a", "a"), s.put(ctx, "b", "b")); err != nil {
		return err
	}
	err := r.RenameNoReplace(ctx, s.in("a"), s.in("b"))
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err := errors.Join(wantErr("RenameNoReplace over a file", err, fs.ErrExist), s.wantContent(ctx, "b", "b")); err != nil {
		return err
	}
	if err := r.RenameNoReplace(ctx, s.in("a"), s.in("c")); err != nil {
		return err
	}
	return errors.Join(s.wantContent(ctx, "c", "a"), s.wantList(ctx, "b", "c"))
}

func checkRemove(ctx context.Context, s *suite) error {
	if err := errors.Join(s.Mkdir(ctx, s.in("d")), s.put(ctx, "d/f", "f")); err != nil {
		return err
	}
	err := s.Remove(ctx, s.in("d"))
	if err := wantErr("Remove of a directory that is not empty", err, remote.ErrNotEmpty); err != nil {
		return err
	}
	if errors.Is(err, fs.ErrExist) {
		return errors.New("Remove of a directory that is not empty: the error must not be fs.ErrExist")
	}
	return errors.Join(s.Remove(ctx, s.in("d/f")), s.Remove(ctx, s.in("d")), s.wantList(ctx))
}

func checkRemoveAll(ctx context.Context, s *suite) error {
	if err := remote.MkdirAll(ctx, s.Filesystem, s.in("d/e/f")); err != nil {
		return err
	}
	if err := errors.Join(s.put(ctx, "d/e/x", "x"), s.put(ctx, "keep", "k")); err != nil {
		return err
	}
	return errors.Join(
		remote.RemoveAll(ctx, s.Filesystem, s.in("d")),
		remote.RemoveAll(ctx, s.Filesystem, s.in("d")), // again: no error
		s.wantList(ctx, "keep"))
}

func checkTouch(ctx context.Context, s *suite) error {
	t, ok := remote.As[remote.Toucher](s.Filesystem)
	if !ok {
		return nil
	}
	if err := errors.Join(s.put(ctx, "f", "f"), s.Mkdir(ctx, s.in("d"))); err != nil {
		return err
	}
	want := time.Date(2026, 11, 22, 1, 2, 4, 0, time.UTC)
	for _, name := range []string{"f", "d"} {
		if err := t.Touch(ctx, s.in(name), want); err != nil {
			return err
		}
		info, err := s.Stat(ctx, s.in(name))
		if err != nil {
			return err
		}
		if !info.ModTime().Equal(want) {
			return fmt.Errorf("Touch of %s: time is %v, want %v", name, info.ModTime(), want)
		}
	}
	return wantErr("Touch of nothing", t.Touch(ctx, s.in("none"), want), fs.ErrNotExist)
}

func checkSpace(ctx context.Context, s *suite) error {
	r, ok := remote.As[remote.SpaceReporter](s.Filesystem)
	if !ok {
		return nil
	}
	space, err := r.Space(ctx)
	if err == nil && (space.Free < 0 || space.Total < space.Free) {
		return fmt.Errorf("Space: %d bytes free of %d", space.Free, space.Total)
	}
	return err
}
