package xapitest

import (
	"context"
	"maps"
	"slices"
)

// listMethods builds system.listMethods. Clients look there for the classes of
// the pool: those that have get_all_records.
func (p *Pool) listMethods(own map[string]*method) *method {
	return anonymous("", func(context.Context, *call) (any, error) { return p.methodNames(own), nil })
}

// methodNames returns the names of all messages, the Async forms too, sorted.
func (p *Pool) methodNames(own map[string]*method) []string {
	names := make(map[string]bool)
	add := func(name string, m *method) {
		if m == nil {
			return
		}
		names[name] = true
		if m.async {
			names["Async."+name] = true
		}
	}
	for _, c := range schema() {
		for _, message := range []string{"get_record", "get_by_uuid", "get_by_name_label", "get_all", "get_all_where", "get_all_records", "get_all_records_where"} {
			add(c.name+"."+message, p.generic(c.name+"."+message))
		}
		for _, f := range c.fields {
			for _, verb := range []string{"get_", "set_", "add_to_", "remove_from_", "add_", "remove_"} {
				add(c.name+"."+verb+f.name, p.generic(c.name+"."+verb+f.name))
			}
		}
	}
	for name, m := range own {
		add(name, m)
	}
	return slices.Sorted(maps.Keys(names))
}
