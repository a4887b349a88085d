package xapitest

import (
	"encoding/json"
	"strconv"
)

// coerce turns an argument as it was decoded from a request (string,
// json.Number, bool, []any, map[string]any) into the form in which the database
// keeps a field of kind k. ok is false when the argument has another type.
// Numbers are accepted as decimal text too, as XML-RPC sends them.
func coerce(k kind, arg any) (value any, ok bool) {
	switch k {
	case kindString, kindRef, kindDatetime:
		value, ok = arg.(string)
	case kindInt:
		value, ok = toInt(arg)
	case kindFloat:
		value, ok = toFloat(arg)
	case kindBool:
		value, ok = arg.(bool)
	case kindSet:
		value, ok = toList(arg, func(a any) (string, bool) { s, ok := a.(string); return s, ok })
	case kindIntSet:
		value, ok = toList(arg, toInt)
	case kindMap:
		value, ok = toMap(arg, func(a any) (string, bool) { s, ok := a.(string); return s, ok })
	case kindIntMap:
		value, ok = toMap(arg, toInt)
	case kindFloatMap:
		value, ok = toMap(arg, toFloat)
	}
	return value, ok
}

// text returns the decimal or literal form of a number in a request.
func text(arg any) (string, bool) {
	switch a := arg.(type) {
	case json.Number:
		return a.String(), true
	case string:
		return a, true
	}
	return "", false
}

func toInt(arg any) (int64, bool) {
	s, ok := text(arg)
	n, err := strconv.ParseInt(s, 10, 64)
	return n, ok && err == nil
}

func toFloat(arg any) (float64, bool) {
	s, ok := text(arg)
	x, err := strconv.ParseFloat(s, 64)
	return x, ok && err == nil
}

func toList[T any](arg any, element func(any) (T, bool)) ([]T, bool) {
	list, ok := arg.([]any)
	out := make([]T, 0, len(list))
	for _, a := range list {
		v, good := element(a)
		if !good {
			return nil, false
		}
		out = append(out, v)
	}
	return out, ok
}

func toMap[T any](arg any, element func(any) (T, bool)) (map[string]T, bool) {
	m, ok := arg.(map[string]any)
	out := make(map[string]T, len(m))
	for k, a := range m {
		v, good := element(a)
		if !good {
			return nil, false
		}
		out[k] = v
	}
	return out, ok
}
