package vhd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

func isAlias(name string) bool { return strings.HasSuffix(name, aliasSuffix) }

// openLinks opens the images, the oldest for writing. During a resume images may
// be missing. Whatever else is wrong ends the merge before it changes anything.
func (m *merger) openLinks(ctx context.Context) error {
	m.targets = make([]string, len(m.names))
	m.files = make([]DirFile, len(m.names))
	m.links = make([]*Image, len(m.names))
	for i := range m.names {
		if err := m.openLink(ctx, i); err != nil {
			return err
		}
		if m.result.Resumed && len(m.state.Chain) == 0 && m.links[i] != nil && i > 0 && m.links[i].UUID() == m.state.Child {
			m.names, m.targets, m.files, m.links = m.names[:i+1], m.targets[:i+1], m.files[:i+1], m.links[:i+1]
			m.state.Chain = m.names
			break
		}
	}
	if m.result.Resumed && len(m.state.Chain) == 0 {
		return fmt.Errorf("%w: its youngest image is not in the plan", ErrMergeState)
	}
	return nil
}

func (m *merger) openLink(ctx context.Context, i int) error {
	m.targets[i] = m.path(i)
	if !isAlias(m.names[i]) {
		return m.openFile(ctx, i)
	}
	target, err := resolveAlias(ctx, m.dir, m.path(i))
	if err == nil && !m.isOurs(target) {
		err = fmt.Errorf("alias %s: %w", m.path(i), ErrOutside)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) && m.result.Resumed:
		return nil
	case errors.Is(err, ErrNotVHD) && i > 0 && i == m.last() && m.state.Step == StepCleanup:
		return nil // XO was writing it, with the oldest image complete
	case err != nil:
		return err
	}
	m.targets[i] = target
	names, err := m.dir.List(ctx, target)
	switch {
	case errors.Is(err, fs.ErrNotExist) && m.result.Resumed && i > 0:
		return nil // XO removes the data before the alias
	case err != nil:
		return m.openFile(ctx, i) // not a directory, or that fails too
	case m.result.Resumed && i > 0 && isCut(names):
		return nil
	}
	m.links[i], err = OpenDirectory(ctx, m.dir, m.path(i))
	return err
}

// isCut tells whether a part is missing of a disk that is kept as a directory,
// which is proof that its removal has begun.
func isCut(names []string) bool {
	return slices.ContainsFunc([]string{"footer", "header", tableFile}, func(part string) bool { return !slices.Contains(names, part) })
}

// isOurs tells whether what an alias stands for lies below the directory of the
// merge, so that it belongs to no other disk.
func (m *merger) isOurs(target string) bool {
	return m.base == "." || strings.HasPrefix(target, m.base+"/")
}

func (m *merger) openFile(ctx context.Context, i int) error {
	open := m.dir.Open
	opts := OpenOptions{Name: m.path(i)}
	if i == 0 {
		open = m.dir.OpenRW
		if m.result.Resumed || m.torn {
			opts.Mode = Recover
		}
	}
	f, err := open(ctx, m.targets[i])
	if errors.Is(err, fs.ErrNotExist) && m.result.Resumed {
		return nil
	}
	if err != nil {
		return err
	}
	m.files[i] = f
	size, err := f.Size()
	if err != nil {
		return err
	}
	m.links[i], err = Open(f, size, &opts)
	return err
}

// obsolete returns the data that the aliases of the newer images stand for, and
// that goes with them: after the last step no alias tells of it any more.
func (m *merger) obsolete() []string {
	if !isAlias(m.names[0]) {
		return nil
	}
	var names []string
	for i := 1; i <= m.last(); i++ {
		if m.targets[i] != m.targets[0] && m.targets[i] != m.path(i) {
			names = append(names, m.relative(m.targets[i]))
		}
	}
	return names
}

// relative returns the path of what isOurs from the directory of the merge.
func (m *merger) relative(target string) string {
	if m.base == "." {
		return target
	}
	return strings.TrimPrefix(target, m.base+"/")
}

// AliasTarget returns the path in dir of what the alias name stands for. Its
// errors are those of [OpenDirectory]; whether something is there, it does not tell.
func AliasTarget(ctx context.Context, dir Dir, name string) (string, error) {
	return resolveAlias(ctx, dir, name)
}
