package xapitest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/xenbackup/xenbackup/internal/xmlvalue"
)

// xmlText returns a result as a task shows it: an XML-RPC value in text, and
// nothing for void.
func xmlText(value any) (string, error) {
	if value == nil {
		return "", nil
	}
	b, err := appendXML(nil, value, nil)
	return string(b), err
}

// appendXML writes a value as a host does: strings and integers without a tag,
// the names of members as they are, whatever that makes of the document, and no
// control characters.
func appendXML(dst []byte, value any, typ *xmlType) ([]byte, error) {
	switch v := value.(type) {
	case record:
		return appendXMLRecord(dst, v, typ)
	case map[string]record:
		return appendXMLStruct(dst, v, typ)
	case eventBatch:
		return v.appendXML(dst)
	case []event:
		return appendXMLArray(dst, v, func(dst []byte, e event) ([]byte, error) { return e.appendXML(dst) })
	case map[string]string:
		return appendXMLStruct(dst, v, nil)
	case map[string]int64:
		return appendXMLStruct(dst, v, nil)
	case map[string]float64:
		return appendXMLStruct(dst, v, nil)
	case map[string]any:
		return appendXMLStruct(dst, v, nil)
	case []string:
		return appendXMLArray(dst, v, appendXMLPlain[string])
	case []int64:
		return appendXMLArray(dst, v, appendXMLPlain[int64])
	case []any:
		return appendXMLArray(dst, v, appendXMLPlain[any])
	}
	dst = append(dst, "<value>"...)
	switch v := value.(type) {
	case nil:
	case string:
		if typ != nil && typ.date {
			dst = append(xmlvalue.AppendText(append(dst, "<dateTime.iso8601>"...), v), "</dateTime.iso8601>"...)
		} else {
			dst = xmlvalue.AppendText(dst, v)
		}
	case int64:
		dst = strconv.AppendInt(dst, v, 10)
	case int:
		dst = strconv.AppendInt(dst, int64(v), 10)
	case bool:
		digit := byte('0')
		if v {
			digit = '1'
		}
		dst = append(append(append(dst, "<boolean>"...), digit), "</boolean>"...)
	case float64:
		dst = append(append(append(dst, "<double>"...), xmlDouble(v)...), "</double>"...)
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			dst = append(append(append(dst, "<double>"...), v...), "</double>"...)
		} else {
			dst = append(dst, v...)
		}
	default:
		return appendXMLOther(dst[:len(dst)-len("<value>")], value)
	}
	return append(dst, "</value>"...), nil
}

func appendXMLPlain[T any](dst []byte, v T) ([]byte, error) { return appendXML(dst, v, nil) }

// appendXMLOther writes a result that is a Go structure by way of its JSON.
func appendXMLOther(dst []byte, value any) ([]byte, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return dst, unknownForm(value)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var plain any
	if err := dec.Decode(&plain); err != nil {
		return dst, unknownForm(value)
	}
	return appendXML(dst, plain, nil)
}

func appendXMLRecord(dst []byte, rec record, typ *xmlType) ([]byte, error) {
	dst = append(dst, "<value><struct>"...)
	for _, name := range slices.Sorted(maps.Keys(rec)) {
		var err error
		var field *xmlType
		if typ != nil && typ.class != nil && typ.class.byName[name] != nil {
			field = &xmlType{date: typ.class.byName[name].kind == kindDatetime}
		}
		if dst, err = appendXMLMember(dst, name, rec[name], field); err != nil {
			return dst, err
		}
	}
	return append(dst, "</struct></value>"...), nil
}

func appendXMLStruct[T any](dst []byte, members map[string]T, typ *xmlType) ([]byte, error) {
	dst = append(dst, "<value><struct>"...)
	for _, name := range slices.Sorted(maps.Keys(members)) {
		var err error
		if dst, err = appendXMLMember(dst, name, members[name], typ); err != nil {
			return dst, err
		}
	}
	return append(dst, "</struct></value>"...), nil
}

// appendXMLMember does not escape the name: rpclib, which hosts use, does not.
func appendXMLMember(dst []byte, name string, value any, typ *xmlType) ([]byte, error) {
	dst = append(append(append(dst, "<member><name>"...), name...), "</name>"...)
	dst, err := appendXML(dst, value, typ)
	return append(dst, "</member>"...), err
}

func appendXMLArray[T any](dst []byte, items []T, element func([]byte, T) ([]byte, error)) ([]byte, error) {
	dst = append(dst, "<value><array><data>"...)
	for _, item := range items {
		var err error
		if dst, err = element(dst, item); err != nil {
			return dst, err
		}
	}
	return append(dst, "</data></array></value>"...), nil
}

// appendXML writes the answer of event.from. Its counts are the only integers
// with a tag.
func (b eventBatch) appendXML(dst []byte) ([]byte, error) {
	dst = append(dst, "<value><struct><member><name>events</name>"...)
	dst, err := appendXML(dst, b.Events, nil)
	dst = append(dst, "</member><member><name>valid_ref_counts</name><value><struct>"...)
	for _, name := range slices.Sorted(maps.Keys(b.ValidRefCounts)) {
		dst = fmt.Appendf(dst, "<member><name>%s</name><value><i4>%d</i4></value></member>", name, b.ValidRefCounts[name])
	}
	dst = fmt.Appendf(dst, "</struct></value></member><member><name>token</name><value>%s</value></member></struct></value>", b.Token)
	return dst, err
}

func (e event) appendXML(dst []byte) ([]byte, error) {
	dst = append(dst, "<value><struct>"...)
	for _, m := range [][2]string{
		{"class", e.Class}, {"id", e.ID}, {"operation", e.Operation}, {"ref", e.Ref}, {"timestamp", e.Timestamp},
	} {
		dst, _ = appendXMLMember(dst, m[0], m[1], nil) // strings have a form
	}
	var err error
	if e.Snapshot != nil {
		dst, err = appendXMLMember(dst, "snapshot", e.Snapshot, &xmlType{class: classInLower(e.Class)})
	}
	return append(dst, "</struct></value>"...), err
}

// classInLower finds a class by its name in lower case, as events have it.
func classInLower(name string) *class {
	for _, c := range schema() {
		if strings.EqualFold(c.name, name) {
			return c
		}
	}
	return nil
}

func xmlDouble(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 0):
		return strings.TrimPrefix(strings.ToLower(strconv.FormatFloat(f, 'g', -1, 64)), "+")
	}
	return strconv.FormatFloat(f, 'g', 16, 64)
}
