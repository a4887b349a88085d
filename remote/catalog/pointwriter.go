package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

// cleanupTimeout bounds what is done after the caller's context has ended.
const cleanupTimeout = time.Minute

// PointSpec says which restore point is to be written.
type PointSpec struct {
	JobID      string
	ScheduleID string
	Mode       string    // ModeDelta, which "" means too
	Time       time.Time // when the snapshot was taken; its second is the name
	// LongTerm, if not nil, says what is kept of the schedule. Commit then writes
	// into the tags which periods the point fills, as Xen Orchestra does.
	LongTerm *LongTerm
}

// PointWriter writes one restore point: first its disks, which may be written
// concurrently, then, with Commit, the JSON that makes it one. It must end in
// a Commit that succeeds or an Abort.
type PointWriter struct {
	s    *Session
	spec PointSpec
	date string
	name string // of the JSON, from the root

	mu    sync.Mutex
	disks map[string]*DiskWriter
	done  bool
	tried bool // the JSON may have its name
}

// NewPoint begins a point. Nothing is written yet. A point with the same date
// gives fs.ErrExist, [FormatFile] in a repository encrypted at rest [ErrEncryptedWrite].
func (s *Session) NewPoint(ctx context.Context, spec PointSpec) (*PointWriter, error) {
	if s.c.isSealed && s.c.format == FormatFile {
		return nil, fmt.Errorf("catalog: vm %s: %w", s.vm, ErrEncryptedWrite)
	}
	if spec.Mode == "" {
		spec.Mode = ModeDelta
	}
	if spec.Mode != ModeDelta {
		return nil, fmt.Errorf("catalog: mode %q: %w", spec.Mode, errors.ErrUnsupported)
	}
	if !isElement(spec.JobID) {
		return nil, fmt.Errorf("catalog: job %q: %w", spec.JobID, ErrInvalidName)
	}
	if err := s.ready(ctx, spec); err != nil {
		return nil, err
	}
	w := &PointWriter{s: s, spec: spec, date: FormatDate(spec.Time), disks: map[string]*DiskWriter{}}
	w.name = path.Join(s.dir, w.date+".json")
	_, err := s.fsys.Stat(ctx, w.name)
	if err == nil {
		err = fs.ErrExist
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("catalog: point %s: %w", w.name, err)
	}
	s.writing.Add(1)
	return w, nil
}

// ready tells whether a point can be begun.
func (s *Session) ready(ctx context.Context, spec PointSpec) error {
	if spec.LongTerm != nil {
		if err := spec.LongTerm.check(); err != nil {
			return err
		}
	}
	if err := s.check(ctx); err != nil {
		return err
	}
	return s.checkClock(ctx)
}

// Commit makes the point a restore point. All its disks must have been closed.
// Of m it takes the records; what describes the writing itself it fills in:
// vhds, isVhdDifferencing, jobId, scheduleId, mode, timestamp, version, size,
// and a suspend_VDI where the snapshot's record has none.
//
// The JSON is written aside, synced, given its name unless that is taken, and
// the directory synced. When Commit returns a Point, it survives a power cut.
// When it fails, the point is not listed, with one exception: if the storage
// failed while the name was given, it may be. Abort removes it then, and may
// be called after any failure; so may Commit again.
//
// The cache that Xen Orchestra lists by is removed before, and written anew, with
// the point in it, afterwards. A failure of that is logged and left to the next
// [Session.Merge].
func (w *PointWriter) Commit(ctx context.Context, m Metadata) (*Point, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return nil, fmt.Errorf("catalog: point %s: %w", w.name, fs.ErrClosed)
	}
	if err := w.s.check(ctx); err != nil {
		return nil, err
	}
	if err := w.fill(&m); err != nil {
		return nil, fmt.Errorf("catalog: point %s: %w", w.name, err)
	}
	if err := w.tag(ctx, &m); err != nil {
		return nil, fmt.Errorf("catalog: point %s: %w", w.name, err)
	}
	data, err := m.MarshalJSON()
	if err != nil {
		return nil, err
	}
	if err := w.publish(ctx, data); err != nil {
		return nil, fmt.Errorf("catalog: point %s: %w", w.name, err)
	}
	w.finish()
	return &Point{ID: w.name, Metadata: m}, nil
}

