package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/xenbackup/xenbackup/xapi"
)

// Pool is what a restore needs of a pool; an [xapi.Client] has it.
type Pool interface {
	// Call calls a method and decodes its result, unless result is nil.
	Call(ctx context.Context, method string, result any, args ...any) error

	// CallAsync calls a method that takes long as a task, which is cancelled when
	// ctx ends.
	CallAsync(ctx context.Context, method string, result any, args ...any) error

	// ImportVM makes VMs of an archive of length bytes, and returns them.
	ImportVM(ctx context.Context, length int64, body io.Reader, opts *xapi.ImportVMOptions) ([]xapi.Ref[xapi.VM], error)

	// ImportVDI writes length bytes of body as the content of a disk.
	ImportVDI(ctx context.Context, vdi xapi.Ref[xapi.VDI], length int64, body io.Reader, opts *xapi.ImportVDIOptions) error
}

var _ Pool = (*xapi.Client)(nil)

// cleanupTimeout bounds what is done after the caller's context has ended.
const cleanupTimeout = 2 * time.Minute

// isGone says that err is the pool's answer that the object ref does not exist any
// more; the same about another object, met on the way, is a failure.
func isGone[T any](err error, ref xapi.Ref[T]) bool {
	e, ok := errors.AsType[*xapi.Error](err)
	return ok && errors.Is(e, xapi.ErrHandleInvalid) && len(e.Params) > 1 && e.Params[1] == string(ref)
}

// destroyVM destroys a VM that was just made; one that is gone is fine.
func destroyVM(ctx context.Context, pool Pool, ref xapi.Ref[xapi.VM]) error {
	err := pool.CallAsync(ctx, "VM.destroy", nil, ref)
	if err == nil || isGone(err, ref) {
		return nil
	}
	return fmt.Errorf("restore: destroy the incomplete VM: %w", err)
}

// destroyVDI destroys a disk; one that is gone is fine. An import that was just
// cancelled keeps its disk attached for a moment, so it tries again for a while.
func destroyVDI(ctx context.Context, pool Pool, ref xapi.Ref[xapi.VDI]) error {
	const attempts = 10
	pause := 100 * time.Millisecond
	for attempt := 1; ; attempt++ {
		err := pool.CallAsync(ctx, "VDI.destroy", nil, ref)
		if err == nil || isGone(err, ref) {
			return nil
		}
		if !errors.Is(err, xapi.ErrVDIInUse) || attempt == attempts || sleep(ctx, pause) != nil {
			return fmt.Errorf("restore: destroy an incomplete disk: %w", err)
		}
		pause = min(2*pause, 5*time.Second)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
