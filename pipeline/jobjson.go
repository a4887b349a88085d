package pipeline

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// jobFields is Job without its methods.
type jobFields Job

func jobKeys() []string {
	return []string{"id", "name", "type", "mode", "vms", "remotes", "settings", "compression"}
}

// UnmarshalJSON decodes a job, keeping unknown fields in Extra.
func (j *Job) UnmarshalJSON(text []byte) error {
	var fields jobFields
	if err := json.Unmarshal(text, &fields); err != nil {
		return fmt.Errorf("pipeline: job: %w", err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return fmt.Errorf("pipeline: job: %w", err)
	}
	fields.origin = map[string]json.RawMessage{}
	for _, key := range jobKeys() {
		if value, ok := all[key]; ok {
			fields.origin[key] = value
			delete(all, key)
		}
	}
	*j = Job(fields)
	if len(all) > 0 {
		j.Extra = all
	}
	return nil
}

// MarshalJSON encodes the job together with what is in Extra. What was read and has
// not been changed is written as it was, fields that were absent or empty included.
func (j *Job) MarshalJSON() ([]byte, error) {
	all, err := fieldsOf(jobFields(*j))
	if err != nil {
		return nil, err
	}
	if j.origin != nil {
		if err := j.restoreOrigin(all); err != nil {
			return nil, err
		}
	}
	for key, value := range j.Extra {
		if _, own := all[key]; !own { // a field of ours wins over one of the same name
			all[key] = value
		}
	}
	return json.Marshal(all)
}

// restoreOrigin puts back what was read, where all says the same.
func (j *Job) restoreOrigin(all map[string]json.RawMessage) error {
	text, err := json.Marshal(j.origin)
	if err != nil {
		return err
	}
	var read jobFields
	if err := json.Unmarshal(text, &read); err != nil {
		return err
	}
	before, err := fieldsOf(read)
	if err != nil {
		return err
	}
	for _, key := range jobKeys() {
		if !bytes.Equal(all[key], before[key]) {
			continue
		}
		if value, ok := j.origin[key]; ok {
			all[key] = value
		} else {
			delete(all, key)
		}
	}
	return nil
}

func fieldsOf(fields jobFields) (map[string]json.RawMessage, error) {
	text, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	var all map[string]json.RawMessage
	err = json.Unmarshal(text, &all)
	return all, err
}
