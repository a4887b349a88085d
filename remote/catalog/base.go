package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/xenbackup/xenbackup/vhd"
)

// Base is a disk in the repository that the next one can be a child of.
type Base struct {
	Path  string   // of the VHD, relative to the directory of the VM
	UUID  vhd.UUID // of the snapshot VDI it was exported from
	Size  int64    // virtual size in bytes
	Links int      // length of its chain, the full one included

	Format DiskFormat // of the whole chain
}

// Carries tells whether a disk of size bytes may be a difference to b. One that has
// grown may not where disks are kept as directories: a merge of Xen Orchestra leaves
// the table of the oldest one as short as it is, and nobody can open what it made.
func (b *Base) Carries(size int64) bool { return b.Format == FormatFile || size <= b.Size }

// FindBase returns the disk whose footer has the uuid snapshotVDI, in the
// directory of the job and the VM's own VDI, and whose chain opens completely
// down to a full one: what a delta since that snapshot can be appended to. It
// returns nil without an error when there is none: then the disk must be
// exported in full. A disk that cannot be read is no base either, nor one whose
// chain is not kept in one way, or in another than [Options.Format] says: Xen
// Orchestra, too, makes the next backup of such a disk a full one. What
// [Session.Distrust] has ruled out is no base.
func (s *Session) FindBase(ctx context.Context, jobID, sourceVDI, snapshotVDI string) (*Base, error) {
	if !isElement(jobID) || !isElement(sourceVDI) {
		return nil, fmt.Errorf("catalog: job %q, vdi %q: %w", jobID, sourceVDI, ErrInvalidName)
	}
	want, err := vhd.ParseUUID(snapshotVDI)
	if err != nil {
		return nil, fmt.Errorf("catalog: vdi %q: %w", snapshotVDI, err)
	}
	dir := path.Join(s.dir, vdisName, jobID, sourceVDI)
	entries, err := s.fsys.ReadDir(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("catalog: list %s: %w", dir, err)
	}
	trusted, err := s.trusts(ctx, dir)
	if err != nil {
		return nil, err
	}
	for _, e := range slices.Backward(entries) { // the newest is the likely one
		name := e.Name()
		if !isDiskName(name) || e.IsDir() || !trusted(name) {
			continue
		}
		base, err := s.tryBase(ctx, path.Join(dir, name), want)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			s.c.log.WarnContext(ctx, "disk passed over as a base", "disk", path.Join(dir, name), "error", err)
			continue
		}
		if base != nil {
			return base, nil
		}
	}
	return nil, nil
}

// tryBase returns nil without an error when the disk is not the one wanted.
func (s *Session) tryBase(ctx context.Context, name string, want vhd.UUID) (base *Base, err error) {
	files := newChainFiles(s.c.fsys, s.dir)
	defer func() { err = errors.Join(err, files.close()) }()
	leaf, err := files.open(ctx, name)
	if err != nil || leaf.img.UUID() != want {
		return nil, err
	}
	if files.isTakenByMerge(name) {
		return nil, nil // it is about to get another name, or to be removed
	}
	chain, err := files.chainFrom(ctx, leaf)
	if err != nil {
		return nil, err
	}
	format := formatOf(leaf.img)
	for _, link := range chain.Links() {
		if formatOf(link) != format || !s.c.continues(format) {
			return nil, nil
		}
	}
	return &Base{Path: name[len(s.dir)+1:], UUID: want, Size: chain.Size(), Links: len(chain.Links()), Format: format}, nil
}
