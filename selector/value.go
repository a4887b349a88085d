package selector

import (
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf16"
)

// truth is what is known about a condition. Maybe is met only where properties of a
// VM are left open, to find out which pools a selection is about.
type truth int8

const (
	no truth = iota
	maybe
	yes
)

func truthOf(is bool) truth {
	if is {
		return yes
	}
	return no
}

func (t truth) not() truth { return yes - t }

type (
	// absent is the value of a property that is not there.
	absent struct{}
	// open is a value that may be anything.
	open struct{}
	// partial is a VM of which only these properties are known.
	partial map[string]any
)

// property is what JavaScript gives for v[name], without what objects inherit.
func property(v any, name string) any {
	switch v := v.(type) {
	case map[string]any:
		if p, ok := v[name]; ok {
			return p
		}
	case map[string]string:
		if p, ok := v[name]; ok {
			return p
		}
	case []any:
		return element(len(v), name, func(i int) any { return v[i] })
	case []string:
		return element(len(v), name, func(i int) any { return v[i] })
	case string:
		units := utf16.Encode([]rune(v))
		return element(len(units), name, func(i int) any { return string(utf16.Decode(units[i : i+1])) })
	case partial:
		if p, ok := v[name]; ok {
			return p
		}
		return open{}
	case open:
		return v
	}
	return absent{}
}

func element(n int, name string, at func(int) any) any {
	if name == "length" {
		return n
	}
	if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < n && strconv.Itoa(i) == name {
		return at(i)
	}
	return absent{}
}

// isObject reports whether v has properties to ask for: lists have too.
func isObject(v any) bool {
	switch v.(type) {
	case map[string]any, map[string]string, []any, []string, partial, open:
		return true
	}
	return false
}

// elements are those of a list.
func elements(v any) (list []any, ok bool) {
	switch v := v.(type) {
	case []any:
		return v, true
	case []string:
		list = make([]any, len(v))
		for i, s := range v {
			list[i] = s
		}
		return list, true
	}
	return nil, false
}

// children are the values in a list or an object.
func children(v any) []any {
	switch v := v.(type) {
	case map[string]any:
		list := make([]any, 0, len(v))
		for _, p := range v {
			list = append(list, p)
		}
		return list
	case map[string]string:
		list := make([]any, 0, len(v))
		for _, p := range v {
			list = append(list, p)
		}
		return list
	}
	list, _ := elements(v)
	return list
}

// number is the value of a number, of whichever type.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case int:
		return float64(v), true
	case int64:
		return float64(v), true
	case uint64:
		return float64(v), true
	case json.Number:
		f, err := v.Float64()
		return f, err == nil
	}
	return 0, false
}

// truthy is what JavaScript takes for true.
func truthy(v any) bool {
	switch v := v.(type) {
	case nil, absent:
		return false
	case bool:
		return v
	case string:
		return v != ""
	}
	if f, ok := number(v); ok {
		return f != 0 && !math.IsNaN(f)
	}
	return true
}
