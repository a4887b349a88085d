package pipeline

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/xenbackup/xenbackup/xapi"
)

// patientPool is a pool for cleaning up: while it cannot be reached, since its
// toolstack restarts or another host becomes the master, each call is made again for
// up to cleanupTimeout. All of them must do no harm when they are done twice.
type patientPool struct{ Pool }

// Call implements Pool.
func (p patientPool) Call(ctx context.Context, method string, result any, args ...any) error {
	return untilHeard(ctx, func() error { return p.Pool.Call(ctx, method, result, args...) })
}

// CallAsync implements Pool.
func (p patientPool) CallAsync(ctx context.Context, method string, result any, args ...any) error {
	return untilHeard(ctx, func() error { return p.Pool.CallAsync(ctx, method, result, args...) })
}

// untilHeard makes a call until the pool has said something to it.
func untilHeard(ctx context.Context, call func() error) error {
	for begin := time.Now(); ; {
		err := call()
		if err == nil || !isUnheard(err) || time.Since(begin) > cleanupTimeout || sleep(ctx, time.Second) != nil {
			return err
		}
	}
}

// isUnheard says that there was no pool to hear a call, that it did not live to tell
// the outcome, or that something else answered, as a proxy in front of it does.
func isUnheard(err error) bool {
	return slices.ContainsFunc([]error{
		xapi.ErrUnreachable, xapi.ErrConnectionLost, xapi.ErrProtocol, xapi.ErrStalled, xapi.ErrHostStillBooting, xapi.ErrSessionInvalid, xapi.ErrTaskCancelled,
	}, func(kind error) bool { return errors.Is(err, kind) })
}

// patient returns v with a pool for cleaning up.
func (v *vmRun) patient() *vmRun {
	own := *v
	own.pool = patientPool{v.pool}
	return &own
}

// awaitSnapshot returns when the pool is not at a snapshot of the VM any more, of which
// it is not known what becomes: the connection was lost over it.
func (v *vmRun) awaitSnapshot(ctx context.Context) error {
	for {
		var operations map[string]string
		if err := v.pool.Call(ctx, "VM.get_current_operations", &operations, v.ref); err != nil {
			return err
		}
		if !slices.ContainsFunc(slices.Collect(maps.Values(operations)), func(op string) bool { return slices.Contains(snapshotOps(), op) }) {
			return nil
		}
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

func snapshotOps() []string { return []string{"snapshot", "snapshot_with_quiesce", "checkpoint"} }

// discardLost is discard after the call that was to make the snapshot has failed. When
// the answer was lost, or was not the pool's, the pool may be at it still.
func (v *vmRun) discardLost(ctx context.Context, cause error) error {
	if errors.Is(cause, xapi.ErrConnectionLost) || errors.Is(cause, xapi.ErrProtocol) {
		waiting, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		_ = v.patient().awaitSnapshot(waiting) // discard finds what there is then
	}
	return v.discard(ctx, "")
}
