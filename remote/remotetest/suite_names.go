package remotetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/xenbackup/xenbackup/remote"
)

// checkNames: what is no name is refused; what is one keeps its spelling.
func checkNames(ctx context.Context, s *suite) error {
	var errs []error
	for _, name := range []string{"", "/x", "x/", "a//b", "../x", "a/../b", "./x"} {
		_, err := s.Stat(ctx, name)
		errs = append(errs, wantErr(fmt.Sprintf("Stat(%q)", name), err, fs.ErrInvalid))
		_, err = s.OpenFile(ctx, name, CreateNew)
		errs = append(errs,
			wantErr(fmt.Sprintf("OpenFile(%q)", name), err, fs.ErrInvalid),
			wantErr(fmt.Sprintf("Mkdir(%q)", name), s.Mkdir(ctx, name), fs.ErrInvalid),
			wantErr(fmt.Sprintf("Remove(%q)", name), s.Remove(ctx, name), fs.ErrInvalid),
			wantErr(fmt.Sprintf("Rename to %q", name), s.Rename(ctx, s.dir, name), fs.ErrInvalid))
	}
	errs = append(errs,
		wantErr("a name of 300 bytes", s.Mkdir(ctx, s.in(strings.Repeat("n", 300))), fs.ErrInvalid),
		wantErr("a name with a NUL", s.Mkdir(ctx, s.in("a\x00b")), fs.ErrInvalid))
	for _, base := range []string{
		".hidden", "with space", "ünïcode 日本 \U0001f4be", "20261122T010000Z.json", "a%2Fb", "a&b;c='d'", "{}[]()!@#$^~`+,",
		strings.Repeat("n", 200), // Create adds 22 bytes
	} {
		errs = append(errs, s.put(ctx, base, base), s.wantContent(ctx, base, base))
	}
	errs = append(errs, s.longest(ctx))
	return errors.Join(errs...)
}

// longest is a name of 255 bytes, as every file system of today has.
func (s *suite) longest(ctx context.Context) error {
	base := strings.Repeat("L", 255)
	if err := s.Mkdir(ctx, s.in(base)); err != nil {
		return fmt.Errorf("a name of 255 bytes: %w", err)
	}
	return errors.Join(s.has(ctx, base), s.Remove(ctx, s.in(base)))
}

// has checks that the listing has a name in exactly this spelling.
func (s *suite) has(ctx context.Context, base string) error {
	entries, err := s.ReadDir(ctx, s.dir)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == base }) {
		return fmt.Errorf("%q was made, and is not in the listing", base)
	}
	return nil
}

// checkOddNames: what some systems cannot hold is refused as invalid, or is kept;
// it never becomes another name.
func checkOddNames(ctx context.Context, s *suite) error {
	invalid := s.Properties().InvalidRunes
	var errs []error
	for _, base := range []string{
		"a:b", "a?b", "a*b", "a<b", "a>b", "a|b", `a"b`, `a\b`, "a\x01b", "trailing.", "trailing ", "CON", "aux.txt", "lpt1", "..name", "a~1",
	} {
		err := s.Mkdir(ctx, s.in(base))
		switch {
		case strings.ContainsAny(base, invalid):
			errs = append(errs, wantErr(fmt.Sprintf("a name with a rune that is declared invalid: %q", base), err, fs.ErrInvalid))
		case err == nil:
			errs = append(errs, s.has(ctx, base), s.Remove(ctx, s.in(base)))
		default:
			errs = append(errs, wantErr(fmt.Sprintf("the name %q", base), err, fs.ErrInvalid))
		}
	}
	return errors.Join(append(errs, s.wantList(ctx))...)
}

// checkEqualNames: names that differ in case, or in how an accent is composed, are
// different files or the same one, as declared of case; never half of each.
func checkEqualNames(ctx context.Context, s *suite) error {
	differ, err := s.differ(ctx, "Case", "cASE")
	if err != nil {
		return err
	}
	if declared := s.Properties().CaseSensitive; differ != declared {
		return fmt.Errorf("names that differ in case are different files: %v; declared: %v", differ, declared)
	}
	_, err = s.differ(ctx, "\u00e9t\u00e9", "e\u0301te\u0301")
	return err
}

// differ puts two contents under two names and tells how many files that made.
func (s *suite) differ(ctx context.Context, a, b string) (bool, error) {
	if err := errors.Join(s.put(ctx, a, "first"), s.put(ctx, b, "second"), s.wantContent(ctx, b, "second")); err != nil {
		return false, err
	}
	got, err := remote.ReadFile(ctx, s.Filesystem, s.in(a), 100)
	if err != nil {
		return false, err
	}
	entries, err := s.ReadDir(ctx, s.dir)
	if err != nil {
		return false, err
	}
	want := map[string]int{"first": 2, "second": 1}[string(got)]
	if len(entries) != want {
		return false, fmt.Errorf("%q and %q: one reads %q, and there are %d entries", a, b, got, len(entries))
	}
	for _, name := range []string{a, b}[:want] {
		if err := s.Remove(ctx, s.in(name)); err != nil {
			return false, err
		}
	}
	return want == 2, nil
}
