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

// chainFiles opens the VHDs of one chain and holds them open. It sees through
// merges that were interrupted, its own and those of Xen Orchestra:
//
//   - while the blocks move, the oldest disk of the merge is a file without a
//     valid end, and at last carries the uuid of the youngest: it is read all
//     the same, for the younger ones still hold every block that moves;
//   - in the cleanup after that, the oldest disk is complete and stands in for
//     the youngest, whose file and whose parents may be gone.
type chainFiles struct {
	fsys   remote.Filesystem
	root   string // the directory of the VM, which no path may leave
	files  []*diskFile
	merges map[string][]pendingMerge // by directory
	disks  map[string][]string       // names in a directory, sorted
	ahead  *ahead                    // nil: each disk is opened when it is asked for

	preferOldest bool // read the oldest disk of a merge in its cleanup for the youngest
}

// pendingMerge is a merge that has a state file.
type pendingMerge struct {
	oldest   string // file the blocks go to; from the root
	youngest string // file it will replace; "" when the state does not say
	state    *vhd.MergeState
}

func newChainFiles(fsys remote.Filesystem, root string) *chainFiles {
	return &chainFiles{fsys: fsys, root: root, merges: map[string][]pendingMerge{}, disks: map[string][]string{}}
}

// openChain opens the disk name and all its parents. A merge may rename and
// remove files while it does: a chain that does not fit together is looked at
// twice more before that is believed.
func (o *chainFiles) openChain(ctx context.Context, name string) (chain *vhd.Chain, err error) {
	for range 3 {
		chain, err = o.openOnce(ctx, name)
		if err == nil || !mayBeMoving(err) {
			return chain, err
		}
		if err := o.close(); err != nil {
			return nil, err
		}
		clear(o.merges)
		clear(o.disks)
		o.preferOldest = false
	}
	return nil, err
}

// mayBeMoving tells whether the error of a chain may come from a merge that goes
// on at the moment: of what is opened, some is then older than the rest, or half
// written.
func mayBeMoving(err error) bool {
	for _, moving := range []error{fs.ErrNotExist, vhd.ErrParentNotFound, vhd.ErrParentMismatch, vhd.ErrCycle} {
		if errors.Is(err, moving) {
			return true
		}
	}
	return !isUnknown(err)
}

func (o *chainFiles) openOnce(ctx context.Context, name string) (*vhd.Chain, error) {
	chain, err := o.tryChain(ctx, name)
	if !errors.Is(err, vhd.ErrParentNotFound) || !o.cleaning() {
		return chain, err
	}
	// A cleanup may have removed what is between the youngest and the oldest.
	if err := o.close(); err != nil {
		return nil, err
	}
	o.preferOldest = true
	return o.tryChain(ctx, name)
}

func (o *chainFiles) tryChain(ctx context.Context, name string) (*vhd.Chain, error) {
	leaf, err := o.open(ctx, name)
	if err != nil {
		return nil, err
	}
	return o.chainFrom(ctx, leaf)
}

func (o *chainFiles) chainFrom(ctx context.Context, leaf *diskFile) (*vhd.Chain, error) {
	chain, err := vhd.OpenChain(ctx, leaf.img, o.openParent, &vhd.ChainOptions{AcceptParent: o.accept})
	o.ahead.drop()
	if err != nil {
		return nil, fmt.Errorf("catalog: disk %s: %w", leaf.name, err)
	}
	return chain, nil
}

// close closes all files.
func (o *chainFiles) close() error {
	var errs []error
	for _, f := range o.files {
		errs = append(errs, f.close())
	}
	o.files = nil
	return errors.Join(errs...)
}

