package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/vhd"
)

// merger is one run of Session.Merge, or of a clean, which finds more and does
// otherwise with it.
type merger struct {
	s      *Session
	opts   *MergeOptions
	clean  *cleaner // nil for a merge
	change *change  // nil when nothing is changed
	start  time.Time
	guard  func() (*Immutability, error) // of the repository; asked when something is to be merged

	points []*Point
	files  []string        // in the directory of the VM
	refs   map[string]bool // disks that points refer to, from the root
	dirs   []*vdiDir       // sorted

	mu      sync.Mutex // of all below: directories are put in order several at once
	report  *MergeReport
	blocked bool             // something of the VM is unknown: change nothing
	sizes   map[string]int64 // of merged disks, by path from the root
	begun   int              // merges, by this run
	bytes   int64            // that they moved
}

func newMerger(s *Session, opts *MergeOptions) *merger {
	if opts == nil {
		opts = &MergeOptions{}
	}
	return &merger{
		s: s, opts: opts, start: time.Now(), report: &MergeReport{},
		sizes: map[string]int64{}, refs: map[string]bool{},
	}
}

func (m *merger) run(ctx context.Context) error {
	m.guard = sync.OnceValues(func() (*Immutability, error) { return m.s.c.Immutability(ctx) })
	if err := m.readPoints(ctx); err != nil {
		return err
	}
	if err := m.readDirs(ctx); err != nil {
		return err
	}
	if err := m.proveUnused(ctx); err != nil {
		return err
	}
	if m.isBlocked() {
		return nil
	}
	if err := m.removeTemps(ctx); err != nil {
		return err
	}
	// That a JSON is gone must be durable before its disks are touched: whoever
	// removed it may have been killed before that.
	if err := m.syncVM(ctx); err != nil {
		return err
	}
	errs := []error{m.eachDir(ctx, m.resume)}
	for _, d := range m.dirs {
		if !d.leave {
			errs = append(errs, m.openDisks(ctx, d))
		}
	}
	if err := m.stopped(ctx, errs); err != nil || m.isBlocked() {
		return errors.Join(append(errs, err, m.finish(ctx))...)
	}
	if err := m.beforeRemoval(ctx); err != nil {
		return errors.Join(append(errs, err)...)
	}
	errs = append(errs, m.eachDir(ctx, m.tidy))
	if err := m.stopped(ctx, errs); err != nil {
		return errors.Join(append(errs, err)...)
	}
	errs = append(errs, m.finish(ctx), m.removeArchives(ctx))
	if !m.isDry() {
		errs = append(errs, m.s.sweepEvidence(ctx))
	}
	return errors.Join(errs...)
}

// eachDir puts directories in order, several at once. What fails in one does not
// stop the others; the end of ctx, or of the lock, does.
func (m *merger) eachDir(ctx context.Context, do func(context.Context, *vdiDir) error) error {
	errs := make([]error, len(m.dirs))
	slots := make(chan struct{}, max(1, m.opts.Parallel))
	var running sync.WaitGroup
	for i, d := range m.dirs {
		slots <- struct{}{}
		if ctx.Err() != nil || m.lost() != nil {
			break
		}
		running.Go(func() {
			defer func() { <-slots }()
			if !d.leave {
				errs[i] = do(ctx, d)
			}
		})
	}
	running.Wait()
	return errors.Join(append(errs, m.lost())...)
}

func (m *merger) syncVM(ctx context.Context) error {
	if m.isDry() {
		return nil
	}
	if err := remote.SyncDir(ctx, m.s.fsys, m.s.dir); err != nil {
		return fmt.Errorf("catalog: vm %s: %w", m.s.vm, err)
	}
	return nil
}

// stopped tells whether going on is pointless.
func (m *merger) stopped(ctx context.Context, errs []error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Join(errs...) == nil {
		return nil
	}
	return m.lost()
}

// lost is non-nil once the lock is; looking needs none.
func (m *merger) lost() error {
	if m.isDry() {
		return nil
	}
	return m.s.Err()
}

// block: nothing of the VM may be changed any more, since something is unknown.
func (m *merger) block() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blocked = true
}

func (m *merger) isBlocked() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.blocked
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
			m.block()
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
	if m.clean != nil {
		return m.clean.temp(ctx, full)
	}
	return m.remove(ctx, full)
}

// discard removes what is proven to be garbage. A clean does so only when it was
// so before, and moves it aside; hold lets it be remembered and no more.
func (m *merger) discard(ctx context.Context, g garbageItem) (gone bool, err error) {
	if m.clean != nil {
		return m.clean.discard(ctx, g)
	}
	if m.s.lock.HolderMayReturn() {
		m.left(g.name, ErrHolderSilent)
		return false, nil
	}
	if g.isTree {
		err = remote.RemoveAll(ctx, m.s.fsys, g.name)
	} else {
		err = m.s.fsys.Remove(ctx, g.name)
	}
	switch {
	case errors.Is(err, fs.ErrPermission): // something guards it
		m.left(g.name, err)
		return false, nil
	case err != nil:
		return false, fmt.Errorf("catalog: %w", err)
	}
	m.removed(g.name)
	return true, nil
}

