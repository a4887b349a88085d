package xmlvalue

import (
	"encoding/json"
	"math"
)

// JSON decodes text and returns the same value as JSON: dates and base64 as strings; nan and the infinities, for which JSON has no
// word, as null.
func JSON(text []byte) ([]byte, error) {
	v, err := Decode(text)
	if err != nil {
		return nil, err
	}
	return ToJSON(v)
}

// ToJSON is JSON of a value that was decoded before; v must not be used afterwards.
func ToJSON(v any) ([]byte, error) { return json.Marshal(finite(v)) }

func finite(v any) any {
	switch v := v.(type) {
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil
		}
	case []any:
		for i := range v {
			v[i] = finite(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = finite(v[name])
		}
	}
	return v
}
