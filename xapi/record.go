package xapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Record is satisfied by the pointers to the record types of this package: the classes that [Get], [ByUUID] and [All] can ask for.
type Record[T any] interface {
	*T
	classed
}

// classed knows its class as the pool spells it: VM, but host.
type classed interface {
	class() string
}

// unmarshalRecord decodes data into the tagged fields of *record and leaves the rest in *extra. A named field that data does not
// carry gets a nil entry in *extra, one that is null gets that null, so that marshalRecord can tell "absent" from "zero".
func unmarshalRecord(data []byte, record classed, extra *map[string]json.RawMessage) error {
	if string(bytes.TrimSpace(data)) == "null" {
		return nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return fmt.Errorf("xapi: %s record: %w", record.class(), err)
	}
	for name, field := range recordFields(record) {
		raw, present := members[name]
		field.SetZero()
		if !present || string(raw) == "null" {
			members[name] = raw
			continue
		}
		if err := decodeField(raw, field); err != nil {
			return fmt.Errorf("xapi: %s.%s: %w", record.class(), name, err)
		}
		delete(members, name)
	}
	*extra = nil
	if len(members) > 0 {
		*extra = members
	}
	return nil
}

// decodeField also takes a number written as a string: repositories hold records that came over XML-RPC, which has no numbers.
func decodeField(raw json.RawMessage, field reflect.Value) error {
	err := json.Unmarshal(raw, field.Addr().Interface())
	if err == nil || len(raw) < 2 || raw[0] != '"' {
		return err
	}
	text := string(raw[1 : len(raw)-1])
	switch field.Kind() {
	case reflect.Int64:
		n, parseErr := strconv.ParseInt(text, 10, 64)
		if parseErr != nil {
			return err
		}
		field.SetInt(n)
	case reflect.Float64:
		f, parseErr := strconv.ParseFloat(text, 64)
		if parseErr != nil || f-f != 0 { // NaN and infinities have no JSON form to go back to
			return err
		}
		field.SetFloat(f)
	default:
		return err
	}
	return nil
}

// marshalRecord is the inverse of unmarshalRecord. Named fields come in the order of the struct, then extra by name.
func marshalRecord(record classed, extra map[string]json.RawMessage) ([]byte, error) {
	var out bytes.Buffer
	separator := byte('{')
	write := func(name string, raw []byte) {
		out.WriteByte(separator)
		separator = ','
		key, _ := json.Marshal(name) // a string always marshals
		out.Write(key)
		out.WriteByte(':')
		out.Write(raw)
	}
	named := make(map[string]bool)
	for name, field := range recordFields(record) {
		named[name] = true
		raw, kept := extra[name]
		if !kept || !isEmpty(field) {
			var err error
			if raw, err = encodeField(field); err != nil {
				return nil, fmt.Errorf("xapi: %s.%s: %w", record.class(), name, err)
			}
		}
		if raw != nil {
			write(name, raw)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		if raw := extra[name]; raw != nil && !named[name] {
			write(name, raw)
		}
	}
	if separator == '{' {
		out.WriteByte('{')
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// encodeField writes nil sets and maps as empty ones: the pool refuses null.
func encodeField(field reflect.Value) ([]byte, error) {
	if isEmpty(field) {
		switch field.Kind() {
		case reflect.Map:
			return []byte("{}"), nil
		case reflect.Slice:
			return []byte("[]"), nil
		default:
		}
	}
	return json.Marshal(field.Interface())
}

func isEmpty(field reflect.Value) bool {
	if kind := field.Kind(); kind == reflect.Map || kind == reflect.Slice {
		return field.Len() == 0
	}
	return field.IsZero()
}

// recordFields yields the wire name and the value of each named field, in the order of the struct.
func recordFields(record any) func(yield func(string, reflect.Value) bool) {
	return func(yield func(string, reflect.Value) bool) {
		value := reflect.ValueOf(record).Elem()
		for i := range value.NumField() {
			name, _, _ := strings.Cut(value.Type().Field(i).Tag.Get("json"), ",")
			if name != "-" && !yield(name, value.Field(i)) {
				return
			}
		}
	}
}
