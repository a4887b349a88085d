package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/xenbackup/xenbackup/xapi"
)

// blockedReason is the text by which a block of ours, or of XO, is known again:
// one that is found at the start of a run was left by a run that was killed.
const blockedReason = "VM migration is blocked during backup"

func migrationOps() []string { return []string{"pool_migrate", "migrate_send"} }

// blockMigration keeps the VM from being moved away under the export. The
// returned function gives the VM back what it had before; it must be called also
// after an error.
func (v *vmRun) blockMigration(ctx context.Context) (unblock func(context.Context) error, err error) {
	pool, ref := v.pool, v.ref
	nothing := func(context.Context) error { return nil }
	var before map[string]string
	if err := pool.Call(ctx, "VM.get_blocked_operations", &before, ref); err != nil {
		return nothing, fmt.Errorf("block migration: %w", err)
	}
	noted, err := v.intend(intent{Kind: intentMigration, Before: ownBlocks(before)})
	if err != nil {
		return nothing, fmt.Errorf("block migration: %w", err)
	}
	unblock = func(ctx context.Context) error {
		_, err := unblockMigration(ctx, patientPool{pool}, ref, before)
		if err == nil {
			noted.done()
		}
		return err
	}
	for _, op := range migrationOps() {
		if before[op] == blockedReason {
			continue // a leaving that now serves its purpose; unblock removes it
		}
		if err := setEntry(ctx, pool, "VM", ref, "blocked_operations", entry{op, blockedReason}); err != nil {
			return unblock, fmt.Errorf("block migration: %w", err)
		}
	}
	return unblock, nil
}

// ownBlocks is what of the blocks of a VM a run replaces.
func ownBlocks(before map[string]string) map[string]string {
	replaced := map[string]string{}
	for _, op := range migrationOps() {
		if reason, blocked := before[op]; blocked {
			replaced[op] = reason
		}
	}
	return replaced
}

// unblockMigration gives the VM back what it had before, but for what somebody else has
// set meanwhile. It tells whether there was anything to do.
func unblockMigration(ctx context.Context, pool Pool, ref xapi.Ref[xapi.VM], before map[string]string) (changed bool, err error) {
	var now map[string]string
	err = pool.Call(ctx, "VM.get_blocked_operations", &now, ref)
	if isGone(err, ref) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("unblock migration: %w", err)
	}
	var errs []error
	for _, op := range migrationOps() {
		reason, blocked := now[op]
		previous, had := before[op]
		if blocked && reason != blockedReason || !blocked && !had {
			continue
		}
		changed = true
		if had && previous != blockedReason {
			errs = append(errs, setEntry(ctx, pool, "VM", ref, "blocked_operations", entry{op, previous}))
		} else {
			errs = append(errs, removeEntry(ctx, pool, "VM", ref, "blocked_operations", op))
		}
	}
	errs = append(errs, pool.Call(ctx, "VM.update_allowed_operations", nil, ref)) // the pool does not do it by itself
	errs = slices.DeleteFunc(errs, func(err error) bool { return isGone(err, ref) })
	if err := errors.Join(errs...); err != nil {
		return false, fmt.Errorf("unblock migration: %w", err)
	}
	return changed, nil
}
