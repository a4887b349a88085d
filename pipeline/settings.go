package pipeline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/xenbackup/xenbackup/remote/catalog"
)

// Settings are the settings of a job that this package acts on, resolved for one
// scope. XO's names and defaults.
type Settings struct {
	// ExportRetention is how many restore points a target keeps per schedule. 0:
	// the target is not written to, unless LongTerm keeps something.
	ExportRetention int
	// SnapshotRetention is how many snapshots of each schedule stay on the pool;
	// the newest of the job stays in any case, as the base of the next delta.
	SnapshotRetention int
	// FullInterval makes every Nth backup of a chain a full one: 3 gives full,
	// delta, delta, full. 1 is always full, 0 never of itself.
	FullInterval int
	// Concurrency is how many VMs of the job are backed up at a time: 2 when
	// absent, and 0 for all.
	Concurrency int
	// DiskPerVMConcurrency is how many disks of a VM are read at a time; 0 for all.
	DiskPerVMConcurrency int
	// DeleteFirst removes expired points of a target before the new one is
	// written rather than after: for want of space, at the price of safety.
	DeleteFirst bool
	// BypassVDIChainsCheck takes a snapshot of disks that have not been coalesced
	// since the last ones.
	BypassVDIChainsCheck bool
	// UnconditionalSnapshot makes full backups of halted and suspended VMs from a
	// snapshot too. Otherwise these are exported themselves, unless the job keeps
	// snapshots or a disk is left out, and cannot be started meanwhile.
	UnconditionalSnapshot bool
	// OfflineBackup shuts a running guest down and starts it again when all of it was
	// read; a full backup is then made without a snapshot. It excludes
	// SnapshotRetention.
	OfflineBackup bool
	// OfflineSnapshot shuts a running guest down for the time of the snapshot.
	OfflineSnapshot bool
	// CheckpointSnapshot takes the memory of a running or suspended VM along, so that
	// what is restored goes on where it was. It yields to the two above.
	CheckpointSnapshot bool
	// MaxMergedDeltasPerRun bounds how many points of a target expire in one run,
	// the oldest first: no bound when absent, and none expires for 0.
	MaxMergedDeltasPerRun int
	// Retries is how often a VM is backed up again, after all others, when its backup
	// failed. XO's nRetriesVmBackupFailures.
	Retries int
	// Timeout bounds a run of the job, VMTimeout the backup of each VM; 0: no bound.
	// In JSON they are milliseconds.
	Timeout, VMTimeout time.Duration
	// MaxExportRate is how many bytes a second all exports of a run may read together;
	// 0: no bound.
	MaxExportRate int
	// LongTerm is what a target keeps of a schedule besides the newest points: one of
	// each day, week, month or year. nil is nothing. XO's longTermRetention, in the
	// time zone of the setting timezone.
	LongTerm *catalog.LongTerm
	// ReportWhen says when somebody wants to hear of a run. It is shown in the
	// run's task; who reports acts on it.
	ReportWhen string

	// NotHonoured lists, sorted, the settings of XO that are set and that this
	// package does not act on: a run warns of them.
	NotHonoured []string
}

// DefaultConcurrency is the number of VMs at a time of a job that does not say.
const DefaultConcurrency = 2

// SettingError says which setting of a job is wrong, and why.
type SettingError struct {
	Key    string
	Value  string // as JSON
	Reason string
}

// Error returns the setting with the reason.
func (e *SettingError) Error() string {
	return fmt.Sprintf("pipeline: setting %s: %s: %s", e.Key, e.Value, e.Reason)
}

// Resolve merges the settings of the scopes, a later one over an earlier one,
// over the defaults. The order of XO is "", the schedule's id, the VM's uuid and
// the target's id; scopes that the job does not have are passed over. A key
// that a scope does not have stays as it was; one that it has counts even as 0.
func (j *Job) Resolve(scopes ...string) (Settings, error) {
	raw := map[string]json.RawMessage{}
	for _, scope := range scopes {
		own, ok := j.Settings[scope]
		if !ok {
			continue
		}
		var object map[string]json.RawMessage
		if err := json.Unmarshal(own, &object); err != nil {
			return Settings{}, &SettingError{Key: fmt.Sprintf("scope %q", scope), Value: shortened(own), Reason: "not a JSON object"}
		}
		maps.Copy(raw, object)
	}
	return decodeSettings(raw)
}

