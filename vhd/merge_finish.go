package vhd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
)

// takeIdentity makes the oldest image, which now holds everything, the youngest.
func (m *merger) takeIdentity(ctx context.Context, p *placement) error {
	footer, youngest := m.links[0].footer, m.links[m.last()].footer
	footer.CurrentSize, footer.OriginalSize, footer.Geometry = youngest.CurrentSize, youngest.OriginalSize, youngest.Geometry
	footer.Timestamp, footer.UUID = youngest.Timestamp, youngest.UUID
	return m.writeFooters(ctx, &footer, p.end)
}

// finish ends a merge whose oldest image is complete, while others may already be gone.
func (m *merger) finish(ctx context.Context) error {
	oldest, youngest := m.links[0], m.links[m.last()]
	for _, link := range []*Image{oldest, youngest} {
		if link != nil && link.UUID() != m.state.Child {
			return fmt.Errorf("%w: %s is another disk", ErrMergeState, link.label())
		}
	}
	if blocks, ok := oldest.source.(*dirBlocks); ok {
		if err := blocks.verifyBlocks(ctx); err != nil {
			return err
		}
		m.state.DiskSize = oldest.asFileSize()
		return m.replace(ctx)
	}
	if len(oldest.bad) > 0 {
		return oldest.findings[0]
	}
	m.state.DiskSize = oldest.fileSize
	if len(oldest.findings) > 0 { // the copies of the footer differ, or one is missing
		footer := oldest.footer
		end := roundUp(oldest.dataEnd, sectorSize)
		if err := m.writeFooters(ctx, &footer, end); err != nil {
			return err
		}
		m.state.DiskSize = end + footerSize
	}
	return m.replace(ctx)
}

// replace renames the complete oldest image, or its alias, over the youngest.
// Readers of that name see the one or the other, both with the same content.
//
// XO removes the youngest first, and then makes its alias anew before it removes
// the other: two moments at which its own repair would take everything away.
func (m *merger) replace(ctx context.Context) error {
	m.result.Size = m.state.DiskSize
	obsolete := m.obsolete()
	if slices.ContainsFunc(obsolete, func(name string) bool { return !slices.Contains(m.state.Obsolete, name) }) {
		m.state.Step, m.state.Obsolete = StepCleanup, obsolete
		if err := m.writeState(ctx); err != nil {
			return err
		}
	}
	if err := m.close(); err != nil {
		return err
	}
	if err := m.may(ctx); err != nil {
		return err
	}
	if err := m.dir.Rename(ctx, m.path(0), m.path(m.last())); err != nil {
		return err
	}
	return m.removeRest(ctx)
}

// afterRename ends a merge whose oldest image is gone: it must have become the youngest.
func (m *merger) afterRename(ctx context.Context) error {
	youngest := m.links[m.last()]
	if youngest == nil {
		return fmt.Errorf("%w: neither %s nor %s exists", ErrMergeState, m.path(0), m.path(m.last()))
	}
	parent := youngest.Parent()
	if youngest.UUID() != m.state.Child {
		return fmt.Errorf("%w: %s is another disk", ErrMergeState, youngest.label())
	}
	if parent.UUID == m.state.Parent || slices.Contains(parent.Names, m.names[m.last()-1]) {
		return fmt.Errorf("%w: %s still needs it: %w", ErrMergeState, youngest.label(), ErrParentNotFound)
	}
	m.result.Size = youngest.asFileSize()
	for i, target := range m.targets[:m.last()] {
		if target != m.path(i) {
			m.state.Obsolete = append(m.state.Obsolete, m.relative(target))
		}
	}
	if err := m.close(); err != nil {
		return err
	}
	return m.removeRest(ctx)
}

// removeRest removes what nothing needs once the rename is durable: the images
// between, then the state.
func (m *merger) removeRest(ctx context.Context) error {
	if err := m.syncDir(ctx, m.base); err != nil {
		return err
	}
	for i := 1; i < m.last(); i++ {
		if err := m.remove(ctx, m.path(i)); err != nil {
			return err
		}
	}
	if m.last() > 1 {
		if err := m.syncDir(ctx, m.base); err != nil {
			return err
		}
	}
	if err := m.removeObsolete(ctx); err != nil {
		return err
	}
	if err := m.remove(ctx, m.statePath()); err != nil {
		return err
	}
	m.log.InfoContext(ctx, "merged", "image", m.path(m.last()), "size", m.result.Size)
	return m.syncDir(ctx, m.base)
}

// removeObsolete removes the data of images whose aliases are gone.
func (m *merger) removeObsolete(ctx context.Context) error {
	if len(m.state.Obsolete) == 0 {
		return nil
	}
	claimed, err := m.claimed(ctx)
	if err != nil {
		return err
	}
	for _, name := range m.state.Obsolete {
		full := path.Join(m.base, name)
		if !fs.ValidPath(name) || name == "." || claimed[full] {
			m.log.WarnContext(ctx, "data of a merged image is in use", "path", full)
			continue
		}
		if err := m.removeTree(ctx, full); err != nil {
			return err
		}
		if err := m.syncDir(ctx, path.Dir(full)); err != nil {
			return err
		}
	}
	return nil
}

// claimed returns what the images that remain consist of: every entry of the
// directory, and what its aliases stand for.
func (m *merger) claimed(ctx context.Context) (map[string]bool, error) {
	names, err := m.dir.List(ctx, m.base)
	if err != nil {
		return nil, err
	}
	claimed := make(map[string]bool, 2*len(names))
	for _, name := range names {
		full := path.Join(m.base, name)
		claimed[full] = true
		if !isAlias(name) {
			continue
		}
		target, err := resolveAlias(ctx, m.dir, full)
		if errors.Is(err, ErrNotVHD) || errors.Is(err, ErrOutside) {
			continue // it stands for nothing here
		}
		if err != nil {
			return nil, err
		}
		for ; target != "."; target = path.Dir(target) {
			claimed[target] = true // no directory above it either
		}
	}
	return claimed, nil
}

// removeTree removes a file, or a directory with everything in it.
func (m *merger) removeTree(ctx context.Context, name string) error {
	err := m.remove(ctx, name)
	if err == nil {
		return nil
	}
	names, listErr := m.dir.List(ctx, name)
	if errors.Is(listErr, fs.ErrNotExist) {
		return m.remove(ctx, name)
	}
	if listErr != nil {
		return errors.Join(err, listErr)
	}
	for _, entry := range names {
		if err := m.removeTree(ctx, path.Join(name, entry)); err != nil {
			return err
		}
	}
	return m.remove(ctx, name)
}

func (m *merger) remove(ctx context.Context, name string) error {
	if err := m.may(ctx); err != nil {
		return err
	}
	err := m.dir.Remove(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (m *merger) syncDir(ctx context.Context, name string) error {
	if err := m.may(ctx); err != nil {
		return err
	}
	err := m.dir.Sync(ctx, name)
	if errors.Is(err, fs.ErrNotExist) && name != m.base {
		return nil
	}
	return err
}
