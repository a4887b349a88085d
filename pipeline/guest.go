package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/xenbackup/xenbackup/xapi"
)

// Tags by which a VM asks for a snapshot mode, where no setting does.
const (
	tagOffline = "xo-offline-backup" // as offlineSnapshot
	tagMemory  = "xo-memory-backup"  // as checkpointSnapshot
)

// keyStart marks, in other_config of a VM, a guest that a backup shut down and that it
// is going to start again: whoever finds it after a crash does so instead. The value is
// the uuid of the VM, which keeps copies of it from being taken for it, and since when
// it ran.
const keyStart = "xenbackup:start"

// guestTimeout bounds the start of a guest after its backup: longer than other clean-up,
// for to give up leaves it halted.
const guestTimeout = 10 * time.Minute

// ErrStartBlocked is returned for a VM that was to be shut down for its backup and could
// not be started again, because somebody has blocked that.
var ErrStartBlocked = errors.New("pipeline: the VM must not be shut down: its start is blocked")

// heedTags lets the VM's tags choose a snapshot mode if the settings leave it open.
func (v *vmRun) heedTags() {
	s := &v.settings
	if s.OfflineBackup || s.OfflineSnapshot || s.CheckpointSnapshot {
		return
	}
	has := func(tag string) bool { return slices.Contains(v.vm.Tags, tag) }
	switch {
	case has(tagOffline):
		s.OfflineSnapshot = true
		v.task.Info("snapshot mode by tag", map[string]any{"tag": tagOffline})
	case has(tagMemory):
		s.CheckpointSnapshot = true
		v.task.Info("snapshot mode by tag", map[string]any{"tag": tagMemory})
	}
}

// wake takes over a guest that an interrupted run left down: it is started now, or
// after the backup if that is to be made of a guest that is down. The VM's record then
// shows it as it was.
func (v *vmRun) wake(ctx context.Context) error {
	if _, marked := v.vm.OtherConfig[keyStart]; !marked {
		return nil
	}
	down, err := isLeftDown(ctx, v.pool, v.vm)
	if err != nil {
		return err
	}
	if down {
		v.task.Info("guest of an interrupted run found shut down", nil)
	}
	if down && (v.settings.OfflineBackup || v.settings.OfflineSnapshot) {
		v.halted, v.vm.PowerState = true, "Running"
		return nil
	}
	if err := startMarked(ctx, v.pool, v.ref); err != nil {
		return fmt.Errorf("start the guest that an interrupted run shut down: %w", err)
	}
	vm, err := xapi.Get(ctx, v.pool, v.ref)
	if err != nil {
		return err
	}
	v.vm.PowerState = vm.PowerState
	return nil
}

// needsHalt says that the guest is to be shut down for its backup.
func (v *vmRun) needsHalt() bool {
	return (v.settings.OfflineBackup || v.settings.OfflineSnapshot) && v.vm.PowerState == "Running"
}

// wantsMemory says that the snapshot is to hold the memory of the guest.
func (v *vmRun) wantsMemory() bool {
	return v.settings.CheckpointSnapshot && !v.needsHalt() && slices.Contains([]string{"Running", "Suspended"}, v.vm.PowerState)
}

// halt shuts the guest down, if the settings want that. It is started again by start,
// at the latest when the backup of the VM ends.
func (v *vmRun) halt(ctx context.Context) error {
	if !v.needsHalt() {
		return nil
	}
	vm, err := xapi.Get(ctx, v.pool, v.ref) // it may have waited for long
	if err != nil {
		return fmt.Errorf("shut the guest down: %w", err)
	}
	if vm.PowerState == "Halted" {
		return nil
	}
	if _, blocked := vm.BlockedOperations["start"]; blocked {
		return ErrStartBlocked
	}
	since, err := runningSince(ctx, v.pool, vm)
	if err != nil {
		return fmt.Errorf("shut the guest down: %w", err)
	}
	if v.down, err = v.intend(intent{Kind: intentHalted}); err != nil {
		return err
	}
	mark := entry{keyStart, vm.UUID + " " + since.UTC().Format(time.RFC3339)}
	v.halted = true // or may be, from here on
	if err := setEntry(ctx, v.pool, "VM", v.ref, "other_config", mark); err != nil {
		return fmt.Errorf("shut the guest down: %w", err)
	}
	if err := v.pool.CallAsync(ctx, "VM.clean_shutdown", nil, v.ref); err != nil {
		if errors.Is(err, xapi.ErrVMBadPowerState) { // somebody else stopped it meanwhile
			v.halted = false
			err = errors.Join(err, v.unmark(ctx))
			v.down.done()
		}
		return fmt.Errorf("shut the guest down: %w", err)
	}
	return nil
}