// open opens the disk name, or what stands in for it. As long as its own file
// is there that is read: Xen Orchestra does not sync the oldest disk of a merge
// before it says that it is complete.
func (o *chainFiles) open(ctx context.Context, name string) (*diskFile, error) {
	pending, err := o.pending(ctx, path.Dir(name))
	if err != nil {
		return nil, err
	}
	if o.preferOldest {
		if f, err := o.openStandIn(ctx, pending, name); !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	f, err := o.openFile(ctx, name)
	if errors.Is(err, fs.ErrNotExist) || (isAliasName(name) && errors.Is(err, vhd.ErrNotVHD)) { // or its alias was torn
		if standIn, otherErr := o.openStandIn(ctx, pending, name); !errors.Is(otherErr, fs.ErrNotExist) {
			return standIn, otherErr
		}
	}
	if err != nil {
		return nil, err
	}
	return o.keep(f), nil
}

// openFile opens a disk that has a file of its own. Where merges are pending nothing is
// opened ahead: what is read then depends on what was seen before.
func (o *chainFiles) openFile(ctx context.Context, name string) (*diskFile, error) {
	mode := vhd.Strict
	if o.isOldestOfMerge(name) {
		mode = vhd.Recover
	}
	dir := path.Dir(name)
	if o.ahead == nil || len(o.merges[dir]) > 0 {
		return openDiskFile(ctx, o.fsys, name, mode)
	}
	f, err := o.ahead.open(ctx, name)
	if err == nil && f.img.Type() == vhd.Differencing {
		o.ahead.guess(ctx, name, o.disks[dir])
	}
	return f, err
}

// openStandIn opens the complete disk that a merge in its cleanup is about to
// give the name; fs.ErrNotExist when there is none.
func (o *chainFiles) openStandIn(ctx context.Context, pending []pendingMerge, name string) (*diskFile, error) {
	for _, m := range pending {
		if m.youngest != name || m.state.Step != vhd.StepCleanup {
			continue
		}
		f, err := openDiskFile(ctx, o.fsys, m.oldest, vhd.Recover)
		if err != nil {
			return nil, err
		}
		if f.img.UUID() == m.state.Child {
			return o.keep(f), nil
		}
		if err := f.close(); err != nil {
			return nil, err
		}
	}
	return nil, fs.ErrNotExist
}

func (o *chainFiles) keep(f *diskFile) *diskFile {
	o.files = append(o.files, f)
	return f
}

// openParent implements vhd.Opener: the first candidate with the right uuid,
// or else the first there is, for OpenChain to judge. Only a candidate that is
// proven not to exist is passed over.
func (o *chainFiles) openParent(ctx context.Context, child *vhd.Image, ref vhd.ParentRef) (*vhd.Image, error) {
	dir := path.Dir(o.nameOf(child))
	var first *diskFile
	for _, candidate := range ref.Names {
		name, err := within(o.root, dir, candidate)
		if err != nil {
			return nil, err
		}
		f, err := o.open(ctx, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if o.accept(child, f.img) {
			return f.img, nil
		}
		if first == nil {
			first = f
		}
	}
	if first == nil {
		return nil, fmt.Errorf("%w: %q in %s", vhd.ErrParentNotFound, ref.Names, dir)
	}
	return first.img, nil
}

// accept tells whether parent is the one that child was made on: it has the
// uuid, or a merge into it has just given it the uuid of the youngest.
func (o *chainFiles) accept(child, parent *vhd.Image) bool {
	want := child.Parent().UUID
	if parent.UUID() == want {
		return true
	}
	name := o.nameOf(parent)
	for _, m := range o.merges[path.Dir(name)] {
		if m.oldest == name && m.state.Parent == want && m.state.Child == parent.UUID() {
			return true
		}
	}
	return false
}

func (o *chainFiles) nameOf(img *vhd.Image) string {
	for _, f := range o.files {
		if f.img == img {
			return f.name
		}
	}
	return o.root
}

// pending returns the merges that a directory has state files of. A state that
// was torn, since Xen Orchestra does not write it atomically, says only which
// disk the blocks go to.
func (o *chainFiles) pending(ctx context.Context, dir string) ([]pendingMerge, error) {
	if merges, ok := o.merges[dir]; ok {
		return merges, nil
	}
	entries, err := o.fsys.ReadDir(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("catalog: list %s: %w", dir, err)
	}
	merges, disks := []pendingMerge{}, []string{}
	for _, e := range entries {
		if isDiskName(e.Name()) {
			disks = append(disks, e.Name())
		}
		oldest, ok := mergeStateOf(e.Name())
		if !ok {
			continue
		}
		m, err := readMerge(ctx, o.fsys, dir, oldest)
		if errors.Is(err, vhd.ErrMergeState) {
			m, err = pendingMerge{oldest: path.Join(dir, oldest), state: &vhd.MergeState{}}, nil
		}
		if err == nil {
			merges = append(merges, m)
		} else if !errors.Is(err, fs.ErrNotExist) && isUnknown(err) {
			return nil, err
		}
	}
	slices.Sort(disks)
	o.merges[dir], o.disks[dir] = merges, disks
	return merges, nil
}

// cleaning tells whether a merge in a directory seen so far is in its cleanup.
func (o *chainFiles) cleaning() bool {
	for _, merges := range o.merges {
		for _, m := range merges {
			if m.state.Step == vhd.StepCleanup {
				return true
			}
		}
	}
	return false
}

// isOldestOfMerge tells whether the file, opened before, is what a merge that
// is not finished gathers blocks in.
func (o *chainFiles) isOldestOfMerge(name string) bool {
	for _, m := range o.merges[path.Dir(name)] {
		if m.oldest == name {
			return true
		}
	}
	return false
}

// isTakenByMerge tells whether the file, opened before, is one that a merge which
// is not finished will take away: any of it but the youngest.
func (o *chainFiles) isTakenByMerge(name string) bool {
	return slices.ContainsFunc(o.merges[path.Dir(name)], func(m pendingMerge) bool {
		return m.oldest == name || m.youngest != name && slices.Contains(m.state.Chain, path.Base(name))
	})
}
