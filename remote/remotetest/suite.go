package remotetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/xenbackup/xenbackup/remote"
)

// Test checks that an implementation of [remote.Filesystem] does what its
// interface says, with its capabilities. It works in directories "remotetest-*",
// which must not exist, and removes them. The error joins everything found to be
// wrong; nil means that the implementation has passed.
//
// What [remote.Properties] do not promise is not asked for. What takes more than
// one open Filesystem, or something done to the storage from outside, is in
// [TestHarness].
func Test(ctx context.Context, fsys remote.Filesystem) error {
	checks := []struct {
		promise string
		run     func(context.Context, *suite) error
	}{
		{"names", checkNames},
		{"odd-names", checkOddNames},
		{"equal-names", checkEqualNames},
		{"absence", checkAbsence},
		{"directories", checkDirectories},
		{"listing", checkListing},
		{"exclusive-create", checkExclusiveCreate},
		{"file", checkFile},
		{"read-at", checkReadAt},
		{"reader-at", checkReaderAt},
		{"sparse", checkSparse},
		{"rename", checkRename},
		{"rename-directory", checkRenameDirectory},
		{"open-target", checkOpenTarget},
		{"no-replace", checkNoReplace},
		{"remove", checkRemove},
		{"remove-all", checkRemoveAll},
		{"touch", checkTouch},
		{"space", checkSpace},
		{"writer", checkWriter},
		{"stream", checkStream},
		{"fs", checkFS},
		{"concurrency", checkConcurrency},
		{"metadata-concurrency", checkMetadataConcurrency},
		{"cancel", checkCancel},
	}
	var all []error
	for _, c := range checks {
		s := &suite{Filesystem: fsys, dir: "remotetest-" + c.promise}
		if err := fsys.Mkdir(ctx, s.dir); err != nil {
			return errors.Join(append(all, fmt.Errorf("%s: make its directory: %w", c.promise, err))...)
		}
		if err := c.run(ctx, s); err != nil {
			all = append(all, fmt.Errorf("%s: %w", c.promise, err))
		}
		if err := remote.RemoveAll(ctx, fsys, s.dir); err != nil {
			all = append(all, fmt.Errorf("%s: remove its directory: %w", c.promise, err))
		}
	}
	return errors.Join(all...)
}

// suite is a Filesystem and the directory of one check.
type suite struct {
	remote.Filesystem // the methods alone: capabilities are asked of it, not of suite
	dir               string
}

func (s *suite) in(name string) string { return path.Join(s.dir, name) }

func (s *suite) put(ctx context.Context, name, content string) error {
	return remote.WriteFile(ctx, s.Filesystem, s.in(name), []byte(content))
}

func (s *suite) wantContent(ctx context.Context, name, content string) error {
	got, err := remote.ReadFile(ctx, s.Filesystem, s.in(name), 1<<20)
	if err != nil {
		return err
	}
	if string(got) != content {
		return fmt.Errorf("%s: content is %.40q, want %.40q", name, got, content)
	}
	return nil
}

func (s *suite) wantList(ctx context.Context, want ...string) error {
	entries, err := s.ReadDir(ctx, s.dir)
	if err != nil {
		return err
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("the directory lists %q, want %q", got, want)
	}
	return nil
}

// wantErr checks that errors.Is finds target in err, and that err is a PathError
// or LinkError with slash names.
func wantErr(what string, err, target error) error {
	if err == nil {
		return fmt.Errorf("%s: succeeded, want the error %q", what, target.Error())
	}
	if !errors.Is(err, target) {
		return fmt.Errorf("%s: error is %w, want one that is %q", what, err, target.Error())
	}
	var pathErr *fs.PathError
	var linkErr *os.LinkError
	if !errors.As(err, &pathErr) && !errors.As(err, &linkErr) {
		return fmt.Errorf("%s: error is neither *fs.PathError nor *os.LinkError: %w", what, err)
	}
	if pathErr != nil && strings.HasPrefix(pathErr.Path, "/") && pathErr.Path != "/x" {
		return fmt.Errorf("%s: error names %q, want the name it was asked for", what, pathErr.Path)
	}
	return nil
}

// refused checks an operation that must fail, however.
func refused(what string, err error) error {
	if err == nil {
		return fmt.Errorf("%s: succeeded, want an error", what)
	}
	return nil
}

func pattern(size int, seed byte) []byte {
	return bytes.Repeat([]byte{seed, seed + 1, seed + 2, seed ^ 0x5a, 0}, size/5+1)[:size]
}
