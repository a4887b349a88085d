package restore

import (
	"encoding/json"
	"fmt"
	"maps"

	"github.com/xenbackup/xenbackup/remote/catalog"
)

// record is an object of a pool as JSON, field by field: what was not in it is
// not sent to the pool either, which then has its own default.
type record map[string]json.RawMessage

// Records are what a VM is made of besides the content of its disks: the objects
// of the pool that it came from, as JSON-RPC shows them. The keys link VBDs to
// VDIs; they mean nothing to the pool that the VM goes to.
type Records struct {
	VM json.RawMessage
	// Snapshot is the record of what was exported, if that is another object. Only a
	// VM with memory needs it: it tells how the guest was booted.
	Snapshot json.RawMessage

	VDIs  map[string]json.RawMessage
	VBDs  map[string]json.RawMessage
	VIFs  map[string]json.RawMessage // with $network$uuid, $network$name_label and $network$VLAN, as XO adds them
	VTPMs []*string                  // contents; nil for one that could not be read
}

// recordsOf returns the records of a point.
func recordsOf(p *catalog.Point) Records {
	m := p.Metadata
	return Records{VM: m.VM, Snapshot: m.VMSnapshot, VDIs: m.VDIs, VBDs: m.VBDs, VIFs: m.VIFs, VTPMs: m.VTPMs}
}

// parseRecord decodes a record. Pools before XenServer 7.1 had 0 and 1 for the
// booleans named.
func parseRecord(raw json.RawMessage, booleans ...string) (record, error) {
	var r record
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, err
	}
	if r == nil {
		return nil, fmt.Errorf("%w: no record", ErrIncomplete)
	}
	for _, name := range booleans {
		switch string(r[name]) {
		case "0":
			r[name] = json.RawMessage("false")
		case "1":
			r[name] = json.RawMessage("true")
		}
	}
	return r, nil
}

// text returns a string field, "" if it is not there.
func (r record) text(name string) string {
	var s string
	if json.Unmarshal(r[name], &s) != nil {
		return ""
	}
	return s
}

// number returns a number, also one written as a string, and 0 if there is none.
func (r record) number(name string) int64 {
	var n json.Number
	if json.Unmarshal(r[name], &n) != nil {
		return 0
	}
	i, err := n.Int64()
	if err != nil {
		return 0
	}
	return i
}

// dict returns a copy of a map field, empty if it is not there.
func (r record) dict(name string) map[string]string {
	var m map[string]string
	if json.Unmarshal(r[name], &m) != nil || m == nil {
		return map[string]string{}
	}
	return m
}

// list returns a set field.
func (r record) list(name string) []string {
	var l []string
	if json.Unmarshal(r[name], &l) != nil {
		return nil
	}
	return l
}

// pick returns the named fields, as far as they are there.
func (r record) pick(names ...string) record {
	out := record{}
	for _, name := range names {
		if v, ok := r[name]; ok && string(v) != "null" {
			out[name] = v
		}
	}
	return out
}

// set gives a field a value that encoding/json can write.
func (r record) set(name string, value any) {
	raw, err := json.Marshal(value)
	if err != nil {
		panic(err) // values of this package: text, numbers, booleans, and maps and lists of text
	}
	r[name] = raw
}

// jobKeys are what backup jobs keep in other_config. A restored VM belongs to no job.
func jobKeys() []string {
	return []string{
		"xo:backup:contentKey", "xo:copy_of", "xo:backup:datetime", "xo:backup:deltaChainLength", "xo:backup:exported",
		"xo:backup:includeNonNbdQcow2Fix", "xo:backup:job", "xo:backup:schedule", "xo:backup:vm", "xo:base_delta_vdi",
		"xenbackup:start", // of a guest that was shut down for its backup
	}
}

// withoutJobKeys returns other_config without what backup jobs keep there.
func withoutJobKeys(config map[string]string) map[string]string {
	config = maps.Clone(config)
	for _, key := range jobKeys() {
		delete(config, key)
	}
	return config
}
