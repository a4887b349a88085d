package catalog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// A merge moves blocks and changes none, so that what the merged disk will hold
// follows from what is known of the disks. That is written down before the merge
// begins, beside what is known of the youngest, whose name the merged disk gets in
// one step: at each instant one of the two is right, and the parent that the disk
// names tells which.

// foresee writes down what the merge of chain in dir will make.
func foresee(ctx context.Context, fsys remote.Filesystem, dir string, chain []string) error {
	youngest := path.Join(dir, chain[len(chain)-1])
	if next, err := readEvidence(ctx, fsys, youngest, nextSuffix); err == nil && fmt.Sprint(next.Disk.Chain) == fmt.Sprint(chain) {
		return nil // by whoever began this merge
	}
	next, err := derive(ctx, fsys, dir, chain)
	if err != nil || next == nil {
		return err
	}
	return writeEvidence(ctx, fsys, next, nextSuffix)
}

// derive returns nil when nothing is known.
func derive(ctx context.Context, fsys remote.Filesystem, dir string, chain []string) (*evidence, error) {
	next := newEvidence(path.Join(dir, chain[len(chain)-1]))
	var child *diskEvidence
	parent := "" // of the oldest, when what is known of it counts
	for i, name := range slices.Backward(chain) {
		e, err := readEvidence(ctx, fsys, path.Join(dir, name), "")
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errEvidence) {
			break
		}
		if err != nil {
			return nil, err
		}
		d := e.Disk
		if d == nil || (child != nil && !child.continues(d)) {
			break
		}
		for index, sum := range e.blocks {
			if _, younger := next.blocks[index]; !younger {
				next.blocks[index] = sum
			}
		}
		if child == nil {
			next.Disk = &diskEvidence{UUID: d.UUID, Size: d.Size, Chain: chain}
		}
		if i == 0 {
			next.Disk.Complete, parent = d.Complete, d.Parent
			next.Disk.FileSize, next.Disk.Gaps, next.Disk.Used = d.FileSize, d.Gaps, d.Used // for settle
		}
		if d.Size != next.Disk.Size {
			delete(next.blocks, uint32(d.Size/disk.BlockSize)) // its end is cleared
			next.Disk.Complete = false
		}
		if child = d; !d.Complete {
			break // what it has besides hides what is older
		}
	}
	if next.Disk == nil {
		return nil, nil
	}
	next.Disk.Blocks = len(next.blocks)
	oldest, err := openDiskFile(ctx, fsys, path.Join(dir, chain[0]), vhd.Recover)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // it has its new name already: nothing is left to be foreseen
	}
	if err != nil {
		return nil, err
	}
	next.Disk.Parent = parentOf(oldest.img)
	if parent != next.Disk.Parent { // another tool has merged into it what is not known
		next.Disk.Complete, next.Disk.Gaps, next.Disk.Used = false, false, nil
	}
	return next, oldest.close()
}

// continues tells whether parent is what d was made on, kept in the same way, so
// that blocks are moved as they are.
func (d *diskEvidence) continues(parent *diskEvidence) bool {
	return d.Parent == parent.UUID && (d.Files == nil) == (parent.Files == nil) && d.Files[filterName] == parent.Files[filterName]
}

// filterName says in a disk that is kept as a directory how it is compressed.
const filterName = "chunk-filters.json"

// parentOf returns the uuid that the header names, zeros for a disk without a parent.
func parentOf(img *vhd.Image) string {
	header := img.Header()
	return header.ParentUUID.String()
}

