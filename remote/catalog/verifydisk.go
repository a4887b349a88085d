package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/vhd"
)

// checkChain looks at the disk name and at all that it stands on.
func (c *pointCheck) checkChain(ctx context.Context, name string) error {
	if merging, err := c.isMerging(ctx, path.Dir(name)); err != nil || merging {
		if err != nil {
			c.fail(path.Dir(name), err)
			return context.Cause(ctx)
		}
		return c.checkMerging(ctx, name)
	}
	seen := map[string]bool{}
	for name != "" {
		if seen[name] || len(seen) > vhd.DefaultMaxLinks {
			c.fail(name, vhd.ErrCycle)
			return nil
		}
		seen[name] = true
		f, err := c.disk(ctx, name)
		if err != nil {
			return err
		}
		c.include(f)
		if !f.isOpen || f.isFull {
			return nil
		}
		if name, err = c.parentOf(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// parentOf returns the disk that f is a difference to, "" when it is not there: that is a
// finding.
func (c *pointCheck) parentOf(ctx context.Context, f *fileVerdict) (string, error) {
	var other string
	for _, candidate := range f.parent.Names {
		name, err := within(c.dir, path.Dir(f.File), candidate)
		if err != nil {
			c.fail(f.File, err)
			return "", nil
		}
		p, err := c.disk(ctx, name)
		switch {
		case err != nil:
			return "", err
		case p.isOpen && p.uuid == f.parent.UUID:
			return name, nil
		case p.isOpen:
			c.fail(f.File, fmt.Errorf("its parent %s has another uuid: %w", name, vhd.ErrParentMismatch))
			return "", nil
		case other == "":
			other = name
		}
	}
	if other == "" {
		c.fail(f.File, fmt.Errorf("it names no parent: %w", vhd.ErrParentNotFound))
	}
	return other, nil // what is wrong with it is the caller's to include
}

// isMerging tells whether a merge in the directory was begun and not finished.
func (c *pointCheck) isMerging(ctx context.Context, dir string) (bool, error) {
	entries, err := c.fsys().ReadDir(ctx, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		_, ok := mergeStateOf(e.Name())
		return ok
	}), nil
}

// checkMerging looks at a disk whose directory a merge has left half done: as a whole,
// as a reader sees it.
func (c *pointCheck) checkMerging(ctx context.Context, name string) error {
	f := &fileVerdict{VerifiedFile: VerifiedFile{File: name, Verdict: Valid, Evidence: EvidencePartial}, most: c.opts.MaxFindings}
	f.Notes = []string{name + " is in the middle of a merge, which Merge finishes"}
	err := c.readMerging(ctx, name)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		f.fail(nameIn(err, path.Dir(name), name), -1, -1, err)
	}
	c.include(f)
	return nil
}

func (c *pointCheck) readMerging(ctx context.Context, name string) (err error) {
	if !c.atLeast(VerifyStructure) {
		return nil // which of its files must be there is for the merge to say
	}
	files := newChainFiles(c.fsys(), c.dir)
	defer func() { err = errors.Join(err, files.close()) }()
	chain, err := files.openChain(ctx, name)
	if err != nil || !c.atLeast(VerifyData) {
		return err
	}
	buf := make([]byte, chain.BlockSize())
	for block := range chain.Blocks() {
		off := int64(block) * chain.BlockSize()
		n := min(int64(len(buf)), chain.Size()-off)
		if err := c.wait(ctx, n); err != nil {
			return err
		}
		if _, err := chain.ReadAt(buf[:n], off); err != nil {
			return err
		}
	}
	return nil
}

// disk returns the verdict on one link of a chain, which is looked at once.
func (m *vmVerifier) disk(ctx context.Context, name string) (*fileVerdict, error) {
	if f, ok := m.files[name]; ok {
		return f, nil
	}
	f := &fileVerdict{VerifiedFile: VerifiedFile{File: name, Verdict: Valid, Evidence: EvidenceAbsent}, most: m.opts.MaxFindings}
	err := m.lookAtDisk(ctx, f)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if _, ok := errors.AsType[*stopError](err); ok {
		return nil, err
	}
	if err != nil {
		f.fail(nameIn(err, path.Dir(name), name), -1, -1, err)
	}
	if f.more > 0 {
		f.Notes = append(f.Notes, fmt.Sprintf("%s: %d more findings", name, f.more))
	}
	m.files[name] = f
	m.state.Files, m.state.Current = append(m.state.Files, f.VerifiedFile), nil
	return f, m.checkpoint()
}

// stopError carries an error of the caller's through what judges errors.
type stopError struct{ error }

func (e *stopError) Unwrap() error { return e.error }

// lookAtDisk looks at one link of a chain.
func (m *vmVerifier) lookAtDisk(ctx context.Context, f *fileVerdict) (err error) {
	if !m.atLeast(VerifyStructure) {
		return m.lookQuick(ctx, f)
	}
	e, err := m.evidenceOf(ctx, f)
	if err != nil {
		return err
	}
	if isAliasName(f.File) {
		m.checkSmall(ctx, f, e)
	}
	if f.Verdict == Corrupt {
		e = nil // what is known says so already; what can be opened is opened all the same
	}
	d, err := openDiskFile(ctx, m.fsys(), f.File, vhd.Strict)
	if err != nil {
		if f.Verdict == Corrupt && judge(err) == Corrupt {
			return nil
		}
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	f.uuid, f.parent, f.isFull, f.isOpen = d.img.UUID(), d.img.Parent(), d.img.Type() != vhd.Differencing, true
	if done, err := m.recall(ctx, f); err != nil || done {
		return err
	}
	k, err := m.match(ctx, f, d.img, e)
	if err != nil {
		return err
	}
	if d.file != nil {
		return k.checkFile(ctx, d)
	}
	return k.checkDirectory(ctx, d.img)
}

// lookQuick sees whether the file is there, and is as long as is known.
func (m *vmVerifier) lookQuick(ctx context.Context, f *fileVerdict) error {
	info, err := m.fsys().Stat(ctx, f.File)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return ErrUnsupportedFlavour
	case info.Size() == 0:
		return errShort
	}
	return nil
}

// recall takes over what an earlier verification found, if the file did not change.
func (m *vmVerifier) recall(ctx context.Context, f *fileVerdict) (done bool, err error) {
	info, err := m.fsys().Stat(ctx, f.File)
	if err != nil {
		return false, err
	}
	f.Size, f.ModTime = info.Size(), info.ModTime().UTC().Round(0)
	for _, old := range m.state.Files {
		if old.File == f.File && old.isSame(f.Size, f.ModTime) {
			f.VerifiedFile = old
			m.state.Files = slices.DeleteFunc(slices.Clone(m.state.Files), func(o VerifiedFile) bool { return o.File == f.File })
			return true, nil
		}
	}
	if c := m.state.Current; c != nil && c.File == f.File && c.isSame(f.Size, f.ModTime) {
		f.Next, f.Verdict, f.Findings = c.Next, f.Verdict.worse(c.Verdict), append(f.Findings, c.Findings...)
	}
	return false, nil
}

// evidenceOf returns nil when there is none of use.
func (m *vmVerifier) evidenceOf(ctx context.Context, f *fileVerdict) (*evidence, error) {
	e, err := readEvidence(ctx, m.fsys(), f.File, "")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, errEvidence), err == nil && e.Disk == nil:
		f.fail(evidenceName(f.File), -1, -1, errEvidence)
		return nil, context.Cause(ctx)
	}
	return e, err
}

