package xapitest

import (
	"maps"
	"slices"
)

// record is one object: field name to value. A record in the database is never
// changed in place, nor are the sets and maps in it: whoever was given one may
// read it without a lock for as long as they like.
type record map[string]any

func (r record) str(name string) string             { s, _ := r[name].(string); return s }
func (r record) int(name string) int64              { n, _ := r[name].(int64); return n }
func (r record) bool(name string) bool              { b, _ := r[name].(bool); return b }
func (r record) set(name string) []string           { s, _ := r[name].([]string); return s }
func (r record) dict(name string) map[string]string { m, _ := r[name].(map[string]string); return m }

// newRecord returns a record of class c with every field at its default, then
// those of values.
func newRecord(c *class, values record) record {
	r := maps.Clone(c.zero)
	maps.Copy(r, values)
	return r
}

// with returns a copy of set that has s, and set itself if it already has.
func with(set []string, s string) []string {
	if slices.Contains(set, s) {
		return set
	}
	return append(slices.Clip(slices.Clone(set)), s)
}

// without returns a copy of set that lacks s.
func without(set []string, s string) []string {
	return slices.DeleteFunc(slices.Clone(set), func(e string) bool { return e == s })
}

// put returns a copy of m with one more entry, drop one without an entry.
func put(m map[string]string, key, value string) map[string]string {
	out := maps.Clone(m)
	if out == nil {
		out = make(map[string]string, 1)
	}
	out[key] = value
	return out
}

func drop(m map[string]string, key string) map[string]string {
	out := maps.Clone(m)
	delete(out, key)
	return out
}
