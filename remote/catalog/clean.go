package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

// CleanOptions directs [Session.Clean]. nil is fine.
type CleanOptions struct {
	// Plan bounds what is done to what it names: each step of it is taken only if
	// it is found to be due again. nil: whatever is due.
	Plan *CleanPlan

	// Grace is how long something must have been known for garbage, to a clean
	// before this one, until it is removed. With 0 it is enough that there was one.
	Grace time.Duration

	// NoTrash removes garbage for good. Without it garbage lies under
	// /.xenbackup/trash until the next clean, unless the storage has less than a
	// twentieth of its space left.
	NoTrash bool

	// Merge bounds the merges.
	Merge *MergeOptions
}

// PlanClean looks at all that the repository holds of the VM and says what is not
// in order and what [Session.Clean] would do about it. It changes nothing and
// takes no lock: while somebody else works on the VM, it may see what will have
// changed a moment later. An error is one of the storage or of ctx; the plan is
// then what was found before it, and not nil.
func (c *Catalog) PlanClean(ctx context.Context, vm string) (*CleanPlan, error) {
	return c.planClean(ctx, vm, nil)
}

func (c *Catalog) planClean(ctx context.Context, vm string, opts *CleanOptions) (*CleanPlan, error) {
	dir, err := vmDir(vm)
	if err != nil {
		return &CleanPlan{VM: vm}, err
	}
	k := newCleaner(&Session{c: c, fsys: remote.ReadOnly(c.fsys), vm: vm, dir: dir}, opts)
	k.dry = true
	return k.run(ctx)
}

// Clean puts all that the repository holds of the VM in order. It does what
// [Session.Merge] does, and looks further:
//
//   - disks that no point needs, whole or damaged, with their data, also in
//     directories that no point refers to any more; aliases and data that lost
//     each other; archives and checksums without their point; temporary files,
//     ours and Xen Orchestra's; states of merges that nothing is left of; empty
//     directories;
//   - metadata that a merge should have changed, and a cache that does not tell
//     what is there: both are corrected;
//   - points that lack a disk or an archive, or whose archive is cut short, and
//     files that no tool makes: these are reported, and stay.
//
// What is wrong has three states. Unknown is what could not be read: nothing is
// changed in this VM then, whatever else was found, for it may be what the unknown
// needs. Nothing is ever removed because of an error of the storage.
//
// Nothing is removed on the evidence of one look either, except temporary files
// of this library, which the lock proves to be left over: what is proven to be
// garbage is remembered under /.xenbackup/clean, and goes when a later clean finds
// the same, unchanged. It then lies under /.xenbackup/trash, by the path it had,
// until the clean after that. As long as some point lacks something, the trash is
// not emptied: what is missed may be there. A clean that is killed at any step
// has moved aside, or not, what the next one finds or not.
//
// The plan that is returned has everything that was found, and what was done:
// [CleanFinding].Done. It is never nil, and complete up to the error.
func (s *Session) Clean(ctx context.Context, opts *CleanOptions) (*CleanPlan, error) {
	look := newCleaner(&Session{c: s.c, fsys: remote.ReadOnly(s.fsys), vm: s.vm, dir: s.dir}, opts)
	if s.writing.Load() > 0 {
		return look.plan, ErrBusy
	}
	if err := s.check(ctx); err != nil {
		return look.plan, err
	}
	look.dry = true
	plan, err := look.run(ctx)
	if err == nil && s.c.isFixed {
		return plan, fmt.Errorf("catalog: clean vm %s: %w", s.vm, ErrAppendOnly)
	}
	if err == nil && !plan.Stopped { // nothing is unknown: all is judged again, and done
		plan, err = s.cleanUp(ctx, plan, opts)
	}
	if err != nil {
		err = fmt.Errorf("catalog: clean vm %s: %w", s.vm, err)
	}
	return plan, err
}

// cleanUp does what was planned, unless somebody reads points of the VM.
func (s *Session) cleanUp(ctx context.Context, planned *CleanPlan, opts *CleanOptions) (plan *CleanPlan, err error) {
	ch, err := s.beginChange(ctx)
	if err != nil {
		return planned, err
	}
	defer func() { err = errors.Join(err, ch.end(ctx)) }()
	if len(ch.readers) > 0 {
		return planned, ErrLeased
	}
	k := newCleaner(s, opts)
	k.m.change = ch
	return k.run(ctx)
}