// settle makes what was foreseen of a merge that is finished what is known of the
// merged disk, and forgets the others.
func settle(ctx context.Context, fsys remote.Filesystem, dir string, chain []string) error {
	youngest := path.Join(dir, chain[len(chain)-1])
	next, err := readEvidence(ctx, fsys, youngest, nextSuffix)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errEvidence):
		// Nothing was known, or is not any more.
		if err := removeEvidence(ctx, fsys, youngest); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		if err := complete(ctx, fsys, next); err != nil {
			return err
		}
		if err := writeEvidence(ctx, fsys, next, ""); err != nil {
			return err
		}
		if err := fsys.Remove(ctx, evidenceName(youngest)+nextSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("catalog: %w", err)
		}
	}
	for _, name := range chain[:len(chain)-1] {
		if err := removeEvidence(ctx, fsys, path.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// complete adds to what was foreseen what the structures around the blocks are
// now, which were just written.
func complete(ctx context.Context, fsys remote.Filesystem, next *evidence) (err error) {
	f, err := openDiskFile(ctx, fsys, next.File, vhd.Strict)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	if f.img.UUID().String() != next.Disk.UUID || parentOf(f.img) != next.Disk.Parent {
		return fmt.Errorf("catalog: disk %s is not what a merge was to make: %w", next.File, vhd.ErrMergeState)
	}
	next.Disk.Chain = nil
	if f.file == nil {
		return completeDirectory(ctx, fsys, next)
	}
	old := next.Disk.FileSize
	next.Disk.FileSize, next.Disk.HeadLength = f.img.FileSize(), headLength(f.img)
	if next.Disk.Head, err = sumRange(f.file, 0, next.Disk.HeadLength); err != nil || !next.Disk.Gaps {
		return err
	}
	was := map[[2]int64]gap{}
	for _, g := range next.Disk.Used {
		was[[2]int64{g.Off, g.Len}] = g
	}
	next.Disk.Used = nil
	for g := range gapsOf(f.img) {
		if known, ok := was[[2]int64{g.Off, g.Len}]; ok {
			next.Disk.Used = append(next.Disk.Used, known)
			continue
		}
		if g.Len < maxGap && g.Off+g.Len <= old-footerSize {
			continue // as it was: zeros
		}
		if g.Digest, err = sumRange(f.file, g.Off, g.Len); err != nil {
			return err
		}
		next.Disk.Used = append(next.Disk.Used, g)
	}
	return nil
}

func completeDirectory(ctx context.Context, fsys remote.Filesystem, next *evidence) error {
	dir := path.Dir(next.File)
	target, err := vhd.AliasTarget(ctx, &diskDir{fsys, dir}, next.File[len(dir)+1:])
	if err != nil {
		return err
	}
	alias, err := remote.ReadFile(ctx, fsys, next.File, maxSmall)
	if err != nil {
		return err
	}
	files := map[string]digest{}
	for _, name := range []string{"header", "footer", "bat", filterName} {
		data, err := remote.ReadFile(ctx, fsys, path.Join(dir, target, name), maxSmall)
		if errors.Is(err, fs.ErrNotExist) && name == filterName {
			continue
		}
		if err != nil {
			return err
		}
		files[name] = sha256.Sum256(data)
	}
	next.Disk.Target, next.Disk.Files, next.Disk.Alias = target, files, sha256.Sum256(alias)
	next.Disk.FileSize, next.Disk.Gaps, next.Disk.Used = 0, false, nil
	return nil
}

// sweepEvidence removes what is known of files that are no more, and settles what
// a crash has left between a merge and its evidence. names are the files of dir.
func sweepEvidence(ctx context.Context, fsys remote.Filesystem, dir string) error {
	place := path.Dir(evidenceName(path.Join(dir, "any")))
	entries, err := fsys.ReadDir(ctx, place)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("catalog: list %s: %w", place, err)
	}
	found := map[string]bool{}
	for _, e := range entries {
		name, kind, ok := evidenceOf(e.Name())
		if e.IsDir() || (!ok && !remote.IsTemp(e.Name())) {
			continue
		}
		if !ok {
			if err := fsys.Remove(ctx, path.Join(place, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("catalog: %w", err)
			}
			continue
		}
		found[name] = found[name] || kind != ""
	}
	for name, isNext := range found {
		file := path.Join(dir, name)
		_, err := fsys.Stat(ctx, file)
		if errors.Is(err, fs.ErrNotExist) {
			err = removeEvidence(ctx, fsys, file)
		} else if err == nil && isNext {
			err = settleLate(ctx, fsys, file)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// settleLate judges what was foreseen of a merge that is not under way any more.
func settleLate(ctx context.Context, fsys remote.Filesystem, file string) error {
	next, err := readEvidence(ctx, fsys, file, nextSuffix)
	if err == nil {
		err = settleIf(ctx, fsys, next)
	}
	if errors.Is(err, errEvidence) || errors.Is(err, vhd.ErrMergeState) || errors.Is(err, fs.ErrNotExist) {
		err = fsys.Remove(ctx, evidenceName(file)+nextSuffix) // it never began
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	return err
}

func settleIf(ctx context.Context, fsys remote.Filesystem, next *evidence) error {
	if len(next.Disk.Chain) == 0 {
		return errEvidence
	}
	dir := path.Dir(next.File)
	for _, name := range next.Disk.Chain {
		if _, err := fsys.Stat(ctx, path.Join(dir, vhd.MergeStateName(name))); !errors.Is(err, fs.ErrNotExist) {
			return err // it is still to be finished
		}
	}
	return settle(ctx, fsys, dir, next.Disk.Chain)
}
