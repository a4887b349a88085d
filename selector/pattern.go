package selector

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Bounds of a pattern.
const (
	maxPattern = 4 << 20 // bytes; a hundred thousand ids
	maxDepth   = 100
)

// Pattern is a condition as Xen Orchestra keeps it in the vms of a job (its
// value-matcher). It is immutable.
type Pattern struct {
	text []byte
	root node
	ids  []string
}

// PatternError says which part of a pattern is wrong, and why.
type PatternError struct {
	Path   string // such as "tags.__and[1].__not"; "" is the whole
	Reason string
}

// Error names the part.
func (e *PatternError) Error() string {
	if e.Path == "" {
		return "selector: pattern: " + e.Reason
	}
	return fmt.Sprintf("selector: pattern: %s: %s", e.Path, e.Reason)
}

// ParsePattern reads a pattern from its JSON. What is wrong with it a
// [*PatternError] says. A key that begins with "__" is an operator, alone in its
// object: where it is not, or none that is known, Xen Orchestra would look for a
// property of that name, and silently find no VM; here it is an error.
func ParsePattern(text []byte) (*Pattern, error) {
	if len(text) > maxPattern {
		return nil, &PatternError{Reason: fmt.Sprintf("longer than %d bytes", maxPattern)}
	}
	d := json.NewDecoder(bytes.NewReader(text))
	var value any
	if err := d.Decode(&value); err != nil {
		return nil, &PatternError{Reason: jsonReason(err)}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, &PatternError{Reason: fmt.Sprintf("more follows after byte %d", d.InputOffset())}
	}
	root, err := patternNode("", value, 0)
	if err != nil {
		return nil, err
	}
	return &Pattern{text: bytes.Clone(text), root: root, ids: simpleIDs(value)}, nil
}

func jsonReason(err error) string {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Sprintf("at byte %d: %s", syntax.Offset, syntax)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the JSON ends too early"
	}
	return err.Error()
}

// Match reports whether the value fits: what encoding/json decodes into an any, and
// also map[string]string, []string, int, int64 and uint64.
func (p *Pattern) Match(value any) bool { return p.root.eval(value) == yes }

// IDs are those that the pattern lists, in its order, each once. It is a list when
// it is {"id": "u"} or {"id": {"__or": ["u", "v"]}}: then Xen Orchestra takes the
// VMs to be chosen by hand, and so does [ByPattern].
func (p *Pattern) IDs() (ids []string, isList bool) { return slices.Clone(p.ids), p.ids != nil }

// String is the JSON as it was parsed.
func (p *Pattern) String() string { return string(p.text) }

// MarshalJSON gives the JSON as it was parsed.
func (p *Pattern) MarshalJSON() ([]byte, error) {
	if p.text == nil {
		return nil, errors.New("selector: pattern: not parsed")
	}
	return p.text, nil
}

// UnmarshalJSON is [ParsePattern].
func (p *Pattern) UnmarshalJSON(text []byte) error {
	parsed, err := ParsePattern(text)
	if err != nil {
		return err
	}
	*p = *parsed
	return nil
}

func simpleIDs(value any) []string {
	object, _ := value.(map[string]any)
	if len(object) != 1 {
		return nil
	}
	list := []any{object["id"]}
	if or, ok := object["id"].(map[string]any); ok && len(or) == 1 {
		list, _ = or["__or"].([]any)
	}
	var ids []string
	for _, v := range list {
		id, ok := v.(string)
		if !ok || id == "" {
			return nil
		}
		ids = append(ids, id)
	}
	return distinct(ids)
}

func distinct(ids []string) []string {
	seen := make(map[string]bool, len(ids))
	var once []string
	for _, id := range ids {
		if !seen[id] {
			once = append(once, id)
		}
		seen[id] = true
	}
	return once
}

func patternNode(path string, value any, depth int) (node, error) {
	if depth > maxDepth {
		return nil, &PatternError{path, fmt.Sprintf("nested more than %d deep", maxDepth)}
	}
	switch value := value.(type) {
	case []any:
		nodes, err := patternNodes(path, value, depth)
		return elementsOf(nodes), err
	case map[string]any:
		keys := slices.Sorted(maps.Keys(value))
		if i := slices.IndexFunc(keys, func(key string) bool { return strings.HasPrefix(key, "__") }); i >= 0 {
			return operator(path, keys[i], value, depth)
		}
		var o object
		for _, key := range keys {
			child, err := patternNode(join(path, key), value[key], depth+1)
			if err != nil {
				return nil, err
			}
			o = append(o, member{key, child})
		}
		return o, nil
	}
	return scalar{value}, nil
}

func patternNodes(path string, values []any, depth int) ([]node, error) {
	nodes := make([]node, len(values))
	for i, v := range values {
		var err error
		if nodes[i], err = patternNode(fmt.Sprintf("%s[%d]", path, i), v, depth+1); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

func operator(path, key string, value map[string]any, depth int) (node, error) {
	at := join(path, key)
	switch {
	case key != "__and" && key != "__or" && key != "__not":
		return nil, &PatternError{at, "not an operator: there are __and, __or and __not"}
	case len(value) > 1:
		return nil, &PatternError{at, "an operator is alone in its object; put the other keys into an __and with it"}
	}
	if key == "__not" {
		child, err := patternNode(at, value[key], depth+1)
		return inverse{child}, err
	}
	list, ok := value[key].([]any)
	if !ok {
		return nil, &PatternError{at, "needs a list"}
	}
	nodes, err := patternNodes(at, list, depth+1)
	if key == "__or" {
		return newAnyOf(nodes), err
	}
	return allOf(nodes), err
}

// join appends a key to a path.
func join(path, key string) string {
	if key == "" || strings.ContainsAny(key, ".[]\" ") {
		return path + "[" + strconv.Quote(key) + "]"
	}
	if path == "" {
		return key
	}
	return path + "." + key
}
