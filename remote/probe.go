package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"sync"
	"time"
)

// ProbeOptions direct [Probe]. nil and the zero value are the defaults.
type ProbeOptions struct {
	// Size is how many bytes are written and read for the speeds; 0 is 16 MiB.
	Size int64
}

const (
	probeSize   = 16 << 20
	probeReads  = 256
	probePiece  = 4 << 10
	skewAllowed = 5 * time.Second
)

// Probe tries what backups need of a storage, and measures it: writing, reading
// back and comparing, replacing, listing, locking, and removing. It works in a
// directory below .xenbackup, which it removes. The [Report] is never nil; the
// error joins the steps that failed, and is nil when the storage is fit.
//
// The speeds are those of one file at that size at that moment. What was just
// written may be read from a cache of the storage, or of this machine.
func Probe(ctx context.Context, fsys Filesystem, opts *ProbeOptions) (*Report, error) {
	size := int64(probeSize)
	if opts != nil && opts.Size > 0 {
		size = opts.Size
	}
	p := &prober{
		ctx: ctx, fsys: fsys, dir: path.Join(identityDir, "probe-"+newToken()), size: size,
		report: &Report{Properties: fsys.Properties(), Capabilities: capabilities(fsys)},
	}
	if p.step("make a directory", func() error { return MkdirAll(ctx, fsys, p.dir) }) {
		p.run()
		p.step("remove", p.remove)
	}
	return p.report, errors.Join(p.errs...)
}

type prober struct {
	ctx    context.Context //nolint:containedctx // lives for one call of Probe
	fsys   Filesystem
	dir    string
	size   int64
	report *Report
	errs   []error
}

// step runs one, reports it, and tells whether it went well.
func (p *prober) step(name string, run func() error) bool {
	start := time.Now()
	err := run()
	s := Step{Name: name, Seconds: time.Since(start).Seconds()}
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		s.Skipped = true
	case err != nil:
		s.Error = err.Error()
		p.errs = append(p.errs, fmt.Errorf("probe: %s: %w", name, err))
	}
	p.report.Steps = append(p.report.Steps, s)
	return err == nil
}

func (p *prober) run() {
	if p.step("write", p.write) {
		p.step("read and compare", p.read)
		p.step("read at random", p.readRandom)
	}
	p.step("replace a file", p.replace)
	p.step("keep a file", p.keep)
	p.step("list", p.list)
	p.step("lock", p.lock)
	p.step("space", p.space)
	p.step("clock", p.clock)
}

func (p *prober) in(name string) string { return path.Join(p.dir, name) }

// noise is content that no storage can compress: the same each time.
func noise() io.Reader { return rand.NewChaCha8([32]byte{'p', 'r', 'o', 'b', 'e'}) }

func (p *prober) write() error {
	w, err := Create(p.ctx, p.fsys, p.in("data"))
	if err != nil {
		return err
	}
	defer func() { _ = w.Abort() }() // reported by Commit already
	start := time.Now()
	if _, err := io.CopyN(w, noise(), p.size); err != nil {
		return err
	}
	if err := w.Commit(); err != nil {
		return err
	}
	p.report.WriteBytesPerSecond = float64(p.size) / time.Since(start).Seconds()
	return nil
}

func (p *prober) read() error {
	r, err := OpenReader(p.ctx, p.fsys, p.in("data"))
	if err != nil {
		return err
	}
	defer r.Close()
	want, got := make([]byte, 1<<20), make([]byte, 1<<20)
	source := noise()
	start := time.Now()
	for left := p.size; left > 0; {
		n := min(left, int64(len(got)))
		if _, err := io.ReadFull(r, got[:n]); err != nil {
			return err
		}
		if _, err := io.ReadFull(source, want[:n]); err != nil {
			return err
		}
		if !bytes.Equal(got[:n], want[:n]) {
			return fmt.Errorf("what was read within %d bytes of offset %d is not what was written", n, p.size-left)
		}
		left -= n
	}
	p.report.ReadBytesPerSecond = float64(p.size) / time.Since(start).Seconds()
	return nil
}

func (p *prober) readRandom() error {
	f, err := p.fsys.OpenFile(p.ctx, p.in("data"), os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	pieces := max(p.size/probePiece, 1)
	workers := max(p.report.Properties.PipelineDepth, 1)
	errs := make([]error, workers)
	start := time.Now()
	var group sync.WaitGroup
	for i := range workers {
		group.Go(func() {
			buf := make([]byte, min(probePiece, p.size))
			for n := i; n < probeReads && errs[i] == nil; n += workers {
				_, err := f.ReadAt(buf, rand.Int64N(pieces)*int64(len(buf)))
				if !errors.Is(err, io.EOF) {
					errs[i] = err
				}
			}
		})
	}
	group.Wait()
	p.report.RandomReadsPerSecond = probeReads / time.Since(start).Seconds()
	return errors.Join(errs...)
}

func (p *prober) replace() error {
	start := time.Now()
	for _, content := range []string{"old", "new"} {
		if err := WriteFile(p.ctx, p.fsys, p.in("small"), []byte(content)); err != nil {
			return err
		}
	}
	p.report.CommitSeconds = time.Since(start).Seconds() / 2
	return p.want("small", "new")
}

// keep: publishing under a name that exists must be refused.
func (p *prober) keep() error {
	w, err := Create(p.ctx, p.fsys, p.in("small"))
	if err != nil {
		return err
	}
	if err := w.CommitNew(); !errors.Is(err, fs.ErrExist) {
		return errors.Join(errors.New("a file was replaced that should not have been"), err)
	}
	return p.want("small", "new")
}

func (p *prober) want(name, content string) error {
	got, err := ReadFile(p.ctx, p.fsys, p.in(name), 1<<10)
	if err == nil && string(got) != content {
		err = fmt.Errorf("%s has the content %.20q instead of %q", name, got, content)
	}
	return err
}

func (p *prober) list() error {
	entries, err := p.fsys.ReadDir(p.ctx, p.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if IsTemp(e.Name()) {
			return fmt.Errorf("a temporary file is left: %s", e.Name())
		}
	}
	return nil
}

func (p *prober) lock() error {
	l, err := AcquireLock(p.ctx, p.fsys, p.in("locked"), nil)
	if err != nil {
		return err
	}
	return errors.Join(l.Check(p.ctx), l.Release(p.ctx))
}

func (p *prober) space() error {
	r, ok := As[SpaceReporter](p.fsys)
	if !ok {
		return errors.ErrUnsupported
	}
	space, err := r.Space(p.ctx)
	p.report.Space = space
	return err
}

// clock compares the time that the storage gives a new file with ours. Xen
// Orchestra takes over locks that look old to the clock of its own machine.
func (p *prober) clock() error {
	before := time.Now()
	if err := WriteFile(p.ctx, p.fsys, p.in("clock"), nil); err != nil {
		return err
	}
	after := time.Now()
	info, err := p.fsys.Stat(p.ctx, p.in("clock"))
	if err != nil {
		return err
	}
	// What lies within the call, or within the second that a storage may round to, is
	// no difference.
	switch t := info.ModTime(); {
	case t.Before(before.Add(-2 * time.Second)):
		p.report.ClockSkewSeconds = -before.Sub(t).Seconds()
	case t.After(after.Add(time.Second)):
		p.report.ClockSkewSeconds = t.Sub(after).Seconds()
	}
	return nil
}

func (p *prober) remove() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), cleanupTimeout)
	defer cancel()
	return RemoveAll(ctx, p.fsys, p.dir)
}
