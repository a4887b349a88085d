package catalog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
)

// Metadata is the content of a backup's JSON file. Records are kept as Xen
// Orchestra wrote them, in JSON-RPC form; maps are keyed by the OpaqueRef an
// object had when it was backed up. Fields that this type does not know are in
// Extra and are written again.
//
// A nil map or slice and an empty string are left out of the JSON; an empty
// map or slice is written.
type Metadata struct {
	Mode       string // "full" or "delta"
	JobID      string
	ScheduleID string // retention counts by it
	Timestamp  int64  // milliseconds since 1970: when the snapshot was taken
	Version    string // "2.0.0"

	VM         json.RawMessage // the VM when it was backed up
	VMSnapshot json.RawMessage // the snapshot that was exported

	VDIs map[string]json.RawMessage // of a delta backup
	VBDs map[string]json.RawMessage
	VIFs map[string]json.RawMessage
	VHDs map[string]string // disk to file, relative to the directory of the VM; the keys of VDIs

	VTPMs             []*string       // contents; nil where reading one failed
	IsVHDDifferencing map[string]bool // informative: all false after a merge

	Size int64    // bytes written for this backup; of merged disks after a merge
	Tags []string // buckets of long-term retention, such as "daily=2026-01-10"; not the tags of the VM
	XVA  string   // of a full backup: the archive, relative to the directory of the VM

	// IncludeNonNbdQcow2Fix is true in backups by a writer that transfers qcow2
	// disks right without NBD. Xen Orchestra distrusts chains without it.
	IncludeNonNbdQcow2Fix bool

	Extra map[string]json.RawMessage
}

// UnmarshalJSON decodes the metadata of Xen Orchestra. Booleans may be 0 or 1,
// as pools before XenServer 7.1 had them.
func (m *Metadata) UnmarshalJSON(data []byte) error {
	*m = Metadata{}
	extra, err := decodeFields(bytes.Clone(data), fieldsOf(m)) // once, for all that is kept of it
	m.Extra = extra
	return err
}

// MarshalJSON encodes compactly, with the keys in Xen Orchestra's order.
func (m Metadata) MarshalJSON() ([]byte, error) {
	return encodeFields(m.Extra, fieldsOf(&m))
}

// decodeFields decodes an object into fields, and returns what they do not take. What
// is kept raw is part of data.
func decodeFields(data []byte, fields map[string]field) (extra map[string]json.RawMessage, err error) {
	var raw map[string]json.RawMessage
	if !json.Valid(data) {
		return nil, json.Unmarshal(data, &raw)
	}
	if raw, err = split(data); err != nil {
		return nil, err
	}
	if raw == nil {
		return nil, fmt.Errorf("null: %w", ErrIncomplete)
	}
	for key, dst := range fields {
		value, ok := raw[key]
		if !ok {
			continue
		}
		delete(raw, key)
		if err := dst.decode(value); err != nil {
			return nil, fmt.Errorf("field %s: %w", key, err)
		}
	}
	if len(raw) == 0 {
		return nil, nil
	}
	return raw, nil
}

func encodeFields(extra map[string]json.RawMessage, fields map[string]field) ([]byte, error) {
	raw := maps.Clone(extra)
	if raw == nil {
		raw = map[string]json.RawMessage{}
	}
	for key, src := range fields {
		if src.absent() {
			continue
		}
		value, err := src.encode()
		if err != nil {
			return nil, fmt.Errorf("catalog: field %s: %w", key, err)
		}
		raw[key] = value
	}
	return encodeOrdered(raw)
}
