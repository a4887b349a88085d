package pipeline

import (
	"context"
	"errors"

	"github.com/xenbackup/xenbackup/xapi"
)

// The keys that XO keeps in other_config of snapshots and their disks. They are
// the whole memory that a job has of the pool's side: whatever runs the job next
// finds its base by them.
const (
	keyJob         = "xo:backup:job"
	keySchedule    = "xo:backup:schedule"
	keyVM          = "xo:backup:vm"               // uuid of the VM that was snapshotted
	keyDatetime    = "xo:backup:datetime"         // see datetimeLayout
	keyContentKey  = "xo:backup:contentKey"       // disks only: uuid of the snapshot VDI
	keyChainLength = "xo:backup:deltaChainLength" // decimal: 0 for a full one
	keyExported    = "xo:backup:exported"         // "true" once every target has committed
	keyQcow2Fix    = "xo:backup:includeNonNbdQcow2Fix"
	keyCopyOf      = "xo:copy_of"        // on replicas, which are never ours to touch
	keyBaseDelta   = "xo:base_delta_vdi" // in metadata: uuid of the base
)

// datetimeLayout is the form of dates in other_config: UTC, to the second, so
// that they sort as text.
const datetimeLayout = "20060102T15:04:05Z"

// resetKeys are the keys that a live VM and its disks must not have: a snapshot
// would inherit them and look as if it had been exported.
func resetKeys() []string {
	return []string{
		keyContentKey, keyCopyOf, keyDatetime, keyChainLength, keyExported,
		keyQcow2Fix, keyJob, keySchedule, keyVM,
	}
}

// entry is a key of a map field, with its value.
type entry struct{ key, value string }

// setEntry gives a map field of an object an entry, whatever was there before.
// Somebody may add the key between the two calls it takes: then it tries again.
func setEntry[T any](ctx context.Context, pool Pool, class string, ref xapi.Ref[T], field string, e entry) error {
	const attempts = 3
	var err error
	for range attempts {
		if err = removeEntry(ctx, pool, class, ref, field, e.key); err != nil {
			return err
		}
		err = pool.Call(ctx, class+".add_to_"+field, nil, ref, e.key, e.value)
		if !errors.Is(err, errDuplicateKey) {
			return err
		}
	}
	return err
}

var errDuplicateKey = &xapi.Error{Code: "MAP_DUPLICATE_KEY"}

// removeEntry removes a key of a map field; one that is not there is fine.
func removeEntry[T any](ctx context.Context, pool Pool, class string, ref xapi.Ref[T], field, key string) error {
	return pool.Call(ctx, class+".remove_from_"+field, nil, ref, key)
}

// tag sets entries of other_config.
func tag[T any](ctx context.Context, pool Pool, class string, ref xapi.Ref[T], entries []entry) error {
	for _, e := range entries {
		if err := setEntry(ctx, pool, class, ref, "other_config", e); err != nil {
			return err
		}
	}
	return nil
}

// untag removes from other_config what a live object must not have; present is
// what it has.
func untag[T any](ctx context.Context, pool Pool, class string, ref xapi.Ref[T], present map[string]string) error {
	for _, key := range resetKeys() {
		if _, ok := present[key]; !ok {
			continue
		}
		if err := removeEntry(ctx, pool, class, ref, "other_config", key); err != nil {
			return err
		}
	}
	return nil
}
