package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/vhd"
)

// merger is one run of Session.Merge.
type merger struct {
	s      *Session
	opts   *MergeOptions
	report *MergeReport

	points  []*Point
	files   []string         // in the directory of the VM
	refs    map[string]bool  // disks that points refer to, from the root
	dirs    []*vdiDir        // sorted
	blocked bool             // something of the VM is unknown: change nothing
	sizes   map[string]int64 // of merged disks, by path from the root
}

func (m *merger) run(ctx context.Context) error {
	if err := m.readPoints(ctx); err != nil {
		return err
	}
	if err := m.readDirs(ctx); err != nil {
		return err
	}
	if err := m.proveUnused(ctx); err != nil {
		return err
	}
	if m.blocked {
		return nil
	}
	if err := m.removeTemps(ctx); err != nil {
		return err
	}
	// That a JSON is gone must be durable before its disks are touched: whoever
	// removed it may have been killed before that.
	if err := remote.SyncDir(ctx, m.s.fsys, m.s.dir); err != nil {
		return fmt.Errorf("catalog: vm %s: %w", m.s.vm, err)
	}
	var errs []error
	for _, d := range m.dirs {
		if !d.leave {
			errs = append(errs, m.resume(ctx, d))
		}
	}
	for _, d := range m.dirs {
		if !d.leave {
			errs = append(errs, m.openDisks(ctx, d))
		}
	}
	if err := m.stopped(ctx, errs); err != nil || m.blocked {
		return errors.Join(append(errs, err, m.finish(ctx))...)
	}
	for _, d := range m.dirs {
		if !d.leave {
			errs = append(errs, m.tidy(ctx, d))
		}
		if err := m.stopped(ctx, errs); err != nil {
			return errors.Join(append(errs, err)...)
		}
	}
	errs = append(errs, m.finish(ctx), m.removeArchives(ctx))
	return errors.Join(errs...)
}

// stopped tells whether going on is pointless.
func (m *merger) stopped(ctx context.Context, errs []error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Join(errs...) == nil {
		return nil
	}
	return m.s.Err()
}

// readPoints reads every JSON. One that cannot be read may refer to anything.
func (m *merger) readPoints(ctx context.Context) error {
	entries, err := m.s.fsys.ReadDir(ctx, m.s.dir)
	if err != nil {
		return fmt.Errorf("catalog: list vm %s: %w", m.s.vm, err)
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		m.files = append(m.files, e.Name())
		if !isPointName(e.Name()) {
			continue
		}
		p, err := m.s.c.readPoint(ctx, path.Join(m.s.dir, e.Name()))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			err = m.refer(p)
		}
		if err != nil {
			m.unknown(path.Join(m.s.dir, e.Name()), err)
			m.blocked = true
			continue
		}
		m.points = append(m.points, p)
	}
	return nil
}

func (m *merger) refer(p *Point) error {
	for _, rel := range p.Metadata.VHDs {
		name, err := within(m.s.dir, m.s.dir, rel)
		if err != nil {
			return newPointError(p.ID, err)
		}
		m.refs[name] = true
	}
	return nil
}

// removeTemps removes the leavings of writers that did not come to an end:
// under the lock there is no other.
func (m *merger) removeTemps(ctx context.Context) error {
	for _, name := range m.files {
		if err := m.removeTemp(ctx, m.s.dir, name); err != nil {
			return err
		}
	}
	for _, d := range m.dirs {
		for _, name := range d.temps {
			if err := m.removeTemp(ctx, d.path, name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *merger) removeTemp(ctx context.Context, dir, name string) error {
	full := path.Join(dir, name)
	if !remote.IsTemp(name) || m.refs[full] {
		return nil
	}
	return m.remove(ctx, full)
}

func (m *merger) remove(ctx context.Context, name string) error {
	if err := m.s.fsys.Remove(ctx, name); err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	m.report.Removed = append(m.report.Removed, m.rel(name))
	return nil
}

// finish brings up to date what depends on the merges that were made.
func (m *merger) finish(ctx context.Context) error {
	var errs []error
	for _, p := range m.points {
		errs = append(errs, m.updatePoint(ctx, p))
	}
	return errors.Join(append(errs, m.s.dropCache(ctx))...)
}

// updatePoint writes the metadata of a point whose disks were merged as Xen
// Orchestra does: the size is that of the merged disks, and none counts as a
// difference any more. Where a file cannot be replaced atomically the metadata
// stays as it is: both fields only inform.
func (m *merger) updatePoint(ctx context.Context, p *Point) error {
	size, merged := int64(0), false
	for _, rel := range p.Metadata.VHDs {
		if n, ok := m.sizes[path.Join(m.s.dir, rel)]; ok {
			size, merged = size+n, true
		}
	}
	if !merged || !m.s.fsys.Properties().AtomicReplace {
		return nil
	}
	p.Metadata.Size = size
	p.Metadata.IsVHDDifferencing = make(map[string]bool, len(p.Metadata.VHDs))
	for ref := range p.Metadata.VHDs {
		p.Metadata.IsVHDDifferencing[ref] = false
	}
	data, err := p.Metadata.MarshalJSON()
	if err != nil {
		return err
	}
	err = remote.WriteFile(ctx, m.s.fsys, p.ID, data)
	if errors.Is(err, fs.ErrPermission) {
		m.left(p.ID, err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("catalog: point %s: %w", p.ID, err)
	}
	return nil
}

// removeArchives removes archives that lost their JSON in a deletion that was
// interrupted. A VM without any point is not touched: a listing may lie.
func (m *merger) removeArchives(ctx context.Context) error {
	used := map[string]bool{}
	for _, p := range m.points {
		used[strings.TrimSuffix(path.Base(p.ID), ".json")+".xva"] = true
		used[path.Clean(p.Metadata.XVA)] = true
	}
	if len(m.points) == 0 {
		return nil
	}
	for _, name := range m.files {
		archive := strings.TrimSuffix(name, ".checksum")
		stem, ok := strings.CutSuffix(archive, ".xva")
		if _, err := ParseDate(stem); !ok || err != nil || used[archive] {
			continue
		}
		if err := m.remove(ctx, path.Join(m.s.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func (m *merger) rel(name string) string { return strings.TrimPrefix(name, m.s.dir+"/") }

func (m *merger) unknown(name string, err error) {
	m.report.Unknown = append(m.report.Unknown, Finding{m.rel(name), err})
}

func (m *merger) left(name string, err error) {
	m.report.Left = append(m.report.Left, Finding{m.rel(name), err})
}

// merge runs or resumes one merge in the directory d.
func (m *merger) merge(ctx context.Context, d *vdiDir, chain []string, resumed bool) error {
	youngest := path.Join(d.path, chain[len(chain)-1])
	opts := &vhd.MergeOptions{Logger: m.s.c.log, Lost: m.s.Err}
	if m.opts.Progress != nil {
		opts.Progress = func(done, total int64) { m.opts.Progress(m.rel(youngest), done, total) }
	}
	res, err := vhd.Merge(ctx, &diskDir{m.s.fsys, d.path}, &vhd.MergePlan{Chain: chain}, opts)
	if err != nil {
		err = fmt.Errorf("catalog: merge %s: %w", youngest, err)
		m.unknown(youngest, err)
		return err
	}
	m.sizes[youngest] = res.Size
	m.report.Merged = append(m.report.Merged, MergedDisk{
		Path: m.rel(youngest), Chain: chain, Size: res.Size, Bytes: res.Merged, Resumed: resumed,
	})
	return nil
}
