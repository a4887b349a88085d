package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

// vmVerifier verifies the points of one VM.
type vmVerifier struct {
	*verifier
	dir     string
	files   map[string]*fileVerdict // by name from the root
	listing *cacheAgreement
	beside  []VerifyFinding // about no point; said with the next one
}

// pointCheck is one look at one point.
type pointCheck struct {
	*vmVerifier
	verdict  *PointVerdict
	seen     map[string]bool
	evidence []EvidenceState
}

func (v *verifier) verifyVM(ctx context.Context, vm string, yield func(*PointVerdict) bool) (more bool, err error) {
	dir, err := vmDir(vm)
	if err != nil {
		return false, err
	}
	entries, err := v.fsys().ReadDir(ctx, dir)
	if err != nil {
		return false, fmt.Errorf("catalog: list vm %s: %w", vm, err)
	}
	m := &vmVerifier{verifier: v, dir: dir, files: map[string]*fileVerdict{}}
	m.lookBeside(ctx, entries)
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if e.IsDir() || !isPointName(e.Name()) || (v.opts.Point != "" && v.opts.Point != name) || name <= v.state.Point {
			continue
		}
		verdict, err := m.verify(ctx, name)
		if err != nil {
			return false, err
		}
		v.state.Point = name
		if err := v.checkpoint(); err != nil {
			return false, err
		}
		if verdict == nil {
			continue
		}
		verdict.Findings, m.beside = append(verdict.Findings, m.beside...), nil
		if !yield(verdict) {
			return false, nil
		}
	}
	return true, nil
}

// lookBeside looks at what no point needs. Whoever goes on with a VM has said it.
func (m *vmVerifier) lookBeside(ctx context.Context, entries []fs.DirEntry) {
	var findings []VerifyFinding
	m.listing, findings = m.newCacheAgreement(ctx, m.dir, entries)
	if m.state.Point != "" {
		return
	}
	if !m.guardSeen {
		m.guardSeen = true
		findings = append(findings, m.checkImmutability(ctx)...)
	}
	m.beside = findings
}

// verify returns nil for a point that is gone. What looks bad is looked at again:
// somebody may have changed it while it was read.
func (m *vmVerifier) verify(ctx context.Context, name string) (*PointVerdict, error) {
	verdict, err := m.look(ctx, name)
	if err != nil || verdict.Verdict != Corrupt {
		return verdict, err
	}
	lease, leaseErr := m.c.Lease(ctx, name)
	if leaseErr == nil {
		defer func() { _ = lease.Release(ctx) }() // it only protected what was read
	}
	if _, err := m.fsys().Stat(ctx, name); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for file, f := range m.files {
		if f.Verdict != Valid {
			m.forget(file)
		}
	}
	again, err := m.look(ctx, name)
	if again != nil {
		again.Bytes += verdict.Bytes
	}
	return again, err
}

func (m *vmVerifier) forget(file string) {
	delete(m.files, file)
	m.state.Files = slices.DeleteFunc(m.state.Files, func(f VerifiedFile) bool { return f.File == file })
}

// look is one pass over the point.
func (m *vmVerifier) look(ctx context.Context, name string) (*PointVerdict, error) {
	c := &pointCheck{vmVerifier: m, seen: map[string]bool{}, verdict: &PointVerdict{Point: name, Level: m.opts.Level, Verdict: Valid}}
	before := m.bytesRead()
	data, err := remote.ReadFile(ctx, m.fsys(), name, maxJSON)
	if err != nil {
		c.fail(name, err)
		return c.done(before), context.Cause(ctx)
	}
	p, parseErr := parsePoint(name, data)
	if parseErr != nil {
		c.fail(name, parseErr)
	} else {
		c.checkPlace(p)
		for _, f := range c.listing.compare(ctx, p) {
			c.add(f)
		}
	}
	state, evidenceErr := c.checkMetadata(ctx, name, data, p)
	if evidenceErr != nil {
		return nil, evidenceErr
	}
	unsure := state == EvidenceOutdated
	c.evidence = append(c.evidence, state)
	if parseErr == nil {
		if err := c.checkFiles(ctx, p); err != nil {
			return nil, err
		}
	}
	if unsure && c.atLeast(VerifyStructure) && summarize(c.evidence[1:]) == EvidenceComplete {
		c.add(VerifyFinding{File: name, Verdict: Corrupt, Block: -1, Offset: -1, Reason: "it is not what was written, and no disk was merged since"})
	}
	return c.done(before), nil
}

