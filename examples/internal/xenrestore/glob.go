package xenrestore

import (
	"context"
	"errors"
	"iter"
	"path"
	"strings"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// glob is a pattern of paths: element by element as path.Match has it, and "**" for any
// number of directories.
type glob []string

// parseGlob reads what somebody types. A pattern may begin with a slash or not.
func parseGlob(typed string) (glob, error) {
	g := glob(strings.Split(fsPath(typed), "/"))
	for _, element := range g {
		if _, err := path.Match(element, ""); err != nil {
			return nil, command.UsageError("not a pattern: " + typed)
		}
	}
	return g, nil
}

// isGlob tells that a path is a pattern, if it is nothing that is there.
func isGlob(typed string) bool { return strings.ContainsAny(typed, `*?[\`) }

// match tells whether the pattern is of these elements of a path.
func (g glob) match(elements []string) bool {
	// reached tells which prefixes of elements the pattern so far is of
	reached := make([]bool, len(elements)+1)
	reached[0] = true
	for _, element := range g {
		next := make([]bool, len(elements)+1)
		for i := range reached {
			switch {
			case element == "**":
				next[i] = reached[i] || i > 0 && next[i-1]
			case i > 0 && reached[i-1]:
				next[i], _ = path.Match(element, elements[i-1])
			}
		}
		reached = next
	}
	return reached[len(elements)]
}

// fixed is how many elements at the beginning are names alone.
func (g glob) fixed() int {
	for i, element := range g {
		if isGlob(element) {
			return i
		}
	}
	return len(g)
}

// matches walks the volume as far as needed, and yields what the pattern is of: the path
// and the description. What cannot be read is yielded as an error with its path. The end
// of ctx ends it.
func (g glob) matches(ctx context.Context, files fsys.FS) iter.Seq2[match, error] {
	return func(yield func(match, error) bool) {
		base := g[:min(g.fixed(), len(g)-1)]
		top, err := files.Lstat(path.Join(append([]string{"."}, base...)...))
		if err != nil || !top.IsDir() {
			return // nothing can match
		}
		info, ok := top.Sys().(*fsys.Info)
		if !ok {
			yield(match{}, fsys.ErrUnsupported)
			return
		}
		elements := append([]string{}, base...)
		for item, err := range fsys.Walk(ctx, files, info.Node, nil) {
			if context.Cause(ctx) != nil || errors.Is(err, fsys.ErrLimit) {
				yield(match{ended: true}, errors.Join(context.Cause(ctx), err))
				return
			}
			elements = append(elements[:len(base)+max(0, item.Depth-1)], fsys.Escape(item.Entry.Name))
			if err == nil && !g.match(elements) {
				continue
			}
			if !yield(match{path: strings.Join(elements, "/"), info: item.Info}, err) {
				return
			}
		}
	}
}

// match is what a pattern is of.
type match struct {
	path  string // as fs.FS has it
	info  fsys.Info
	ended bool // with an error: nothing follows
}
