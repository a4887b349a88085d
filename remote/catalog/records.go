package catalog

import (
	"encoding/json"
	"fmt"
)

const nullRef = `"OpaqueRef:NULL"`

// fillRecords checks the records of the VM and of its snapshot. Xen Orchestra
// takes a snapshot without suspend_VDI for one with memory.
func fillRecords(m *Metadata, vm string) error {
	record, err := object(m.VM)
	if err != nil {
		return fmt.Errorf("vm: %w", err)
	}
	var uuid string
	if err := json.Unmarshal(record["uuid"], &uuid); err != nil || uuid != vm {
		return fmt.Errorf("vm: the uuid of the record is not %s: %w", vm, ErrIncomplete)
	}
	snapshot, err := object(m.VMSnapshot)
	if err != nil {
		return fmt.Errorf("vmSnapshot: %w", err)
	}
	if _, ok := snapshot["suspend_VDI"]; ok {
		return nil
	}
	snapshot["suspend_VDI"] = json.RawMessage(nullRef)
	m.VMSnapshot, err = encodeValue(snapshot)
	return err
}

func object(raw json.RawMessage) (map[string]json.RawMessage, error) {
	if len(raw) == 0 {
		return nil, ErrIncomplete
	}
	if !json.Valid(raw) {
		return nil, json.Unmarshal(raw, new(any))
	}
	fields, err := split(raw)
	if err != nil {
		return nil, err
	}
	if fields == nil {
		return nil, ErrIncomplete
	}
	return fields, nil
}
