package vhd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
)

// CheckLevel says how deep [Check] looks. Each level includes those before it.
type CheckLevel uint8

const (
	// CheckStructure looks at footers, header, table and batmap, and for disks
	// kept as directories at which blocks have files. It takes milliseconds.
	CheckStructure CheckLevel = iota

	// CheckChain does so with all parents, and checks that they are what their
	// children ask for.
	CheckChain

	// CheckBitmaps reads the bitmap of every block.
	CheckBitmaps

	// CheckData reads and decompresses every block.
	CheckData
)

// CheckOptions are the options of [Check]; nil means the defaults.
type CheckOptions struct {
	Level       CheckLevel
	MaxFindings int // of the report; 0 means 1000
}

// Check examines the image name in dir: a file, an alias, or a disk that is kept
// as a directory. It changes nothing, and finds all it can: that something is
// wrong is in the report and not an error. An error says that the image could
// not be examined, because it does not exist or because of dir or ctx; what was
// found until then is in the report, which is never nil.
//
// Memory is bounded by the table of the largest image of the chain and one block,
// time by the size of the files and, per image, by the blocks that its disk has.
func Check(ctx context.Context, dir Dir, name string, opts *CheckOptions) (*Report, error) {
	if opts == nil {
		opts = &CheckOptions{}
	}
	c := &checker{dir: dir, level: opts.Level, most: opts.MaxFindings, report: &Report{Name: name, Level: opts.Level}}
	if c.most <= 0 {
		c.most = maxFindings
	}
	if !fs.ValidPath(name) {
		return c.report, fmt.Errorf("check %q: %w", name, ErrOutside)
	}
	if err := c.run(ctx, name); err != nil {
		return c.report, fmt.Errorf("check %s: %w", name, err)
	}
	return c.report, nil
}

// checker is one call of Check.
type checker struct {
	dir    Dir
	level  CheckLevel
	most   int
	report *Report

	merges map[string][]*checkedMerge // interrupted ones, by directory
	uuids  []UUID                     // of the chain so far
}

// checkedMerge is an interrupted merge that has a state file.
type checkedMerge struct {
	oldest string // base name
	state  *MergeState
}

// involves tells whether the image takes part in the merge.
func (m *checkedMerge) involves(base string, uuid UUID) bool {
	return m.oldest == base || slices.Contains(m.state.Chain, base) || (len(m.state.Chain) == 0 && m.state.Child == uuid && !uuid.IsZero())
}

// mayHaveTaken tells whether blocks of the image may have been moved by the merge.
func (m *checkedMerge) mayHaveTaken(base string) bool {
	return m.oldest != base && (len(m.state.Chain) == 0 || slices.Contains(m.state.Chain, base))
}

func interrupted(name string) Finding {
	const text = "a merge that it takes part in was interrupted, and is to be finished by Merge"
	return Finding{Kind: FindMerge, Severity: Warning, Image: name, Offset: -1, Block: -1, Text: text, Err: ErrMergeState}
}

func (c *checker) run(ctx context.Context, name string) error {
	link, err := c.checkImage(ctx, name)
	if err != nil || link == nil {
		return err
	}
	c.report.Type, c.report.Size = link.Type(), link.Size()
	for c.level >= CheckChain && link.Type() == Differencing {
		c.uuids = append(c.uuids, link.UUID())
		parent, err := c.findParent(ctx, link)
		if err != nil || parent == "" {
			return errors.Join(err, link.Close())
		}
		child := link
		if link, err = c.checkImage(ctx, parent); err != nil || link == nil {
			return errors.Join(err, child.Close())
		}
		if link.Size() > child.Size() {
			c.note(child, FindParentSize, fmt.Sprintf("the parent %s has %d bytes more, which cannot be seen", parent, link.Size()-child.Size()))
		}
		if err := child.Close(); err != nil {
			return errors.Join(err, link.Close())
		}
	}
	return link.Close()
}

// checkImage examines one image as deep as the level says, except for its
// parents. It returns nil if the image cannot be used.
func (c *checker) checkImage(ctx context.Context, name string) (*Image, error) {
	c.report.Links++
	merges, err := c.mergesIn(ctx, path.Dir(name))
	if err != nil {
		return nil, err
	}
	image, err := openAny(ctx, c.dir, name)
	if err != nil {
		if isProof(err) {
			if slices.ContainsFunc(merges, func(m *checkedMerge) bool { return m.mayHaveTaken(path.Base(name)) }) {
				c.report.add(c.most, interrupted(name))
			}
			c.unreadable(name, err)
			err = nil
		}
		return nil, err
	}
	pending := slices.ContainsFunc(merges, func(m *checkedMerge) bool { return m.involves(path.Base(name), image.UUID()) })
	if pending {
		c.report.add(c.most, interrupted(name))
	}
	err = c.checkStructure(ctx, image, pending)
	if err == nil && c.level >= CheckBitmaps {
		err = c.checkBlocks(ctx, image)
	}
	if err != nil {
		return nil, errors.Join(err, image.Close())
	}
	return image, nil
}

