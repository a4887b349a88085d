package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
)

// finish brings up to date what depends on the merges that were made.
func (m *merger) finish(ctx context.Context) error {
	if m.clean != nil && len(m.report.Merged) == 0 {
		return nil
	}
	cache, err := m.s.keepCache(ctx, len(m.points))
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range m.points {
		if _, merged := m.mergedSize(p); !merged {
			continue
		}
		if err := cache.remove(ctx); err != nil {
			return err
		}
		cache.put(p.ID, nil)
		errs = append(errs, m.updatePoint(ctx, p))
	}
	if !cache.isRight() {
		errs = append(errs, cache.save(ctx))
	}
	return errors.Join(errs...)
}

// mergedSize is the size of those disks of p that were merged, if any were.
func (m *merger) mergedSize(p *Point) (size int64, merged bool) {
	for _, rel := range p.Metadata.VHDs {
		if n, ok := m.sizes[path.Join(m.s.dir, rel)]; ok {
			size, merged = size+n, true
		}
	}
	return size, merged
}

// updatePoint writes the metadata of a point whose disks were merged as Xen
// Orchestra does: the size is that of the merged disks, and none counts as a
// difference any more. Where a file cannot be replaced atomically the metadata
// stays as it is: both fields only inform.
func (m *merger) updatePoint(ctx context.Context, p *Point) error {
	size, merged := m.mergedSize(p)
	if !merged || !m.s.fsys.Properties().AtomicReplace {
		return nil
	}
	return m.rewritePoint(ctx, p, size)
}

func (m *merger) rewritePoint(ctx context.Context, p *Point, size int64) error {
	p.Metadata.Size = size
	p.Metadata.IsVHDDifferencing = make(map[string]bool, len(p.Metadata.VHDs))
	for ref := range p.Metadata.VHDs {
		p.Metadata.IsVHDDifferencing[ref] = false
	}
	data, err := p.Metadata.MarshalJSON()
	if err != nil {
		return err
	}
	err = m.s.replaceMetadata(ctx, p.ID, data)
	if errors.Is(err, fs.ErrPermission) {
		m.left(p.ID, err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("catalog: point %s: %w", p.ID, err)
	}
	return nil
}
