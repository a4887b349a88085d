package xapitest

import (
	"slices"
	"strings"
)

// constructorFields takes from the record given to create what a client may
// give, and ignores the rest, as the real pool does. The required fields have no
// default there.
func constructorFields(className string, given map[string]any, required string) (record, error) {
	c := schema()[className]
	values := make(record)
	for _, f := range c.fields {
		arg, ok := given[f.name]
		if !ok {
			if slices.Contains(strings.Fields(required), f.name) {
				return nil, fail("FIELD_TYPE_ERROR", f.name)
			}
			continue
		}
		if !f.constructor {
			continue
		}
		v, ok := coerce(f.kind, arg)
		if !ok {
			return nil, fail("FIELD_TYPE_ERROR", f.name)
		}
		values[f.name] = v
	}
	return values, nil
}
