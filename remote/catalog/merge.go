package catalog

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/xenbackup/xenbackup/remote"
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

	sightings sightings // of what is not ours; not of a clean, which has its own

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
		s: s, opts: opts, start: time.Now(), report: &MergeReport{}, sightings: sightings{s: s},
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
	errs = append(errs, m.finish(ctx), m.removeArchives(ctx), m.sightings.save(ctx))
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

func (m *merger) isDry() bool { return m.clean != nil && m.clean.dry }

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
