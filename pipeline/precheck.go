package pipeline

import (
	"context"
	"errors"
	"fmt"

	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
)

// UnexpectedFull is what to do about disks that should be backed up as deltas and
// cannot be: because their snapshot is gone, say, or a repository was replaced. The
// first backup of a VM, a new disk, a full interval and a full backup that was asked
// for are no surprise.
type UnexpectedFull struct {
	// Above is how many bytes those disks of a VM may have together; 0 is no limit.
	Above int64
	// Alert warns of more, and backs the VM up all the same; otherwise it is skipped,
	// until a full backup is asked for by [RunOptions].ForceFull.
	Alert bool
}

// ErrUnexpectedFull is returned for a VM that was skipped by [UnexpectedFull].
var ErrUnexpectedFull = errors.New("pipeline: the VM would have to be backed up in full")

// checkUnexpected applies UnexpectedFull to what was chosen.
func (v *vmRun) checkUnexpected(choice *baseChoice) error {
	if v.unexpectedFull.Above <= 0 || len(v.targets) == 0 {
		return nil
	}
	var size int64
	reason := ""
	for _, d := range v.live {
		if choice.unexpected[d.ref] {
			size += d.vdi.VirtualSize
			reason = choice.why(d.ref)
		}
	}
	if size <= v.unexpectedFull.Above {
		return nil
	}
	if v.unexpectedFull.Alert {
		v.task.Warning("unexpected full backup", map[string]any{"size": size, "reason": reason})
		return nil
	}
	return &task.SkipError{
		Reason: fmt.Sprintf("an unexpected full backup of disks of %d bytes, above the limit of %d: %s", size, v.unexpectedFull.Above, reason),
		Err:    ErrUnexpectedFull,
	}
}

// checkRoom says whether the target has room for the blocks that are still to be
// written to it, those of a disk that is about to begin, on base, included.
func (t *target) checkRoom(ctx context.Context, base *catalog.Base) error {
	room, err := t.catalog.Room(ctx, base)
	if err != nil {
		return err
	}
	t.mu.Lock()
	left := t.planned - t.written
	t.mu.Unlock()
	if left > room {
		return fmt.Errorf("pipeline: %d bytes are to be written, and %d are free: %w", left, room, remote.ErrNoSpace)
	}
	return nil
}
