package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/remote/catalog"
)

// ErrNoTarget ends the backup of a VM all of whose targets have failed; why they
// did is in their own tasks.
var ErrNoTarget = errors.New("pipeline: no target left")

// target is a repository in the run of one VM. One that fails is dropped: its
// tasks say why, and the others go on.
type target struct {
	id       string
	settings Settings
	catalog  *catalog.Catalog

	session  *catalog.Session
	point    point                  // nil until it begins
	disks    *catalog.PointWriter   // the point, of a delta backup
	archive  *catalog.ArchiveWriter // the point, of a full backup
	export   *task.Task             // nil until the export begins
	transfer *task.Task

	mu      sync.Mutex
	err     error // why it was dropped
	written int64 // bytes of blocks
	planned int64 // bytes of the blocks of the disks begun so far
}

// point is a restore point that is being written.
type point interface {
	Commit(ctx context.Context, m catalog.Metadata) (*catalog.Point, error)
	Abort(ctx context.Context) error
}

// open locks the VM on the target and cleans up after earlier runs. As in XO, that
// is a task only before a delta, unless there is something to tell.
func (t *target) open(ctx context.Context, vm string, parent *task.Task, isFull bool) {
	start := sync.OnceValue(func() *task.Task { return parent.Start("clean-vm", map[string]any{"id": t.id}) })
	if !isFull {
		start()
	}
	session, err := t.catalog.LockVM(ctx, vm)
	if err != nil {
		start().Fail(coded(err))
		t.drop(err)
		return
	}
	t.session = session
	report, err := t.merge(ctx, start)
	if !isFull || err != nil || len(report.Merged)+len(report.Removed)+len(report.Unknown)+len(report.Left) > 0 {
		endClean(start(), report, err)
	}
}

// clean merges what has expired and removes what belongs to nothing. A failure
// costs space, not backups: it is the task's alone.
func (t *target) clean(ctx context.Context, tk *task.Task) {
	report, err := t.merge(ctx, func() *task.Task { return tk })
	endClean(tk, report, err)
}

// merge cleans up, and shows merges below the task that start returns.
func (t *target) merge(ctx context.Context, start func() *task.Task) (*catalog.MergeReport, error) {
	merges := &mergeProgress{parent: start}
	report, err := t.session.Merge(ctx, &catalog.MergeOptions{Progress: merges.update})
	merges.end()
	if errors.Is(err, catalog.ErrAppendOnly) {
		err = nil // others merge there
	}
	return report, err
}

// drop takes the target out of the run. The first reason counts.
func (t *target) drop(err error) {
	t.mu.Lock()
	if t.err == nil {
		t.err = err
	}
	t.mu.Unlock()
	if t.transfer != nil {
		t.transfer.Fail(coded(err))
	}
}

// dropped returns why the target was dropped, or nil.
func (t *target) dropped() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// progress adds to the bytes planned and written, and tells the transfer's task.
func (t *target) progress(planned, written int64) {
	t.mu.Lock()
	t.planned += planned
	t.written += written
	planned, written = t.planned, t.written
	t.mu.Unlock()
	t.transfer.Progress(written, planned)
}

// begin starts the target's tasks and its point.
func (t *target) begin(ctx context.Context, parent *task.Task, spec catalog.PointSpec, isFull bool) {
	t.export = parent.Start("export", map[string]any{"type": "remote", "id": t.id, "isFull": isFull})
	t.transfer = t.export.Start("transfer", nil)
	spec.LongTerm = t.settings.LongTerm
	if err := t.newPoint(ctx, spec); err != nil { // before anything is deleted for it
		t.drop(err)
		return
	}
	if t.settings.DeleteFirst {
		if err := t.expire(ctx, spec.ScheduleID, true); err != nil {
			t.drop(err)
		}
	}
}

func (t *target) newPoint(ctx context.Context, spec catalog.PointSpec) (err error) {
	if spec.Mode == catalog.ModeFull {
		if t.archive, err = t.session.NewArchive(ctx, spec); err == nil {
			t.point = t.archive
		}
		return err
	}
	if t.disks, err = t.session.NewPoint(ctx, spec); err == nil {
		t.point = t.disks
	}
	return err
}

// commit makes the point a restore point.
func (t *target) commit(ctx context.Context, m catalog.Metadata) {
	point, err := t.point.Commit(ctx, m)
	if err != nil {
		t.drop(err)
		return
	}
	t.transfer.Succeed(map[string]any{"size": point.Metadata.Size})
}

// finish expires points and cleans up after them, once the new one is safe. As in
// XO, the cleaning belongs to the export of a delta, and to the VM, vm, otherwise.
func (t *target) finish(ctx context.Context, schedule string, vm *task.Task) {
	err := t.expire(ctx, schedule, false)
	if unreadable, ok := errors.AsType[*catalog.PointError](err); ok {
		t.export.Warning("nothing expires while a point cannot be read", map[string]any{"path": unreadable.Path, "error": err.Error()})
		err = nil // the new point is safe
	}
	if err == nil && t.archive == nil {
		t.clean(ctx, t.export.Start("clean-vm", nil))
	}
	t.export.Fail(coded(err))
	if err == nil && t.archive != nil {
		t.clean(ctx, vm.Start("clean-vm", map[string]any{"id": t.id}))
	}
}

// expire deletes the points of the schedule that retention does not keep, of
// deltas at most as many as may be merged in one run; before is before the new
// point is written.
func (t *target) expire(ctx context.Context, schedule string, before bool) error {
	mode := catalog.ModeDelta
	if t.archive != nil {
		mode = catalog.ModeFull
	}
	retention := t.settings.retention(schedule, mode)
	retention.Before = before
	if mode == catalog.ModeDelta && t.settings.MaxMergedDeltasPerRun < 1 {
		return nil
	}
	if before && retention.Keep == 1 {
		return nil // the only one goes once there is another
	}
	_, err := t.session.Expire(ctx, retention)
	if errors.Is(err, catalog.ErrAppendOnly) {
		return nil // others delete there
	}
	return err
}

// close ends whatever is open: a point that was not committed is removed, tasks
// that did not end fail with cause, and the lock is released.
func (t *target) close(ctx context.Context, cause error) error {
	var errs []error
	if t.point != nil {
		errs = append(errs, t.point.Abort(ctx)) // nothing after a commit
	}
	if t.export != nil {
		failure := cause
		if err := t.dropped(); err != nil {
			failure = err
		}
		if failure == nil {
			failure = errors.New("pipeline: the export was not finished")
		}
		t.transfer.Fail(coded(failure))
		t.export.Fail(coded(failure))
	}
	if t.session != nil {
		errs = append(errs, t.session.Close(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("target %s: %w", t.id, err)
	}
	return nil
}