// unmark takes the mark off a VM that is not ours to start.
func (v *vmRun) unmark(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	return removeEntry(ctx, patientPool{v.pool}, "VM", v.ref, "other_config", keyStart)
}

// start starts the guest if the run has shut it down, also after ctx has ended.
func (v *vmRun) start(ctx context.Context) error {
	if !v.halted {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), guestTimeout)
	defer cancel()
	if err := startMarked(ctx, patientPool{v.pool}, v.ref); err != nil {
		return fmt.Errorf("start the guest again: %w", err)
	}
	v.halted = false
	v.down.done()
	return nil
}

// startEarly is start before the end of the backup. What stands in the way may be gone
// by then.
func (v *vmRun) startEarly(ctx context.Context) {
	if err := v.start(ctx); err != nil {
		v.task.Warning("the guest is still down", map[string]any{"error": err.Error()})
	}
}

// startMarked starts a VM that a backup has shut down, unless somebody has started it
// since, and takes the mark off. It waits for what goes on with the VM, such as a
// shutdown or an export that was just cancelled.
func startMarked(ctx context.Context, pool Pool, ref xapi.Ref[xapi.VM]) error {
	const longest = 5 * time.Second
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, longest) {
		vm, err := xapi.Get(ctx, pool, ref)
		if isGone(err, ref) {
			return nil
		}
		if err != nil {
			return err
		}
		if !stops(vm) {
			err = startOne(ctx, pool, ref, vm)
			if err == nil || !errors.Is(err, xapi.ErrOtherOperationInProgress) && !errors.Is(err, xapi.ErrVMBadPowerState) {
				return err
			}
		}
		if ended := sleep(ctx, pause); ended != nil {
			return errors.Join(ended, err)
		}
	}
}

// stops says that the VM is being shut down.
func stops(vm *xapi.VM) bool {
	for _, op := range vm.CurrentOperations {
		if op == "clean_shutdown" || op == "shutdown" {
			return true
		}
	}
	return false
}

func startOne(ctx context.Context, pool Pool, ref xapi.Ref[xapi.VM], vm *xapi.VM) error {
	if _, marked := vm.OtherConfig[keyStart]; !marked {
		return nil
	}
	down, err := isLeftDown(ctx, pool, vm)
	if err != nil {
		return err
	}
	if down {
		if err := pool.CallAsync(ctx, "VM.start", nil, ref, false, false); err != nil {
			return err
		}
	}
	return removeEntry(ctx, pool, "VM", ref, "other_config", keyStart)
}

// isLeftDown says that the VM is as a backup left it that shut it down: nobody has
// started it since.
func isLeftDown(ctx context.Context, pool Pool, vm *xapi.VM) (bool, error) {
	uuid, before, _ := strings.Cut(vm.OtherConfig[keyStart], " ")
	at, err := time.Parse(time.RFC3339, before)
	if err != nil || uuid != vm.UUID || vm.PowerState != "Halted" {
		return false, nil //nolint:nilerr // a mark that is not ours
	}
	since, err := runningSince(ctx, pool, vm)
	return err == nil && !since.After(at), err
}

// runningSince returns when the VM was started last, to the second.
func runningSince(ctx context.Context, pool Pool, vm *xapi.VM) (time.Time, error) {
	if vm.Metrics.IsNull() {
		return time.Time{}, nil
	}
	metrics, err := xapi.Get(ctx, pool, vm.Metrics)
	if err != nil {
		return time.Time{}, err
	}
	if metrics.StartTime.IsZero() {
		return time.Time{}, nil
	}
	at, err := metrics.StartTime.Time()
	return at.Truncate(time.Second), err
}
