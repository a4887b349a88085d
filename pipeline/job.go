package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/xenbackup/xenbackup/selector"
)

// Job is a backup job as XO stores it. What this package does not know is kept
// in Extra, so that a job read from XO is written back unchanged.
type Job struct {
	ID       string                     `json:"id"`
	Name     string                     `json:"name"`
	Type     string                     `json:"type"` // "backup"
	Mode     string                     `json:"mode"` // "delta" or "full"
	VMs      json.RawMessage            `json:"vms"`  // a pattern; see [Job.Selector]
	Remotes  json.RawMessage            `json:"remotes,omitempty"`
	Settings map[string]json.RawMessage `json:"settings,omitempty"` // by scope; see [Job.Resolve]

	// Compression is how the pool compresses the archives of full backups: one of the
	// constants. nil: as well as the pool can, zstd or else gzip.
	Compression *string `json:"compression,omitempty"`

	Extra map[string]json.RawMessage `json:"-"`

	origin map[string]json.RawMessage // the JSON that it was read from
}

// ErrPatternUnsupported is returned for a job that names its remotes in a way other
// than by their ids, and by [Job.VMIDs].
var ErrPatternUnsupported = errors.New("pipeline: pattern not supported")

// Types and modes of jobs that this package runs.
const (
	TypeBackup = "backup"
	ModeDelta  = "delta" // the disks, of which only what has changed is read
	ModeFull   = "full"  // the whole VM, as one archive
)

// How archives are compressed, in XO's words.
const (
	CompressionNone   = ""
	CompressionNative = "native" // gzip: all pools have it
	CompressionZstd   = "zstd"   // XCP-ng since 8.1, and XenServers that are licensed for it
)

// IDs returns the idPattern that names exactly ids: what XO writes for a job
// with explicit VMs or remotes.
func IDs(ids ...string) json.RawMessage {
	var pattern any = map[string]any{"id": map[string]any{"__or": ids}}
	if len(ids) == 1 {
		pattern = map[string]any{"id": ids[0]}
	}
	text, _ := json.Marshal(pattern) // strings always marshal
	return text
}

// VMIDs returns the uuids of the VMs that the job lists, in its order. The pattern
// is {"id":"u"} or {"id":{"__or":["u1","u2"]}}; any other is [ErrPatternUnsupported].
func (j *Job) VMIDs() ([]string, error) { return idsOf("vms", j.VMs) }

// RemoteIDs returns the ids of the repositories that the job writes to, in its
// order; none when the job has no remotes.
func (j *Job) RemoteIDs() ([]string, error) {
	if len(j.Remotes) == 0 || string(j.Remotes) == "null" || string(j.Remotes) == "{}" {
		return nil, nil
	}
	return idsOf("remotes", j.Remotes)
}

func idsOf(field string, pattern json.RawMessage) ([]string, error) {
	unsupported := func() error {
		return fmt.Errorf("%w: %s: %s", ErrPatternUnsupported, field, shortened(pattern))
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(pattern, &object); err != nil {
		return nil, unsupported()
	}
	id, ok := object["id"]
	if !ok || len(object) != 1 {
		return nil, unsupported()
	}
	var one string
	if json.Unmarshal(id, &one) == nil && one != "" {
		return []string{one}, nil
	}
	var or map[string][]string
	if json.Unmarshal(id, &or) == nil && len(or) == 1 && or["__or"] != nil {
		return distinct(or["__or"]), nil
	}
	return nil, unsupported()
}

func distinct(ids []string) []string {
	seen := map[string]bool{}
	var out []string
	for _, id := range ids {
		if !seen[id] {
			out = append(out, id)
		}
		seen[id] = true
	}
	return out
}

func shortened(text []byte) string {
	const most = 200
	if len(text) > most {
		return string(text[:most]) + "…"
	}
	return string(text)
}

// Validate says what makes the job unfit to run, in words for whoever wrote it.
func (j *Job) Validate() error {
	var errs []error
	if j.ID == "" {
		errs = append(errs, errors.New("pipeline: job without an id: backups of different jobs would share a chain"))
	}
	if j.Type != TypeBackup {
		errs = append(errs, fmt.Errorf("pipeline: job type %q: only %q is supported", j.Type, TypeBackup))
	}
	if j.Mode != ModeDelta && j.Mode != ModeFull {
		errs = append(errs, fmt.Errorf("pipeline: job mode %q: only %q and %q are supported", j.Mode, ModeDelta, ModeFull))
	}
	if c := j.Compression; c != nil && *c != CompressionNone && *c != CompressionNative && *c != CompressionZstd {
		errs = append(errs, fmt.Errorf("pipeline: compression %q: only %q, %q and none are supported", *c, CompressionNative, CompressionZstd))
	}
	_, err := j.Selector(nil)
	if !errors.Is(err, selector.ErrNoMatch) { // a list of none is for the run to report
		errs = append(errs, err)
	}
	_, err = j.RemoteIDs()
	errs = append(errs, err)
	if _, err := j.Resolve(""); err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, scope := range slices.Sorted(maps.Keys(j.Settings)) {
		if _, err := j.Resolve("", scope); err != nil {
			errs = append(errs, fmt.Errorf("scope %q: %w", scope, err))
		}
	}
	return errors.Join(errs...)
}
