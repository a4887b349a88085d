package xapitest

import (
	"context"
	"slices"
	"strings"
)

// generic builds the implementation of a message that follows from the fields
// of a class, such as VM.get_uuid or VDI.add_to_other_config; nil when there is
// no such message.
func (p *Pool) generic(name string) *method {
	className, message, _ := strings.Cut(name, ".")
	c, ok := schema()[className]
	if !ok {
		return nil
	}
	if m := p.genericClass(c, message); m != nil {
		return m
	}
	for _, verb := range []struct {
		prefix string
		build  func(*class, *field) *method
	}{
		{"get_", p.getter},
		{"set_", p.setter},
		{"add_to_", p.adder},
		{"remove_from_", p.remover},
		{"add_", p.setAdder},
		{"remove_", p.setRemover},
	} {
		if rest, ok := strings.CutPrefix(message, verb.prefix); ok {
			if f, ok := c.byName[rest]; ok {
				return verb.build(c, f)
			}
		}
	}
	return nil
}

// genericClass builds the messages about whole objects. Sessions cannot be listed.
func (p *Pool) genericClass(c *class, message string) *method {
	switch {
	case message == "get_record":
		return syncOnly("self:ref", func(_ context.Context, call *call) (any, error) {
			return p.db.record(c.name, call.str(0))
		})
	case message == "get_by_uuid":
		return syncOnly("uuid:string", func(_ context.Context, call *call) (any, error) {
			return p.refByUUID(c.name, call.str(0))
		})
	case message == "get_by_name_label" && c.byName["name_label"] != nil:
		return syncOnly("label:string", func(_ context.Context, call *call) (any, error) {
			return p.refsWhere(c.name, func(r record) bool { return r.str("name_label") == call.str(0) }), nil
		})
	case c.name == "session":
		return nil
	case message == "get_all":
		return syncOnly("", func(context.Context, *call) (any, error) {
			return p.refsWhere(c.name, func(record) bool { return true }), nil
		})
	case message == "get_all_records":
		return syncOnly("", func(context.Context, *call) (any, error) {
			return p.recordsWhere(c.name, func(record) bool { return true }), nil
		})
	case message == "get_all_where":
		return syncOnly("expr:string", func(_ context.Context, call *call) (any, error) {
			match, err := parseWhere(call.str(0))
			if err != nil {
				return nil, err
			}
			return p.refsWhere(c.name, match), nil
		})
	case message == "get_all_records_where":
		return syncOnly("expr:string", func(_ context.Context, call *call) (any, error) {
			match, err := parseWhere(call.str(0))
			if err != nil {
				return nil, err
			}
			return p.recordsWhere(c.name, match), nil
		})
	}
	return nil
}

func (p *Pool) refByUUID(class, uuid string) (ref string, err error) {
	err = p.db.update(func(tx tx) error {
		ref, err = tx.byUUID(class, uuid)
		return err
	})
	return ref, err
}

func (p *Pool) refsWhere(class string, match func(record) bool) []string {
	refs := []string{}
	for ref := range p.recordsWhere(class, match) {
		refs = append(refs, ref)
	}
	slices.Sort(refs)
	return refs
}

func (p *Pool) recordsWhere(class string, match func(record) bool) map[string]record {
	found := make(map[string]record)
	_ = p.db.update(func(tx tx) error { // only reads
		for ref, rec := range tx.all(class) {
			if match(rec) {
				found[ref] = rec
			}
		}
		return nil
	})
	return found
}

func (p *Pool) getter(c *class, f *field) *method {
	return syncOnly("self:ref", func(_ context.Context, call *call) (any, error) {
		rec, err := p.db.record(c.name, call.str(0))
		if err != nil {
			return nil, err
		}
		return rec[f.name], nil
	})
}

func (p *Pool) setter(c *class, f *field) *method {
	if !f.writable {
		return nil
	}
	m := syncOnly("self:ref", func(_ context.Context, call *call) (any, error) {
		return nil, p.edit(c, call.str(0), func(record) (record, error) { return record{f.name: call.arg(1)}, nil })
	})
	m.params = append(m.params, param{name: "value", kind: f.kind})
	m.required++
	return m
}

// edit changes one field of an object by what it was.
func (p *Pool) edit(c *class, ref string, f func(rec record) (record, error)) error {
	return p.db.update(func(tx tx) error {
		rec, err := tx.record(c.name, ref)
		if err != nil {
			return err
		}
		next, err := f(rec)
		if err != nil {
			return err
		}
		return tx.set(c.name, ref, next)
	})
}

func (p *Pool) adder(c *class, f *field) *method {
	if !f.writable || f.kind != kindMap {
		return nil
	}
	return syncOnly("self:ref key:string value:string", func(_ context.Context, call *call) (any, error) {
		ref, key, value := call.str(0), call.str(1), call.str(2)
		return nil, p.edit(c, ref, func(rec record) (record, error) {
			if _, dup := rec.dict(f.name)[key]; dup {
				return nil, fail("MAP_DUPLICATE_KEY", c.name, f.name, ref, key)
			}
			return record{f.name: put(rec.dict(f.name), key, value)}, nil
		})
	})
}

// remover succeeds when the key is not there, as the real one does.
func (p *Pool) remover(c *class, f *field) *method {
	if !f.writable || f.kind != kindMap {
		return nil
	}
	return syncOnly("self:ref key:string", func(_ context.Context, call *call) (any, error) {
		return nil, p.edit(c, call.str(0), func(rec record) (record, error) {
			return record{f.name: drop(rec.dict(f.name), call.str(1))}, nil
		})
	})
}

func (p *Pool) setAdder(c *class, f *field) *method   { return p.setEditor(c, f, with) }
func (p *Pool) setRemover(c *class, f *field) *method { return p.setEditor(c, f, without) }

func (p *Pool) setEditor(c *class, f *field, edit func([]string, string) []string) *method {
	if !f.writable || f.kind != kindSet {
		return nil
	}
	return syncOnly("self:ref value:string", func(_ context.Context, call *call) (any, error) {
		return nil, p.edit(c, call.str(0), func(rec record) (record, error) {
			return record{f.name: edit(rec.set(f.name), call.str(1))}, nil
		})
	})
}
