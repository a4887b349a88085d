package xapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"unicode/utf8"
)

// unmarshalRecord decodes data into the tagged fields of *record and leaves the rest in *extra. A named field that data does not
// carry gets a nil entry in *extra, one that is null gets that null, so that marshalRecord can tell "absent" from "zero".
func unmarshalRecord(data []byte, record classed, extra *map[string]json.RawMessage) error {
	return decodeRecord(data, record, extra, nil)
}

// rawMember is a member of a JSON object whose value is as it came. Its bytes are the caller's.
type rawMember struct {
	name  string
	value []byte
}

// decodeRecord reads one record. With shared, equal values of many records share their memory, so nobody may change them.
func decodeRecord(data []byte, record classed, extra *map[string]json.RawMessage, shared *interner) error {
	if string(bytes.TrimSpace(data)) == "null" {
		return nil
	}
	value := reflect.ValueOf(record).Elem()
	plan := layoutOf(value.Type())
	seen := make([]bool, len(plan.fields))
	for i := range plan.fields {
		value.Field(plan.fields[i].at).SetZero()
	}
	var rest []rawMember
	for member, err := range objectMembers(data, shared) {
		if err != nil {
			return fmt.Errorf("xapi: %s record: %w", record.class(), err)
		}
		i, named := plan.byName[member.name]
		if !named || string(member.value) == "null" {
			rest = append(rest, member)
			continue
		}
		field := value.Field(plan.fields[i].at)
		if seen[i] { // the last one of a name counts
			field.SetZero()
		}
		seen[i] = true
		if err := decodeField(member.value, field, plan.fields[i].form, shared); err != nil {
			return fmt.Errorf("xapi: %s.%s: %w", record.class(), member.name, err)
		}
	}
	for i, present := range seen {
		name := plan.fields[i].name
		if !present && !slices.ContainsFunc(rest, func(m rawMember) bool { return m.name == name }) {
			rest = append(rest, rawMember{name: name})
		}
	}
	*extra = shared.extra(rest)
	return nil
}

// decodeField also takes a number written as a string: repositories hold records that came over XML-RPC, which has no numbers. The
// field is zero.
func decodeField(raw []byte, field reflect.Value, as form, shared *interner) error {
	switch as {
	case formText:
		if text, ok := plainText(raw, shared); ok {
			field.SetString(text)
			return nil
		}
	case formBool:
		if value := string(raw); value == "true" || value == "false" {
			field.SetBool(value == "true")
			return nil
		}
	case formInt:
		if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
			field.SetInt(n)
			return nil
		}
	case formTexts, formDict:
		return shared.collection(raw, field, func() error { return decodeCollection(raw, field, as, shared) })
	default:
	}
	return decodeAny(raw, field)
}

func decodeAny(raw []byte, field reflect.Value) error {
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

// decodeCollection decodes the usual sets and maps, and leaves to encoding/json what holds anything but plain strings.
func decodeCollection(raw []byte, field reflect.Value, as form, shared *interner) error {
	if as == formDict {
		dict := make(map[string]string)
		for member, err := range objectMembers(raw, shared) {
			text, ok := plainText(member.value, shared)
			if err != nil || !ok {
				return decodeAny(raw, field)
			}
			dict[member.name] = text
		}
		field.Set(reflect.ValueOf(dict))
		return nil
	}
	var texts []string
	for value, err := range arrayValues(raw) {
		text, ok := plainText(value, shared)
		if err != nil || !ok {
			return decodeAny(raw, field)
		}
		texts = append(texts, text)
	}
	set := reflect.MakeSlice(field.Type(), len(texts), len(texts))
	for i, text := range texts {
		set.Index(i).SetString(text)
	}
	field.Set(set)
	return nil
}

// plainText decodes a JSON string; false is another type of value.
func plainText(raw []byte, shared *interner) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	inner := raw[1 : len(raw)-1]
	for i, b := range inner {
		if b == '\\' || b >= utf8.RuneSelf && !utf8.Valid(inner[i:]) {
			var text string
			err := json.Unmarshal(raw, &text)
			return text, err == nil
		}
	}
	return shared.text(inner), true
}