// openAny opens an image of any kind, damaged or not, as far as that is possible.
func openAny(ctx context.Context, dir Dir, name string) (*Image, error) {
	target, err := resolveAlias(ctx, dir, name)
	if err != nil {
		return nil, err
	}
	names, listErr := dir.List(ctx, target)
	switch {
	case listErr == nil:
		for _, part := range []string{"footer", "header", tableFile} {
			if !slices.Contains(names, part) {
				return nil, &FormatError{Name: name, Struct: part, Err: fmt.Errorf("the file is missing: %w", ErrIncomplete)}
			}
		}
		return OpenDirectory(ctx, dir, name)
	case errors.Is(listErr, fs.ErrNotExist) && target != name:
		return nil, &FormatError{Name: name, Struct: "alias", Err: fmt.Errorf("nothing is at %s: %w", target, ErrIncomplete)}
	}
	image, err := openDamaged(ctx, dir, target)
	if err != nil {
		return nil, err
	}
	image.name = name
	return image, nil
}

// tableFile is the file of a directory that says which blocks there are.
const tableFile = "bat"

// isProof tells whether an error is about content, not about the way to it.
func isProof(err error) bool {
	if isIO(err) {
		return false
	}
	for _, proof := range []error{
		ErrNotVHD, ErrChecksum, ErrVersion, ErrInconsistent, ErrBAT, ErrUnsupported, ErrTruncated,
		ErrIncomplete, ErrTrailingData, ErrFilter, ErrOutside,
	} {
		if errors.Is(err, proof) {
			return true
		}
	}
	return false
}

// mergesIn returns the merges with a state file in a directory.
func (c *checker) mergesIn(ctx context.Context, base string) ([]*checkedMerge, error) {
	if merges, ok := c.merges[base]; ok {
		return merges, nil
	}
	names, err := c.dir.List(ctx, base)
	if err != nil {
		return nil, err
	}
	merges := []*checkedMerge{}
	for _, name := range names {
		oldest, ok := mergeTarget(name)
		if !ok {
			continue
		}
		state, err := ReadMergeState(ctx, c.dir, path.Join(base, name))
		switch {
		case errors.Is(err, ErrMergeState):
			state = &MergeState{}
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, err
		}
		merges = append(merges, &checkedMerge{oldest, state})
	}
	if path.Base(base) == "data" {
		above, err := c.mergesOfAliases(ctx, base)
		if err != nil {
			return nil, err
		}
		merges = append(merges, above...)
	}
	if c.merges == nil {
		c.merges = make(map[string][]*checkedMerge)
	}
	c.merges[base] = merges
	return merges, nil
}

// mergesOfAliases returns the interrupted merges whose states are above base, beside the
// aliases of the disks in it, as if they were about these disks.
func (c *checker) mergesOfAliases(ctx context.Context, base string) ([]*checkedMerge, error) {
	above, err := c.mergesIn(ctx, path.Dir(base))
	if err != nil {
		return nil, err
	}
	var failed error
	disk := func(alias string) string {
		target, err := resolveAlias(ctx, c.dir, path.Join(path.Dir(base), alias))
		if err != nil && !isProof(err) && !errors.Is(err, fs.ErrNotExist) {
			failed = err
		}
		if err != nil || path.Dir(target) != base {
			return alias
		}
		return path.Base(target)
	}
	var merges []*checkedMerge
	for _, m := range above {
		state := *m.state
		state.Chain = nil
		for _, alias := range m.state.Chain {
			state.Chain = append(state.Chain, disk(alias))
		}
		merges = append(merges, &checkedMerge{disk(m.oldest), &state})
	}
	return merges, failed
}

// add completes a finding about an image.
func (c *checker) add(m *Image, f Finding) {
	f.Image = m.Name()
	if f.Struct == "" {
		f.Offset, f.Block = -1, -1
	}
	c.report.add(c.most, f)
}

func (c *checker) note(m *Image, kind FindingKind, text string) {
	c.add(m, Finding{Kind: kind, Severity: Note, Text: text})
}

// unreadable notes that an image cannot be used at all.
func (c *checker) unreadable(name string, err error) {
	f := Finding{Kind: FindUnreadable, Severity: Damage, Image: name, Offset: -1, Block: -1, Text: err.Error(), Err: err}
	if e, ok := errors.AsType[*FormatError](err); ok {
		f.Struct, f.Offset, f.Text = e.Struct, e.Off, e.Err.Error()
		if e.Field != "" {
			f.Text = e.Field + ": " + f.Text
		}
		if e.Struct == tableFile {
			f.Kind, f.Repairable = FindTable, true
		}
	}
	c.report.add(c.most, f)
}
