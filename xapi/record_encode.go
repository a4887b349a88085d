package xapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

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
	value := reflect.ValueOf(record).Elem()
	plan := layoutOf(value.Type())
	for i := range plan.fields {
		name, field := plan.fields[i].name, value.Field(plan.fields[i].at)
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
		if _, named := plan.byName[name]; extra[name] != nil && !named {
			write(name, extra[name])
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
