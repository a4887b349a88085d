package vhd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
	if youngest != nil && youngest.UUID() != m.state.Child {
		return fmt.Errorf("%w: %s is another disk", ErrMergeState, youngest.label())
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

// replace renames the complete oldest image over the youngest. Readers of that
// name see the one or the other, both with the same content.
func (m *merger) replace(ctx context.Context) error {
	m.result.Size = m.state.DiskSize
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
	m.result.Size = youngest.fileSize
	if err := m.close(); err != nil {
		return err
	}
	return m.removeRest(ctx)
}

// removeRest removes what nothing needs once the rename is durable: the images
// between, then the state.
func (m *merger) removeRest(ctx context.Context) error {
	if err := m.syncDir(ctx); err != nil {
		return err
	}
	for i := 1; i < m.last(); i++ {
		if err := m.remove(ctx, m.path(i)); err != nil {
			return err
		}
	}
	if m.last() > 1 {
		if err := m.syncDir(ctx); err != nil {
			return err
		}
	}
	if err := m.remove(ctx, m.statePath()); err != nil {
		return err
	}
	m.log.InfoContext(ctx, "merged", "image", m.path(m.last()), "size", m.result.Size)
	return m.syncDir(ctx)
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

func (m *merger) syncDir(ctx context.Context) error {
	if err := m.may(ctx); err != nil {
		return err
	}
	return m.dir.Sync(ctx, m.base)
}