func decodeSettings(raw map[string]json.RawMessage) (Settings, error) {
	s := Settings{Concurrency: DefaultConcurrency, MaxMergedDeltasPerRun: math.MaxInt, ReportWhen: "failure"}
	targets := s.fields()
	for key, value := range raw {
		if isUnset(value) {
			continue
		}
		if target, ok := targets[key]; ok {
			if err := decodeSetting(key, value, target); err != nil {
				return Settings{}, err
			}
		} else if passedOver[key] != "" && !isOff(value) {
			s.NotHonoured = append(s.NotHonoured, key)
		}
	}
	slices.Sort(s.NotHonoured)
	if s.OfflineBackup && s.SnapshotRetention > 0 {
		return Settings{}, &SettingError{
			Key: "offlineBackup", Value: "true", Reason: "not with a snapshotRetention above 0: it is to do without snapshots",
		}
	}
	return s, s.decodeLongTerm(raw)
}

// fields returns where the settings go that are decoded one by one.
func (s *Settings) fields() map[string]any {
	return map[string]any{
		"exportRetention":       &s.ExportRetention,
		"snapshotRetention":     &s.SnapshotRetention,
		"fullInterval":          &s.FullInterval,
		"concurrency":           &s.Concurrency,
		"diskPerVmConcurrency":  &s.DiskPerVMConcurrency,
		"deleteFirst":           &s.DeleteFirst,
		"bypassVdiChainsCheck":  &s.BypassVDIChainsCheck,
		"unconditionalSnapshot": &s.UnconditionalSnapshot,
		"maxMergedDeltasPerRun": &s.MaxMergedDeltasPerRun,
		"reportWhen":            &s.ReportWhen,
		"offlineBackup":         &s.OfflineBackup,
		"offlineSnapshot":       &s.OfflineSnapshot,
		"checkpointSnapshot":    &s.CheckpointSnapshot,

		"nRetriesVmBackupFailures": &s.Retries,
		"timeout":                  &s.Timeout,
		"vmTimeout":                &s.VMTimeout,
		"maxExportRate":            &s.MaxExportRate,
	}
}

func (s *Settings) decodeLongTerm(raw map[string]json.RawMessage) (err error) {
	value := raw["longTermRetention"]
	if isUnset(value) || isOff(value) {
		return nil
	}
	var timezone string
	if zone := raw["timezone"]; !isUnset(zone) {
		if err := decodeSetting("timezone", zone, &timezone); err != nil {
			return err
		}
	}
	s.LongTerm, err = longTermOf(value, timezone)
	return err
}

// keeps says that a target keeps anything of a schedule.
func (s *Settings) keeps() bool { return s.ExportRetention > 0 || s.LongTerm != nil }

// retention is what a target keeps of the points of a schedule. The point of the run is
// kept in any case.
func (s *Settings) retention(schedule, mode string) catalog.Retention {
	r := catalog.Retention{ScheduleID: schedule, Mode: mode, Keep: max(1, s.ExportRetention), LongTerm: s.LongTerm}
	if mode == catalog.ModeDelta && s.MaxMergedDeltasPerRun < math.MaxInt {
		r.AtMost = s.MaxMergedDeltasPerRun
	}
	return r
}

// isUnset says that XO's form left the field empty.
func isUnset(value json.RawMessage) bool {
	v := bytes.TrimSpace(value)
	return len(v) == 0 || string(v) == "null" || string(v) == `""`
}

func isOff(value json.RawMessage) bool {
	switch string(bytes.TrimSpace(value)) {
	case "false", "0", "[]", "{}":
		return true
	}
	return false
}

func decodeSetting(key string, value json.RawMessage, target any) error {
	wrong := func(reason string) error {
		return &SettingError{Key: key, Value: shortened(value), Reason: reason}
	}
	switch target := target.(type) {
	case *int:
		if json.Unmarshal(value, target) != nil {
			return wrong("not a whole number")
		}
		if *target < 0 {
			return wrong("negative")
		}
	case *time.Duration:
		var ms int64
		if json.Unmarshal(value, &ms) != nil || ms < 0 || ms > math.MaxInt64/int64(time.Millisecond) {
			return wrong("not a number of milliseconds")
		}
		*target = time.Duration(ms) * time.Millisecond
	case *bool:
		if json.Unmarshal(value, target) != nil {
			return wrong("neither true nor false")
		}
	case *string:
		if json.Unmarshal(value, target) != nil {
			return wrong("not a string")
		}
	}
	return nil
}
