package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/vhd"
)

// cleaner is one clean of a VM. The merger looks and merges; what it finds to be
// garbage comes here.
type cleaner struct {
	m    *merger
	opts *CleanOptions
	dry  bool
	now  time.Time

	memory cleanMemory // what earlier cleans found
	trash  trash

	mu   sync.Mutex
	plan *CleanPlan
	seen cleanMemory // what this one found
}

// garbageItem is something that is proven to be garbage, as far as one look can.
type garbageItem struct {
	name      string // from the root
	kind      CleanKind
	err       error // why
	isCorrupt bool
	isTree    bool   // a directory
	data      string // what goes with an alias; "" for nothing
	hold      bool   // something else that is still there depends on it
}

func newCleaner(s *Session, opts *CleanOptions) *cleaner {
	if opts == nil {
		opts = &CleanOptions{}
	}
	k := &cleaner{opts: opts, now: time.Now().UTC(), plan: &CleanPlan{VM: s.vm, Findings: []CleanFinding{}}, seen: cleanMemory{}}
	k.m = newMerger(s, opts.Merge)
	k.m.clean = k
	k.trash = trash{fsys: s.fsys, dir: path.Join(trashDir, s.vm)}
	return k
}

func (k *cleaner) run(ctx context.Context) (*CleanPlan, error) {
	memory, err := readMemory(ctx, k.m.s.fsys, k.m.s.vm)
	if err != nil {
		k.finding(CleanFinding{Path: memoryName(k.m.s.vm), Kind: KindOther, State: StateUnknown, Reason: err.Error(), Action: ActionNone})
		k.plan.Stopped = true
		return k.plan, err
	}
	k.memory = memory
	err = k.m.run(ctx)
	if err == nil && !k.m.isBlocked() {
		err = k.rest(ctx)
	}
	k.plan.Stopped = k.m.isBlocked()
	for _, f := range k.m.report.Unknown {
		k.report(f, StateUnknown)
	}
	for _, f := range k.m.report.Left {
		k.report(f, StateValid)
	}
	k.plan.sort()
	if k.dry {
		return k.plan, err
	}
	k.plan.Merges = k.m.report
	if !k.plan.Stopped && ctx.Err() == nil {
		err = errors.Join(err, k.remember(ctx))
	}
	return k.plan, err
}

// remember writes down what was seen. What was not found any more is forgotten,
// unless the clean did not come to its end.
func (k *cleaner) remember(ctx context.Context) error {
	if err := k.m.s.check(ctx); err != nil {
		return err
	}
	return k.seen.write(ctx, k.m.s.fsys, k.m.s.vm, k.memory)
}

// report takes over what the merger found.
func (k *cleaner) report(f Finding, state CleanState) {
	kind := KindDisk
	name := path.Join(k.m.s.dir, f.Path)
	if f.Path == k.m.s.dir || f.Path == "" || path.Dir(path.Dir(f.Path)) == vdisName {
		kind = KindDirectory
	}
	if isPointName(path.Base(name)) && path.Dir(name) == k.m.s.dir {
		kind = KindPoint
	}
	switch {
	case errors.Is(f.Err, errMissing), errors.Is(f.Err, errParentMissing):
		state = StateCorrupt
	case errors.Is(f.Err, errData):
		kind = KindOther
	case state == StateUnknown && kind == KindDisk && !isUnknown(f.Err):
		state = StateCorrupt
	}
	k.finding(CleanFinding{Path: name, Kind: kind, State: state, Reason: f.Err.Error(), Action: ActionNone})
}

func (k *cleaner) finding(f CleanFinding) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.plan.Findings = append(k.plan.Findings, f)
}

// act takes an action that needs no second look: do is not called in a dry run,
// nor for what the plan does not have.
func (k *cleaner) act(ctx context.Context, f CleanFinding, do func() error) error {
	if k.dry || !k.opts.Plan.wants(f.Path, f.Kind) {
		k.finding(f)
		return nil
	}
	err := k.m.s.check(ctx)
	if err == nil {
		err = do()
	}
	f.Done = err == nil
	if errors.Is(err, fs.ErrPermission) { // it is protected
		f.Reason += "; " + err.Error()
		err = nil
	}
	k.finding(f)
	return err
}