// syncParents makes durable the directories that lead to the disks: one that an
// earlier process made may not be, if it was killed at once. What is in the
// disks' own directories was synced when the disks were closed. That the cache was
// removed from the directory of the VM is durable then too.
func (w *PointWriter) syncParents(ctx context.Context) error {
	dirs := map[string]bool{".": true, vmRoot: true, w.s.dir: true}
	for _, d := range w.disks {
		for dir := path.Dir(path.Dir(d.name)); len(dir) >= len(w.s.dir); dir = path.Dir(dir) {
			dirs[dir] = true
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		if err := remote.SyncDir(ctx, w.s.fsys, dir); err != nil {
			return err
		}
	}
	return nil
}

// publish gives the JSON its name, and keeps the cache right.
func (w *PointWriter) publish(ctx context.Context, data []byte) error {
	cache, err := w.s.keepCache(ctx, fewReads)
	if err == nil {
		err = cache.drop(ctx)
	}
	if err != nil {
		w.s.c.log.WarnContext(ctx, "stale cache left behind", "vm", w.s.vm, "error", err)
	}
	if err := w.syncParents(ctx); err != nil {
		return err
	}
	if err := w.place(ctx, data); err != nil {
		return err
	}
	if cache != nil {
		cache.put(w.name, data)
		cache.saveLate(ctx)
	}
	return nil
}

func (w *PointWriter) place(ctx context.Context, data []byte) (err error) {
	if w.tried { // a Commit that failed may have got as far as the name
		if err := w.unpublish(ctx); err != nil {
			return err
		}
	}
	if err := recordPoint(ctx, w.s.fsys, w.name, data, nil); err != nil {
		return err
	}
	f, err := remote.Create(ctx, w.s.fsys, w.name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Abort()) }()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := w.s.check(ctx); err != nil {
		return err
	}
	w.tried = true
	err = f.CommitNew()
	if errors.Is(err, fs.ErrExist) {
		w.tried = false // somebody else's
	}
	return err
}

func (w *PointWriter) finish() {
	w.done = true
	w.s.writing.Add(-1)
}

// Abort removes what was written: first the JSON, if a failed Commit may have
// left it, durably, and only then the disks it would need. It works after ctx
// has ended, and does nothing after a Commit that succeeded or another Abort.
// What it cannot remove is reported, and is not listed; [Session.Merge] of a
// later session removes it.
func (w *PointWriter) Abort(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return nil
	}
	ctx, cancel := cleanup(ctx)
	defer cancel()
	defer w.finish()
	if w.tried {
		if err := w.unpublish(ctx); err != nil {
			return err
		}
	}
	var errs []error
	for _, d := range w.disks {
		errs = append(errs, d.remove())
	}
	return errors.Join(errs...)
}

// cleanup is the context of what is done after that of the caller may have ended.
func cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
}

// unpublish makes sure, durably, that the JSON is not there.
func (w *PointWriter) unpublish(ctx context.Context) error {
	if err := w.s.fsys.Remove(ctx, w.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := remote.SyncDir(ctx, w.s.fsys, w.s.dir); err != nil {
		return err
	}
	return removeEvidence(ctx, w.s.fsys, w.name)
}

// tag notes which periods of long-term retention the point fills. A point that
// cannot be read counts for none, as with Xen Orchestra.
func (w *PointWriter) tag(ctx context.Context, m *Metadata) error {
	if w.spec.LongTerm == nil {
		return nil
	}
	var older []*Point
	for p, err := range w.s.c.points(ctx, w.s.vm, &Filter{ScheduleID: w.spec.ScheduleID}) {
		var unreadable *PointError
		switch {
		case err == nil && p.ID != w.name:
			older = append(older, p)
		case err != nil && (ctx.Err() != nil || !errors.As(err, &unreadable)):
			return err
		}
	}
	m.Tags = w.spec.LongTerm.Tags(older, &Point{ID: w.name, Metadata: *m})
	return nil
}

// fill completes the metadata and refuses what Xen Orchestra could not list.
func (w *PointWriter) fill(m *Metadata) error {
	m.Mode, m.JobID, m.ScheduleID = w.spec.Mode, w.spec.JobID, w.spec.ScheduleID
	m.Timestamp, m.Version = w.spec.Time.UnixMilli(), "2.0.0"
	m.IncludeNonNbdQcow2Fix = true
	m.XVA = ""
	m.VHDs, m.IsVHDDifferencing, m.Size = map[string]string{}, map[string]bool{}, 0
	for ref, d := range w.disks {
		if !d.isComplete() {
			return fmt.Errorf("disk %s: %w", ref, ErrIncomplete)
		}
		if _, ok := m.VDIs[ref]; !ok {
			return fmt.Errorf("record of disk %s: %w", ref, ErrIncomplete)
		}
		m.VHDs[ref] = d.name[len(w.s.dir)+1:]
		m.IsVHDDifferencing[ref] = d.base != nil
		m.Size += d.size
	}
	if len(m.VDIs) != len(w.disks) {
		return fmt.Errorf("%d disks for %d records: %w", len(w.disks), len(m.VDIs), ErrIncomplete)
	}
	m.VDIs, m.VBDs, m.VIFs = orEmpty(m.VDIs), orEmpty(m.VBDs), orEmpty(m.VIFs)
	if m.VTPMs == nil {
		m.VTPMs = []*string{}
	}
	if m.Tags == nil {
		m.Tags = []string{}
	}
	return fillRecords(m, w.s.vm)
}

func orEmpty[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return maps.Clone(m)
}
