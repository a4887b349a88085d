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
func blockMigration(ctx context.Context, pool Pool, ref xapi.Ref[xapi.VM]) (unblock func(context.Context) error, err error) {
	var before map[string]string
	if err := pool.Call(ctx, "VM.get_blocked_operations", &before, ref); err != nil {
		return func(context.Context) error { return nil }, fmt.Errorf("block migration: %w", err)
	}
	unblock = func(ctx context.Context) error { return unblockMigration(ctx, pool, ref, before) }
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

func unblockMigration(ctx context.Context, pool Pool, ref xapi.Ref[xapi.VM], before map[string]string) error {
	var errs []error
	for _, op := range migrationOps() {
		previous, had := before[op]
		if had && previous != blockedReason {
			errs = append(errs, setEntry(ctx, pool, "VM", ref, "blocked_operations", entry{op, previous}))
		} else {
			errs = append(errs, removeEntry(ctx, pool, "VM", ref, "blocked_operations", op))
		}
	}
	errs = append(errs, pool.Call(ctx, "VM.update_allowed_operations", nil, ref)) // the pool does not do it by itself
	errs = slices.DeleteFunc(errs, func(err error) bool { return isGone(err, ref) })
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("unblock migration: %w", err)
	}
	return nil
}
