package xapitest

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
)

// marshalJSON writes a value as a host does: NaN, Infinity and -Infinity stand in
// it as they are, which is no JSON.
func marshalJSON(value any) ([]byte, error) {
	text, err := json.Marshal(value)
	if _, ok := errors.AsType[*json.UnsupportedValueError](err); !ok {
		return text, err
	}
	mark := newUUID() // no string of the value has it
	text, err = json.Marshal(withoutNonFinite(value, func(x float64) any { return mark + floatName(x) }))
	for _, name := range []string{"NaN", "Infinity", "-Infinity"} {
		text = bytes.ReplaceAll(text, []byte(strconv.Quote(mark+name)), []byte(name))
	}
	return text, err
}

func floatName(x float64) string {
	switch {
	case math.IsNaN(x):
		return "NaN"
	case x > 0:
		return "Infinity"
	}
	return "-Infinity"
}

// withoutNonFinite replaces the numbers in a value that JSON does not know.
func withoutNonFinite(value any, by func(x float64) any) any {
	switch v := value.(type) {
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return by(v)
		}
	case map[string]float64:
		return eachMember(v, by)
	case map[string]any:
		return eachMember(v, by)
	case record:
		return record(eachMember(v, by))
	case map[string]record:
		return eachMember(v, by)
	case []event:
		out := make([]event, len(v))
		for i, e := range v {
			if e.Snapshot != nil {
				e.Snapshot = record(eachMember(e.Snapshot, by))
			}
			out[i] = e
		}
		return out
	case eventBatch:
		v.Events, _ = withoutNonFinite(v.Events, by).([]event)
		return v
	}
	return value
}

func eachMember[M ~map[string]T, T any](m M, by func(x float64) any) map[string]any {
	out := make(map[string]any, len(m))
	for name, member := range m {
		out[name] = withoutNonFinite(member, by)
	}
	return out
}
