package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/xva"
)

const (
	// minArchive is the shortest compressed archive that Xen Orchestra believes in.
	minArchive = 20
	// archiveEnd is how many zeros end a plain archive, and tarBlock what its length
	// is a multiple of.
	archiveEnd = 1024
	tarBlock   = 512
	// hashAside is how long a piece must be to be worth a goroutine of its own.
	hashAside = 64 << 10
)

// ArchiveWriter writes one full restore point: the archive of a VM as the pool sends
// it, then, with Commit, the checksum beside it and the JSON that makes it a point.
// What is written goes to a temporary file until then. In an encrypted repository the
// file is encrypted on the way, and the tag in it takes the place of the checksum.
//
// Commit looks only whether Xen Orchestra would take the archive for complete: that
// it is, the pool and package xva have to say before. It must end in a Commit that
// succeeds or an Abort. It is for one goroutine; several points of several
// repositories may be written from one stream at the same time.
type ArchiveWriter struct {
	point *PointWriter // names, publishes and removes the JSON
	name  string       // of the archive, from the root
	file  *remote.Writer
	sum   *ArchiveSum
	aside bool // sum is fed by somebody else

	start  [sniffLen]byte
	size   int64
	zeros  int64 // at the end of what was written, up to archiveEnd
	err    error // of Write, for good
	tried  bool  // the archive may have its name
	stored bool  // it has
}

// NewArchive begins a full point and its archive; spec.Mode may be empty. ctx governs
// the writing of the archive, up to and with Commit. A point or an archive with the
// same date gives fs.ErrExist.
func (s *Session) NewArchive(ctx context.Context, spec PointSpec) (*ArchiveWriter, error) {
	if spec.Mode == "" {
		spec.Mode = ModeFull
	}
	if spec.Mode != ModeFull {
		return nil, fmt.Errorf("catalog: archive of mode %q: %w", spec.Mode, errors.ErrUnsupported)
	}
	if !isElement(spec.JobID) {
		return nil, fmt.Errorf("catalog: job %q: %w", spec.JobID, ErrInvalidName)
	}
	if err := s.ready(ctx, spec); err != nil {
		return nil, err
	}
	p := &PointWriter{s: s, spec: spec, date: FormatDate(spec.Time), disks: map[string]*DiskWriter{}}
	p.name = path.Join(s.dir, p.date+".json")
	w := &ArchiveWriter{point: p, name: strings.TrimSuffix(p.name, ".json") + ".xva"}
	for _, name := range []string{p.name, w.name} {
		_, err := s.fsys.Stat(ctx, name)
		if err == nil {
			err = fs.ErrExist
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("catalog: point %s: %w", name, err)
		}
	}
	file, err := remote.Create(ctx, s.fsys, w.name)
	if err != nil {
		return nil, fmt.Errorf("catalog: archive: %w", err)
	}
	w.file = file
	w.sum = NewArchiveSum()
	w.sum.want(s.c.isSealed)
	s.writing.Add(1)
	return w, nil
}

// Size returns how many bytes of the archive were written.
func (w *ArchiveWriter) Size() int64 { return w.size }

// UseSum makes the writer take the checksum of the archive from sum, which somebody
// else writes the same bytes to, as early or late as he likes: Commit fails with
// ErrIncomplete unless all were. It comes before the first byte of both.
func (w *ArchiveWriter) UseSum(sum *ArchiveSum) {
	w.sum, w.aside = sum, true
	sum.want(w.point.s.c.isSealed)
}

// Write appends to the archive; it does not keep p. Its checksum is computed while
// it is written. An error is final.
func (w *ArchiveWriter) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if w.point.done {
		return 0, fmt.Errorf("catalog: archive %s: %w", w.name, fs.ErrClosed)
	}
	var aside sync.WaitGroup
	switch {
	case w.aside:
	case len(p) < hashAside:
		_, _ = w.sum.Write(p) // never fails
	default:
		aside.Go(func() { _, _ = w.sum.Write(p) })
	}
	n, err := w.file.Write(p)
	aside.Wait()
	w.note(p[:n])
	if err != nil {
		w.err = fmt.Errorf("catalog: archive %s: %w", w.name, err)
	}
	return n, w.err
}

// note remembers what tells a complete archive.
func (w *ArchiveWriter) note(p []byte) {
	if w.size < sniffLen {
		copy(w.start[w.size:], p)
	}
	w.size += int64(len(p))
	zeros := 0
	for zeros < min(len(p), archiveEnd) && p[len(p)-1-zeros] == 0 {
		zeros++
	}
	if zeros == len(p) {
		w.zeros = min(w.zeros+int64(zeros), archiveEnd)
		return
	}
	w.zeros = int64(zeros)
}

