package xapitest

import (
	"context"
	"strings"
)

// method is one message of the XenAPI. The dispatcher checks the session, the
// number of arguments and their types; run sees values of the right types.
type method struct {
	params   []param
	required int  // how many of params must be given
	open     bool // needs no session
	async    bool // may be called as Async.<name>, which gives a task
	run      func(ctx context.Context, c *call) (any, error)
}

type param struct {
	name string
	kind kind
	raw  bool // passed on as it was decoded: a record
}

// call is one call of a method, after the checks.
type call struct {
	name    string // without "Async."
	session string
	task    string // the task of an Async call, else ""
	args    []any
}

func (c *call) str(i int) string { s, _ := c.arg(i).(string); return s }
func (c *call) bool(i int) bool  { b, _ := c.arg(i).(bool); return b }
func (c *call) int(i int) int64  { n, _ := c.arg(i).(int64); return n }
func (c *call) float(i int) float64 {
	x, _ := c.arg(i).(float64)
	return x
}
func (c *call) set(i int) []string { s, _ := c.arg(i).([]string); return s }
func (c *call) dict(i int) map[string]string {
	m, _ := c.arg(i).(map[string]string)
	return m
}

// fields returns the record given to a create message.
func (c *call) fields() map[string]any { m, _ := c.arg(0).(map[string]any); return m }

// arg returns argument i, or nil when it is optional and was not given.
func (c *call) arg(i int) any {
	if i >= len(c.args) {
		return nil
	}
	return c.args[i]
}

type runFunc = func(ctx context.Context, c *call) (any, error)

// syncOnly describes a method that has no Async form. Its parameters are
// written as "name:type", with a question mark behind optional ones.
func syncOnly(params string, run runFunc) *method {
	m := &method{run: run}
	for word := range strings.FieldsSeq(params) {
		name, typ, _ := strings.Cut(word, ":")
		typ, optional := strings.CutSuffix(typ, "?")
		p := param{name: name, raw: typ == "record"}
		if !p.raw {
			p.kind = paramKind(typ)
		}
		m.params = append(m.params, p)
		if !optional {
			m.required = len(m.params)
		}
	}
	return m
}

// both describes a method with an Async form.
func both(params string, run runFunc) *method {
	m := syncOnly(params, run)
	m.async = true
	return m
}

// anonymous describes a method that needs no session.
func anonymous(params string, run runFunc) *method {
	m := syncOnly(params, run)
	m.open = true
	return m
}

func paramKind(typ string) kind {
	switch typ {
	case "set":
		typ = "set string"
	case "map":
		typ = "map string"
	}
	k, _ := kindAndZero(typ, "")
	return k
}

// bind checks the arguments after the session and converts them.
func (m *method) bind(name string, args []any) ([]any, error) {
	if len(args) < m.required || len(args) > len(m.params) {
		return nil, fail("MESSAGE_PARAMETER_COUNT_MISMATCH", name, itoa(len(m.params)), itoa(len(args)))
	}
	out := make([]any, len(args))
	for i, a := range args {
		p := m.params[i]
		var v any
		var ok bool
		if p.raw {
			v, ok = a.(map[string]any)
		} else {
			v, ok = coerce(p.kind, a)
		}
		if !ok {
			return nil, fail("FIELD_TYPE_ERROR", p.name)
		}
		out[i] = v
	}
	return out, nil
}