func (c *pointCheck) done(before int64) *PointVerdict {
	c.verdict.Files = len(c.seen) + 1
	c.verdict.Bytes = c.bytesRead() - before
	c.verdict.Evidence = summarize(c.evidence)
	return c.verdict
}

// summarize tells what the evidence of all files of a point amounts to.
func summarize(states []EvidenceState) EvidenceState {
	all := func(s EvidenceState) bool {
		return !slices.ContainsFunc(states, func(other EvidenceState) bool { return other != s })
	}
	switch {
	case len(states) == 0 || all(EvidenceAbsent):
		return EvidenceAbsent
	case slices.Contains(states, EvidenceOutdated):
		return EvidenceOutdated
	case all(EvidenceComplete):
		return EvidenceComplete
	}
	return EvidencePartial
}

func (c *pointCheck) add(f VerifyFinding) {
	c.verdict.Findings = append(c.verdict.Findings, f)
	c.verdict.Verdict = c.verdict.Verdict.worse(f.weight())
}

func (c *pointCheck) fail(name string, err error) {
	c.add(VerifyFinding{File: name, Verdict: judge(err), Block: -1, Offset: -1, Reason: err.Error()})
}

// checkPlace finds metadata that is another point's: its name is its second, and it
// lies in the directory of its VM.
func (c *pointCheck) checkPlace(p *Point) {
	if date, ok := leadingDate(path.Base(p.ID)); ok && p.Metadata.Timestamp != 0 && FormatDate(date) != FormatDate(p.Time()) {
		c.fail(p.ID, fmt.Errorf("it is that of %s: %w", FormatDate(p.Time()), errMisplaced))
	}
	var vm struct {
		UUID string `json:"uuid"`
	}
	if json.Unmarshal(p.Metadata.VM, &vm) == nil && vm.UUID != "" && vm.UUID != p.VM() {
		c.fail(p.ID, fmt.Errorf("it is that of vm %.40q: %w", vm.UUID, errMisplaced))
	}
}

// checkMetadata compares the metadata with what is known of it. Outdated is what a
// merge by another tool explains, if there was one.
func (c *pointCheck) checkMetadata(ctx context.Context, name string, data []byte, p *Point) (EvidenceState, error) {
	e, err := readEvidence(ctx, c.fsys(), name, "")
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case errors.Is(err, fs.ErrNotExist):
		return EvidenceAbsent, nil
	case err != nil:
		c.fail(evidenceName(name), err)
		return EvidenceAbsent, nil
	}
	if slices.Contains(e.Content, digest(sha256.Sum256(data))) {
		return EvidenceComplete, nil
	}
	if p != nil && p.Metadata.JobID != e.JobID && p.Metadata.Timestamp != e.Timestamp && FormatDate(p.Time()) == FormatDate(time.UnixMilli(e.Timestamp)) {
		return EvidenceAbsent, nil // of a backup that was never finished; another was made in the same second
	}
	rest, err := sumOfRest(data)
	if err == nil && rest == e.Rest && p != nil && p.Metadata.Mode == ModeDelta {
		return EvidenceOutdated, nil
	}
	c.add(VerifyFinding{File: name, Verdict: Corrupt, Block: -1, Offset: -1, Reason: "it is not what was written"})
	return EvidenceComplete, nil
}

// checkFiles looks at what the point needs.
func (c *pointCheck) checkFiles(ctx context.Context, p *Point) error {
	if p.Metadata.Mode == ModeFull {
		return c.checkArchive(ctx, p)
	}
	for _, d := range c.c.Disks(p) {
		name, err := within(c.dir, c.dir, d.Path)
		if err != nil {
			c.fail(p.ID, err)
			continue
		}
		if err := c.checkChain(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// include makes a file's verdict part of the point's.
func (c *pointCheck) include(f *fileVerdict) {
	if c.seen[f.File] {
		return
	}
	c.seen[f.File] = true
	c.verdict.Verdict = c.verdict.Verdict.worse(f.Verdict)
	c.verdict.Findings = append(c.verdict.Findings, f.Findings...)
	c.verdict.Notes = append(c.verdict.Notes, f.Notes...)
	c.evidence = append(c.evidence, f.Evidence)
}