// plausible says by Xen Orchestra's rule whether the archive can be complete: it
// warns of others.
func (w *ArchiveWriter) plausible() error {
	why := ""
	switch {
	case w.err != nil:
		return w.err
	case w.size < minArchive:
		why = "too short"
	case xva.Sniff(w.start[:]) != xva.None:
	case w.size <= archiveEnd || w.size%tarBlock != 0 || w.zeros < archiveEnd:
		why = "without an end"
	}
	if why == "" && w.sum.size != w.size {
		why = fmt.Sprintf("with the checksum of %d", w.sum.size)
	}
	if why != "" {
		return fmt.Errorf("archive of %d bytes, %s: %w", w.size, why, ErrIncomplete)
	}
	return nil
}

// Commit makes the point a restore point: the archive is synced and given its name,
// its checksum is put beside it, and the JSON follows last, as [PointWriter.Commit]
// does it; neither of the two replaces anything. Of m it takes the records of the VM and
// its snapshot, tags and what is in Extra; jobId, scheduleId, mode, timestamp,
// version, xva and size it fills in.
//
// When it fails, the point is not listed, with the exception that PointWriter.Commit
// names. Once the archive has its name, Commit may be called again; Abort always.
func (w *ArchiveWriter) Commit(ctx context.Context, m Metadata) (*Point, error) {
	w.point.mu.Lock()
	defer w.point.mu.Unlock()
	point, err := w.commit(ctx, m)
	if err != nil {
		return nil, err
	}
	w.point.finish()
	return point, nil
}

func (w *ArchiveWriter) commit(ctx context.Context, m Metadata) (*Point, error) {
	about := func(err error) error { return fmt.Errorf("catalog: point %s: %w", w.point.name, err) }
	if w.point.done {
		return nil, about(fs.ErrClosed)
	}
	if err := w.point.s.check(ctx); err != nil {
		return nil, err
	}
	if err := w.plausible(); err != nil {
		return nil, about(err)
	}
	if err := w.fill(&m); err != nil {
		return nil, about(err)
	}
	if err := w.point.tag(ctx, &m); err != nil {
		return nil, about(err)
	}
	data, err := m.MarshalJSON()
	if err != nil {
		return nil, err
	}
	if err := w.store(ctx); err != nil {
		return nil, about(err)
	}
	if err := w.point.publish(ctx, data); err != nil {
		return nil, about(err)
	}
	return &Point{ID: w.point.name, Metadata: m}, nil
}

// store gives the archive its name, and then its checksum.
func (w *ArchiveWriter) store(ctx context.Context) error {
	s := w.point.s
	if !w.stored {
		w.tried = true
		if err := w.file.CommitNew(); err != nil {
			if errors.Is(err, fs.ErrExist) {
				w.tried = false // somebody else's
			}
			w.err = err
			return err
		}
		w.stored = true
	}
	if err := s.check(ctx); err != nil {
		return err
	}
	e := newEvidence(w.name)
	if s.c.isSealed {
		e.Content = []digest{digest(w.sum.of(true))}
		return writeEvidence(ctx, s.fsys, e, "")
	}
	e.Checksum = fmt.Sprintf("$1$$%x", w.sum.of(false))
	if err := writeEvidence(ctx, s.fsys, e, ""); err != nil {
		return err
	}
	return remote.WriteFile(ctx, s.fsys, w.name+checksumSuffix, []byte(e.Checksum))
}

// fill completes the metadata.
func (w *ArchiveWriter) fill(m *Metadata) error {
	spec := &w.point.spec
	m.Mode, m.JobID, m.ScheduleID = spec.Mode, spec.JobID, spec.ScheduleID
	m.Timestamp, m.Version = spec.Time.UnixMilli(), "2.0.0"
	m.XVA, m.Size = "./"+path.Base(w.name), w.size
	m.VDIs, m.VBDs, m.VIFs, m.VHDs, m.VTPMs, m.IsVHDDifferencing = nil, nil, nil, nil, nil, nil
	m.IncludeNonNbdQcow2Fix = false
	if m.Tags == nil {
		m.Tags = []string{}
	}
	return fillRecords(m, w.point.s.vm)
}

// Abort removes what was written: first the JSON, if a failed Commit may have left
// it, durably, and then the archive and its checksum. It works after ctx has ended,
// and does nothing after a Commit that succeeded or another Abort.
func (w *ArchiveWriter) Abort(ctx context.Context) error {
	w.point.mu.Lock()
	defer w.point.mu.Unlock()
	if w.point.done {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	defer w.point.finish()
	errs := []error{w.file.Abort()}
	if w.point.tried {
		if err := w.point.unpublish(ctx); err != nil {
			return errors.Join(append(errs, err)...)
		}
	}
	if w.tried {
		for _, name := range []string{w.name, w.name + checksumSuffix} {
			if err := w.point.s.fsys.Remove(ctx, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
