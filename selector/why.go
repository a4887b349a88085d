package selector

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of a reason.
const (
	maxShown = 5  // values or clauses
	maxQuote = 60 // characters
)

func (n allOf) why(path string, v any) string { return whyAll(n, path, v) }

// whyAll gives the first reason against, or all those for.
func whyAll(nodes []node, path string, v any) string {
	var reasons []string
	for _, child := range nodes {
		if child.eval(v) != yes {
			return child.why(path, v)
		}
		reasons = append(reasons, child.why(path, v))
	}
	if len(reasons) == 0 {
		return "nothing is asked of " + named(path)
	}
	return clauses(reasons, ", ")
}

func (n *anyOf) why(path string, v any) string {
	var reasons, values []string
	for _, child := range n.nodes {
		if child.eval(v) == yes {
			return child.why(path, v)
		}
		if len(reasons) <= maxShown { // a list of ids may be long
			reasons = append(reasons, child.why(path, v))
		}
		if value, ok := simple(child); ok {
			values = append(values, value)
		}
	}
	switch {
	case len(n.nodes) == 0:
		return "no alternative is given for " + named(path)
	case len(values) < len(n.nodes) || len(n.nodes) == 1:
		return clauses(reasons, " and ")
	}
	if _, isList := elements(v); isList {
		return named(path) + " has none of " + clauses(values, ", ")
	}
	return isNot(path, v, "none of "+clauses(values, ", "))
}

// simple is the value that a scalar, or a list of one, asks for.
func simple(n node) (string, bool) {
	if list, ok := n.(elementsOf); ok && len(list) == 1 {
		n = list[0]
	}
	s, ok := n.(scalar)
	return show(s.value), ok
}

func (n inverse) why(path string, v any) string { return n.node.why(path, v) }

func (n scalar) why(path string, v any) string {
	if n.eval(v) == yes {
		return named(path) + " is " + show(v)
	}
	return isNot(path, v, "not "+show(n.value))
}

func (n elementsOf) why(path string, v any) string {
	list, ok := elements(v)
	if !ok {
		return isNot(path, v, "not a list")
	}
	var reasons []string
	for _, child := range n {
		at := indexIn(list, child)
		value, isSimple := simple(child)
		switch {
		case at < 0 && isSimple:
			return named(path) + " has no " + value
		case at < 0:
			return "no element of " + named(path) + " fits"
		case isSimple:
			reasons = append(reasons, named(path)+" has "+value)
		default:
			reasons = append(reasons, child.why(path+"["+strconv.Itoa(at)+"]", list[at]))
		}
	}
	if len(reasons) == 0 {
		return named(path) + " is a list"
	}
	return clauses(reasons, ", ")
}

func (n object) why(path string, v any) string {
	if !isObject(v) {
		return isNot(path, v, "not an object")
	}
	var reasons []string
	for _, m := range n {
		p, at := property(v, m.key), join(path, m.key)
		if _, missing := p.(absent); missing {
			return "there is no " + at
		}
		if m.child.eval(p) != yes {
			return m.child.why(at, p)
		}
		reasons = append(reasons, m.child.why(at, p))
	}
	if len(reasons) == 0 {
		return named(path) + " is an object"
	}
	return clauses(reasons, ", ")
}

func (n words) why(path string, v any) string {
	return has(n.eval(v), "contain", path, v, quote(n.text))
}

func (n numeric) why(path string, v any) string {
	return has(n.eval(v), "contain", path, v, n.text)
}

func (n matching) why(path string, v any) string {
	return has(n.eval(v), "fit", path, v, n.String())
}

// has is a clause about text in a value.
func has(is truth, verb, path string, v any, what string) string {
	switch _, missing := v.(absent); {
	case missing:
		return "there is no " + path
	case is == yes:
		return fmt.Sprintf("%s %ss %s", named(path), verb, what)
	case path == "":
		return fmt.Sprintf("it does not %s %s", verb, what)
	}
	return fmt.Sprintf("%s, %s, does not %s %s", path, show(v), verb, what)
}

func (n comparison) why(path string, v any) string {
	if n.eval(v) == yes {
		return fmt.Sprintf("%s, %s, is %s %s", named(path), show(v), n.op, n.text)
	}
	return isNot(path, v, "not "+n.op+" "+n.text)
}

func (n field) why(path string, v any) string {
	at := join(path, n.name)
	switch v.(type) {
	case nil, absent:
		return "there is no " + at
	}
	return n.child.why(at, property(v, n.name))
}

func (n filled) why(path string, v any) string {
	if n.eval(v) == yes {
		return join(path, n.name) + " is set"
	}
	return join(path, n.name) + " is not set"
}

// isNot is a clause about a value that is not what is wanted.
func isNot(path string, v any, wanted string) string {
	if _, missing := v.(absent); missing {
		return "there is no " + path
	}
	return fmt.Sprintf("%s is %s, %s", named(path), show(v), wanted)
}

// named is how a clause calls what is at the path.
func named(path string) string {
	if path == "" {
		return "it"
	}
	return path
}

// clauses joins the first few.
func clauses(list []string, separator string) string {
	if more := len(list) - maxShown; more > 0 {
		return strings.Join(list[:maxShown], separator) + fmt.Sprintf("%sand %d more", separator, more)
	}
	return strings.Join(list, separator)
}

// show prints a value shortly.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case absent:
		return "missing"
	case string:
		return quote(v)
	case map[string]any, map[string]string, partial:
		return "an object"
	}
	if list, ok := elements(v); ok {
		if len(list) == 0 {
			return "empty"
		}
		shown := make([]string, len(list))
		for i, e := range list {
			shown[i] = show(e)
		}
		return clauses(shown, ", ")
	}
	return fmt.Sprint(v)
}

func quote(text string) string {
	if utf8.RuneCountInString(text) > maxQuote {
		text = string([]rune(text)[:maxQuote]) + "…"
	}
	return strconv.Quote(text)
}