// check is the look at the content of one disk.
type diskCheck struct {
	*vmVerifier
	f *fileVerdict
	e *evidence // nil: nothing is known
}

// match judges whether what is known is about what is there. Whoever merged the disk
// without us has changed the parent that it names.
func (m *vmVerifier) match(ctx context.Context, f *fileVerdict, img *vhd.Image, e *evidence) (*diskCheck, error) {
	k := &diskCheck{vmVerifier: m, f: f}
	if e == nil {
		return k, nil
	}
	parent := parentOf(img)
	if img.UUID().String() != e.Disk.UUID {
		f.Evidence = EvidenceComplete
		f.fail(f.File, -1, -1, errForeign)
		return k, nil
	}
	if parent != e.Disk.Parent {
		f.Evidence = EvidenceOutdated
		next, err := readEvidence(ctx, m.fsys(), f.File, nextSuffix)
		if err != nil || next.Disk == nil || next.Disk.Parent != parent {
			f.Notes = append(f.Notes, f.File+" was merged by another tool since it was written")
			return k, context.Cause(ctx)
		}
		next.Disk.Complete, next.Disk.Gaps, next.Disk.Files, next.Disk.Alias = false, false, nil, digest{}
		e = next // a merge of ours ended in a crash
	}
	k.e, f.Evidence = e, EvidenceComplete
	if !e.Disk.Complete {
		f.Evidence = EvidencePartial
	}
	return k, nil
}

// checkSmall compares the small files of a disk kept as a directory with what is
// known, before anything is taken from them. Where the disk was merged by another
// tool, the alias stands for another directory, and they are others.
func (m *vmVerifier) checkSmall(ctx context.Context, f *fileVerdict, e *evidence) {
	if e == nil || e.Disk.Files == nil {
		return
	}
	dir := path.Dir(f.File)
	target, err := vhd.AliasTarget(ctx, &diskDir{m.fsys(), dir}, path.Base(f.File))
	if err == nil && target != e.Disk.Target {
		if d, err := openDiskFile(ctx, m.fsys(), f.File, vhd.Strict); err == nil {
			uuid, parent := d.img.UUID().String(), parentOf(d.img)
			if d.close() == nil && uuid == e.Disk.UUID && parent != e.Disk.Parent {
				return
			}
		}
	}
	files := map[string]digest{f.File: e.Disk.Alias}
	for name, sum := range e.Disk.Files {
		files[path.Join(dir, e.Disk.Target, name)] = sum
	}
	for name, sum := range files {
		data, err := remote.ReadFile(ctx, m.fsys(), name, maxSmall)
		if err == nil && sumOf(data) != sum {
			err = errNotWritten
		}
		if err != nil && ctx.Err() == nil {
			f.fail(name, -1, -1, err)
		}
	}
}
