package catalog

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"unicode/utf8"
)

// field binds a key of the JSON to a member of Metadata.
type field struct {
	decode func(json.RawMessage) error
	encode func() (json.RawMessage, error)
	absent func() bool
}

func fieldsOf(m *Metadata) map[string]field {
	return map[string]field{
		"mode":                  stringField(&m.Mode),
		"jobId":                 stringField(&m.JobID),
		"scheduleId":            stringField(&m.ScheduleID),
		"timestamp":             intField(&m.Timestamp),
		"version":               stringField(&m.Version),
		"vm":                    rawField(&m.VM),
		"vmSnapshot":            rawField(&m.VMSnapshot),
		"vdis":                  rawsField(&m.VDIs),
		"vbds":                  rawsField(&m.VBDs),
		"vifs":                  rawsField(&m.VIFs),
		"vhds":                  jsonField(&m.VHDs, func() bool { return m.VHDs == nil }),
		"vtpms":                 jsonField(&m.VTPMs, func() bool { return m.VTPMs == nil }),
		"isVhdDifferencing":     boolsField(&m.IsVHDDifferencing),
		"size":                  intField(&m.Size),
		"tags":                  jsonField(&m.Tags, func() bool { return m.Tags == nil }),
		"xva":                   stringField(&m.XVA),
		"includeNonNbdQcow2Fix": boolField(&m.IncludeNonNbdQcow2Fix),
	}
}

func jsonField(v any, absent func() bool) field {
	return field{
		decode: func(raw json.RawMessage) error { return json.Unmarshal(raw, v) },
		encode: func() (json.RawMessage, error) { return encodeValue(v) },
		absent: absent,
	}
}

func stringField(s *string) field {
	f := jsonField(s, func() bool { return *s == "" })
	f.decode = func(raw json.RawMessage) error {
		if n := len(raw); n >= 2 && raw[0] == '"' && !bytes.ContainsRune(raw, '\\') && utf8.Valid(raw) {
			*s = string(raw[1 : n-1])
			return nil
		}
		return json.Unmarshal(raw, s)
	}
	return f
}

func rawField(r *json.RawMessage) field {
	f := jsonField(r, func() bool { return *r == nil })
	f.decode = func(raw json.RawMessage) error {
		*r = raw
		return nil
	}
	return f
}

// rawsField is a map of records that stay as they are.
func rawsField(m *map[string]json.RawMessage) field {
	f := jsonField(m, func() bool { return *m == nil })
	f.decode = func(raw json.RawMessage) (err error) {
		*m, err = split(raw)
		return err
	}
	return f
}

// split takes a valid object apart; null is nil. The values are parts of data.
func split(data []byte) (map[string]json.RawMessage, error) {
	var members map[string]json.RawMessage
	if (&scanner{data: data}).next() != '{' {
		return members, json.Unmarshal(data, &members)
	}
	members = map[string]json.RawMessage{}
	return members, eachMember(data, func(key string, value []byte) error {
		members[key] = slices.Clip(value)
		return nil
	})
}

func intField(n *int64) field {
	f := jsonField(n, func() bool { return false })
	f.decode = func(raw json.RawMessage) error { return decodeInt(raw, n) }
	return f
}

func boolField(b *bool) field {
	f := jsonField(b, func() bool { return !*b })
	f.decode = func(raw json.RawMessage) error {
		var v looseBool
		if err := json.Unmarshal(raw, &v); err != nil {
			return err
		}
		*b = bool(v)
		return nil
	}
	return f
}

func boolsField(m *map[string]bool) field {
	f := jsonField(m, func() bool { return *m == nil })
	f.decode = func(raw json.RawMessage) error {
		var v map[string]looseBool
		if err := json.Unmarshal(raw, &v); err != nil {
			return err
		}
		if v == nil {
			return nil
		}
		*m = make(map[string]bool, len(v))
		for k, b := range v {
			(*m)[k] = bool(b)
		}
		return nil
	}
	return f
}

// looseBool decodes 0 and 1 as well as false and true.
type looseBool bool

// UnmarshalJSON implements json.Unmarshaler.
func (b *looseBool) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case "1":
		*b = true
		return nil
	case "0":
		*b = false
		return nil
	}
	return json.Unmarshal(data, (*bool)(b))
}

// decodeInt accepts what JavaScript may have written for a whole number.
func decodeInt(raw json.RawMessage, n *int64) error {
	if string(raw) == "null" {
		return nil
	}
	if v, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		*n = v
		return nil
	}
	if err := json.Unmarshal(raw, n); err == nil {
		return nil
	}
	var f float64
	if err := json.Unmarshal(raw, &f); err != nil {
		return err
	}
	if f < -1<<53 || f > 1<<53 {
		return strconv.ErrRange
	}
	*n = int64(f)
	return nil
}

// keyOrder is the order in which Xen Orchestra writes the keys of a backup:
// of both modes, for each is a subsequence of it.
func keyOrder() []string {
	return []string{
		"includeNonNbdQcow2Fix", "isVhdDifferencing", "jobId", "mode", "scheduleId", "timestamp", "vbds", "vdis",
		"version", "vifs", "vhds", "vm", "vmSnapshot", "vtpms", "tags", "xva", "size",
	}
}

// encodeOrdered writes a compact object: first the known keys in Xen
// Orchestra's order, then the others sorted. Characters are not escaped for HTML.
func encodeOrdered(raw map[string]json.RawMessage) ([]byte, error) {
	known := keyOrder()
	rank := func(key string) int {
		if i := slices.Index(known, key); i >= 0 {
			return i
		}
		return len(known)
	}
	keys := make([]string, 0, len(raw))
	for key := range raw {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b string) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return bytes.Compare([]byte(a), []byte(b))
	})
	var buf bytes.Buffer
	buf.WriteByte('{')
	for i, key := range keys {
		if i > 0 {
			buf.WriteByte(',')
		}
		name, err := encodeValue(key)
		if err != nil {
			return nil, err
		}
		buf.Write(name)
		buf.WriteByte(':')
		if err := json.Compact(&buf, raw[key]); err != nil {
			return nil, err
		}
	}
	buf.WriteByte('}')
	return buf.Bytes(), nil
}

func encodeValue(v any) (json.RawMessage, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}
