package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/xenbackup/xenbackup/xapi"
)

// snapshot takes the snapshot of the run and makes it the job's own. When it
// fails there is none.
func (v *vmRun) snapshot(ctx context.Context, gens []*generation, choice *baseChoice) (snap *snapshot, err error) {
	tk := v.task.Start("snapshot", nil)
	defer func() {
		if err != nil {
			tk.Fail(coded(v.causeOr(ctx, err)))
			return
		}
		tk.Succeed(snap.vm.UUID)
	}()
	if v.taken, err = v.intend(intent{Kind: intentSnapshot, Remotes: v.targetIDs()}); err != nil {
		return nil, err
	}
	ref, err := v.takeSnapshot(ctx)
	if err != nil {
		undoing := v.discardLost(ctx, err)
		if _, refused := errors.AsType[*xapi.Error](err); refused && undoing == nil {
			v.taken.done() // else the pool may be amid it: the next run looks for it
		}
		return nil, errors.Join(err, undoing)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, v.discard(ctx, ref))
		}
	}()
	if snap, err = v.describeSnapshot(ctx, ref); err != nil {
		return nil, err
	}
	if err := v.noteSnapshot(ctx, snap); err != nil {
		return nil, err
	}
	if snap.at, err = v.pointTime(ctx, gens); err != nil {
		return nil, err
	}
	for _, d := range snap.disks {
		if d.source == nil {
			continue
		}
		d.base = choice.disks[d.vdi.SnapshotOf]
	}
	if err := v.destroyExcluded(ctx, snap); err != nil {
		return nil, err
	}
	return snap, v.tagSnapshot(ctx, snap)
}

// noteSnapshot adds to the intent which snapshot it is that would be left.
func (v *vmRun) noteSnapshot(ctx context.Context, snap *snapshot) error {
	disks, err := snapshotDisks(ctx, v.pool, snap.vm)
	if err != nil {
		return err
	}
	return v.taken.update(func(in *intent) { in.Ref, in.Disks = string(snap.ref), disks })
}

// pointTime returns the time of the new point, to the second: now, unless
// something is as late already. It names the files and dates the snapshot, and
// both must grow from run to run.
func (v *vmRun) pointTime(ctx context.Context, gens []*generation) (time.Time, error) {
	at := time.Now().UTC().Truncate(time.Second)
	after := func(t time.Time) {
		if next := t.UTC().Truncate(time.Second).Add(time.Second); next.After(at) {
			at = next
		}
	}
	for _, g := range gens {
		if t, err := time.Parse(datetimeLayout, g.datetime); err == nil {
			after(t)
		}
	}
	for _, t := range v.alive() {
		latest, err := t.session.Latest(ctx)
		if err != nil {
			t.drop(err)
			continue
		}
		after(latest)
	}
	return at, v.requireTarget()
}

// discard destroys the snapshot of a run that failed, also after ctx has ended.
// Without a ref it looks for one that was made although the call failed.
func (v *vmRun) discard(ctx context.Context, ref xapi.Ref[xapi.VM]) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	var err error
	if ref.IsNull() {
		err = v.patient().sweepTemp(ctx)
	} else {
		err = destroySnapshot(ctx, patientPool{v.pool}, ref, nil)
	}
	if err != nil {
		return fmt.Errorf("destroy the snapshot of the run: %w", err)
	}
	if !ref.IsNull() {
		v.taken.done()
	}
	return nil
}
