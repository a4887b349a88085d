package xmlvalue

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
)

// Append writes v as one <value> element, the way xapi writes results: strings and integers untagged, members sorted by name. It
// takes what Decode returns, and int, []string and map[string]string besides. Member names are escaped, unlike xapi's.
func Append(dst []byte, v any) ([]byte, error) {
	dst = append(dst, "<value>"...)
	var err error
	switch v := v.(type) {
	case nil:
		dst = append(dst, "<nil/>"...)
	case string:
		dst = AppendText(dst, v)
	case int:
		dst = strconv.AppendInt(dst, int64(v), 10)
	case int64:
		dst = strconv.AppendInt(dst, v, 10)
	case bool:
		dst = append(dst, "<boolean>0</boolean>"...)
		if v {
			dst[len(dst)-len("0</boolean>")] = '1'
		}
	case float64:
		dst = append(append(append(dst, "<double>"...), formatDouble(v)...), "</double>"...)
	case DateTime:
		dst = append(AppendText(append(dst, "<dateTime.iso8601>"...), string(v)), "</dateTime.iso8601>"...)
	case []byte:
		dst = append(base64.StdEncoding.AppendEncode(append(dst, "<base64>"...), v), "</base64>"...)
	case []string:
		dst, err = appendArray(dst, v)
	case []any:
		dst, err = appendArray(dst, v)
	case map[string]string:
		dst, err = appendStruct(dst, v)
	case map[string]any:
		dst, err = appendStruct(dst, v)
	default:
		err = fmt.Errorf("xmlvalue: no XML-RPC form for %T", v)
	}
	return append(dst, "</value>"...), err
}

func appendArray[T any](dst []byte, items []T) ([]byte, error) {
	dst = append(dst, "<array><data>"...)
	for _, item := range items {
		var err error
		if dst, err = Append(dst, item); err != nil {
			return dst, err
		}
	}
	return append(dst, "</data></array>"...), nil
}

func appendStruct[T any](dst []byte, members map[string]T) ([]byte, error) {
	dst = append(dst, "<struct>"...)
	for _, name := range slices.Sorted(maps.Keys(members)) {
		dst = append(AppendText(append(dst, "<member><name>"...), name), "</name>"...)
		var err error
		if dst, err = Append(dst, members[name]); err != nil {
			return dst, err
		}
		dst = append(dst, "</member>"...)
	}
	return append(dst, "</struct>"...), nil
}

// formatDouble follows the server's %.16g.
func formatDouble(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	default:
		return strconv.FormatFloat(f, 'g', 16, 64)
	}
}