// temp removes a temporary file of this library: the lock proves that its writer
// is no more.
func (k *cleaner) temp(ctx context.Context, name string) error {
	size, err := sizeOf(ctx, k.m.s.fsys, name)
	if err != nil {
		return err
	}
	f := CleanFinding{Path: name, Kind: KindTemporary, State: StateValid, Reason: "its writer did not come to an end", Bytes: size, Action: ActionRemove}
	return k.act(ctx, f, func() error {
		if err := k.m.s.fsys.Remove(ctx, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// mayMerge notes a merge and tells whether it is to be made.
func (k *cleaner) mayMerge(name string, chain []string, resumed bool) bool {
	f := CleanFinding{Path: name, Kind: KindMerge, State: StateValid, Reason: "no point needs the disks before it", Action: ActionMerge, Chain: chain}
	if resumed {
		f.Reason, f.Action = "it was interrupted", ActionResume
	}
	f.Done = !k.dry && k.opts.Plan.wants(name, KindMerge)
	k.finding(f)
	return f.Done
}

// discard moves garbage to the trash if an earlier clean has seen it as it is, and
// remembers it otherwise.
func (k *cleaner) discard(ctx context.Context, g garbageItem) (gone bool, err error) {
	info, err := k.m.s.fsys.Stat(ctx, g.name)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	f := CleanFinding{Path: g.name, Kind: g.kind, State: StateValid, Reason: g.err.Error(), Action: ActionRemember}
	if g.isCorrupt {
		f.State = StateCorrupt
	}
	for _, name := range []string{g.name, g.data} {
		n, err := sizeOf(ctx, k.m.s.fsys, name)
		if err != nil {
			return false, err
		}
		f.Bytes += n
	}
	now := newSighting(g.kind, info, k.now)
	if before, ok := k.memory[g.name]; ok && before.isSame(now) {
		now.First, f.Since = before.First, before.First
		if !g.hold && k.now.Sub(before.First) >= k.opts.Grace {
			f.Action = ActionTrash
		}
	}
	k.see(g.name, now)
	if f.Action == ActionRemember {
		f.Done = !k.dry
		k.finding(f)
		return false, nil
	}
	if k.opts.NoTrash || !k.trash.hasRoom(ctx) {
		f.Action = ActionRemove
	}
	if k.dry {
		k.finding(f)
		return true, nil
	}
	err = k.act(ctx, f, func() error {
		gone = true
		return k.putAway(ctx, g, f.Action == ActionTrash)
	})
	if err != nil {
		return false, err
	}
	return gone && k.isDone(g.name), nil
}

// putAway empties the name: children go before parents, and an alias before its data.
func (k *cleaner) putAway(ctx context.Context, g garbageItem, keep bool) error {
	for _, name := range []string{g.name, g.data} {
		if name == "" {
			continue
		}
		if keep {
			err := k.trash.put(ctx, name, k.m.rel(name), k.now)
			if err == nil || !isAcross(err) {
				if err != nil {
					return err
				}
				continue
			}
		}
		if err := remote.RemoveAll(ctx, k.m.s.fsys, name); err != nil {
			return err
		}
		if err := remote.SyncDir(ctx, k.m.s.fsys, path.Dir(name)); err != nil {
			return err
		}
	}
	return nil
}

func (k *cleaner) see(name string, s sighting) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen[name] = s
}

// isDone tells whether what was found last about the name was dealt with, and
// forgets it then.
func (k *cleaner) isDone(name string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	done := slices.ContainsFunc(k.plan.Findings, func(f CleanFinding) bool { return f.Path == name && f.Done })
	if done {
		delete(k.seen, name)
	}
	return done
}

// ruins are the proofs that a disk is none, and never will be one.
func isRuin(err error) bool {
	for _, proof := range []error{
		vhd.ErrNotVHD, vhd.ErrChecksum, vhd.ErrTruncated, vhd.ErrInconsistent, vhd.ErrBAT, vhd.ErrTrailingData, vhd.ErrFilter,
	} {
		if errors.Is(err, proof) && !errors.Is(err, ErrOutside) {
			return true
		}
	}
	return false
}

// sizeOf is how many bytes a file, or all files below a directory, have; 0 for
// what does not exist.
func sizeOf(ctx context.Context, fsys remote.Filesystem, name string) (int64, error) {
	if name == "" {
		return 0, nil
	}
	var sum int64
	err := remote.Walk(ctx, fsys, name, func(_ string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if e.IsDir() {
			return nil
		}
		info, err := e.Info()
		if err == nil {
			sum += info.Size()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("catalog: size of %s: %w", name, err)
	}
	return sum, nil
}