func (m *merger) remove(ctx context.Context, name string) error {
	if err := m.s.fsys.Remove(ctx, name); err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	m.removed(name)
	return nil
}

func (m *merger) removed(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.report.Removed = append(m.report.Removed, m.rel(name))
}

func (m *merger) isDry() bool { return m.clean != nil && m.clean.dry }

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

// removeArchives removes archives that lost their JSON in a deletion that was
// interrupted. A VM without any point is not touched: a listing may lie.
func (m *merger) removeArchives(ctx context.Context) error {
	used := map[string]bool{}
	for _, p := range m.points {
		used[strings.TrimSuffix(path.Base(p.ID), ".json")+".xva"] = true
		used[path.Clean(p.Metadata.XVA)] = true
	}
	if len(m.points) == 0 && m.clean == nil {
		return nil
	}
	for _, name := range m.files {
		archive := strings.TrimSuffix(name, ".checksum")
		stem, ok := strings.CutSuffix(archive, ".xva")
		if _, err := ParseDate(stem); !ok || err != nil || used[archive] {
			continue
		}
		g := garbageItem{name: path.Join(m.s.dir, name), kind: KindArchive, err: errNoPoint}
		if _, err := m.discard(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

func (m *merger) rel(name string) string { return strings.TrimPrefix(name, m.s.dir+"/") }

func (m *merger) unknown(name string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.report.Unknown = append(m.report.Unknown, Finding{m.rel(name), err})
}

func (m *merger) left(name string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.report.Left = append(m.report.Left, Finding{m.rel(name), err})
}

// merge runs or resumes one merge in the directory d.
func (m *merger) merge(ctx context.Context, d *vdiDir, chain []string, resumed bool) error {
	youngest := path.Join(d.path, chain[len(chain)-1])
	if m.clean != nil && !m.clean.mayMerge(youngest, chain, resumed) {
		return nil
	}
	if !m.mayBegin(resumed) {
		m.deferred(youngest)
		return nil
	}
	if err := m.guarded(path.Base(youngest)); err != nil && !resumed {
		m.left(youngest, err)
		return nil
	}
	opts := &vhd.MergeOptions{Logger: m.s.c.log, Lost: m.change.lost(ctx)}
	if m.opts.Progress != nil {
		opts.Progress = func(done, total int64) { m.progress(youngest, done, total) }
	}
	if err := foresee(ctx, m.s.fsys, d.path, chain); err != nil {
		m.unknown(youngest, err)
		return err
	}
	res, err := vhd.Merge(ctx, &diskDir{m.s.fsys, d.path}, &vhd.MergePlan{Chain: chain}, opts)
	m.mu.Lock()
	m.bytes += res.Merged
	m.mu.Unlock()
	if errors.Is(err, ErrLeased) { // a reader waits: what was begun is finished another time
		m.left(youngest, err)
		m.block()
		return nil
	}
	if errors.Is(err, fs.ErrPermission) { // something guards the disk: a later session finishes what was begun
		m.left(youngest, err)
		d.leave = true
		return nil
	}
	if err != nil {
		err = fmt.Errorf("catalog: merge %s: %w", youngest, err)
		m.unknown(youngest, err)
		return err
	}
	err = settle(ctx, m.s.fsys, d.path, chain)
	if errors.Is(err, vhd.ErrMergeState) { // what was foreseen is not about this merge
		err = removeEvidence(ctx, m.s.fsys, youngest)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sizes[youngest] = res.Size
	m.report.Merged = append(m.report.Merged, MergedDisk{
		Path: m.rel(youngest), Chain: chain, Size: res.Size, Bytes: res.Merged, Resumed: resumed,
	})
	return err
}

// guarded returns an fs.ErrPermission for a disk that cannot be replaced for now: once
// begun, its merge would wait half done for as long as that.
func (m *merger) guarded(disk string) error {
	guard, err := m.guard()
	if err != nil || guard == nil {
		return err
	}
	if date, ok := leadingDate(disk); ok && time.Now().Before(date.Add(guard.Duration)) {
		return fmt.Errorf("guarded until %s: %w", FormatDate(date.Add(guard.Duration)), fs.ErrPermission)
	}
	return nil
}

// mayBegin tells whether the bounds of this run leave room for another merge. One
// that was begun is always finished.
func (m *merger) mayBegin(resumed bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.opts
	full := (o.AtMost > 0 && m.begun >= o.AtMost) || (o.MaxBytes > 0 && m.bytes >= o.MaxBytes) ||
		(o.MaxTime > 0 && time.Since(m.start) >= o.MaxTime)
	if full && !resumed {
		return false
	}
	m.begun++
	return true
}

func (m *merger) deferred(youngest string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.report.Deferred = append(m.report.Deferred, m.rel(youngest))
}

func (m *merger) progress(youngest string, done, total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opts.Progress(m.rel(youngest), done, total)
}
