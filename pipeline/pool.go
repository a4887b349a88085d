package pipeline

import (
	"context"
	"errors"
	"io"

	"github.com/xenbackup/xenbackup/xapi"
)

// Pool is what a run needs of a pool; an [xapi.Client] has it.
type Pool interface {
	// Call calls a method and decodes its result, unless result is nil.
	Call(ctx context.Context, method string, result any, args ...any) error

	// CallAsync calls a method that takes long as a task, which is cancelled when
	// ctx ends.
	CallAsync(ctx context.Context, method string, result any, args ...any) error

	// ExportVDI opens the content of a disk.
	ExportVDI(ctx context.Context, vdi xapi.Ref[xapi.VDI], opts *xapi.ExportVDIOptions) (*xapi.Download, error)

	// ExportVM opens a VM, or a snapshot of one, as an archive.
	ExportVM(ctx context.Context, vm xapi.Ref[xapi.VM], opts *xapi.ExportVMOptions) (*xapi.Download, error)

	// Features says what the pool can do.
	Features(ctx context.Context) (*xapi.Features, error)

	// ImportVDI writes length bytes of body as the content of a disk.
	ImportVDI(ctx context.Context, vdi xapi.Ref[xapi.VDI], length int64, body io.Reader, opts *xapi.ImportVDIOptions) error
}

var _ Pool = (*xapi.Client)(nil)

// isGone says that err is the pool's answer that the object ref does not exist any
// more; the same about another object, met on the way, is a failure.
func isGone[T any](err error, ref xapi.Ref[T]) bool {
	e, ok := errors.AsType[*xapi.Error](err)
	return ok && errors.Is(e, xapi.ErrHandleInvalid) && len(e.Params) > 1 && e.Params[1] == string(ref)
}
