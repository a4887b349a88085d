package vhd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
)

// findParent returns the name of the parent of an image, "" if the chain ends
// here: at a raw file, or because of what was found.
func (c *checker) findParent(ctx context.Context, child *Image) (string, error) {
	ref := child.Parent()
	lost := func(kind FindingKind, text string, err error) {
		c.add(child, Finding{Kind: kind, Severity: Damage, Text: text, Err: err})
	}
	if c.report.Links >= DefaultMaxLinks {
		lost(FindCycle, fmt.Sprintf("more than %d images", DefaultMaxLinks), ErrChainTooLong)
		return "", nil
	}
	var cause error
	for _, name := range candidates(child.Name(), ref.Names) {
		uuid, err := c.uuidOf(ctx, name, ref.UUID)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil && !isProof(err):
			return "", err
		case err != nil:
			cause = errors.Join(cause, fmt.Errorf("%s: %w", name, err))
		case uuid == ref.UUID && uuid.IsZero():
			c.report.Links++
			return "", nil
		case uuid != ref.UUID && !c.isMerged(name, uuid, ref.UUID):
			cause = errors.Join(cause, fmt.Errorf("%s has the uuid %s: %w", name, uuid, ErrParentMismatch))
		case slices.Contains(c.uuids, uuid) && uuid == ref.UUID:
			lost(FindCycle, fmt.Sprintf("its parent %s is one of its children", name), ErrCycle)
			return "", nil
		default:
			return name, nil
		}
	}
	if cause == nil {
		cause = fmt.Errorf("%w: %q", ErrParentNotFound, ref.Names)
	}
	lost(FindParent, fmt.Sprintf("no image with the uuid %s is where it should be: %v", ref.UUID, cause), cause)
	return "", nil
}

// uuidOf returns the uuid of an image, of a raw file none if none is wanted.
func (c *checker) uuidOf(ctx context.Context, name string, want UUID) (UUID, error) {
	image, err := openAny(ctx, c.dir, name)
	if errors.Is(err, ErrNotVHD) && want.IsZero() {
		return UUID{}, nil
	}
	if err != nil {
		return UUID{}, err
	}
	return image.UUID(), image.Close()
}

// isMerged tells whether an image has another uuid than its children want since
// a merge into it is all but over.
func (c *checker) isMerged(name string, uuid, want UUID) bool {
	return slices.ContainsFunc(c.merges[path.Dir(name)], func(m *checkedMerge) bool {
		return m.oldest == path.Base(name) && m.state.Child == uuid && m.state.Parent == want
	})
}
