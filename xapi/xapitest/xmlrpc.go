package xapitest

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// serveXML runs one XML-RPC request and returns the body of the answer.
func (p *Pool) serveXML(ctx context.Context, in *incoming, body []byte) ([]byte, error) {
	name, params, err := parseXMLCall(body)
	if err != nil && p.options.NoJSONRPC {
		// Old pools answer a call that they cannot read with 200: by the content
		// type clients (npm xen-api, XenCenter) learn that there is XML-RPC alone.
		return xmlAnswer("", nil, fail("INTERNAL_ERROR", "the call is no XML-RPC"))
	}
	if err != nil {
		return nil, err
	}
	value, err := p.dispatch(ctx, in, name, params)
	return xmlAnswer(name, value, err)
}

// xmlAnswer builds the envelope: the outcome is a struct with a Status, never a
// fault. system.listMethods alone has no envelope.
func xmlAnswer(name string, value any, err error) ([]byte, error) {
	out := []byte(`<?xml version="1.0"?><methodResponse><params><param>`)
	f, failed := errors.AsType[*failure](err)
	var bad error
	switch {
	case failed:
		description := append([]string{f.code}, f.params...)
		out, bad = appendXML(out, map[string]any{"Status": "Failure", "ErrorDescription": description}, nil)
	case err != nil:
		return nil, err
	case name == "system.listMethods":
		out, bad = appendXML(out, value, nil)
	default:
		out = append(out, "<value><struct><member><name>Status</name><value>Success</value></member><member><name>Value</name>"...)
		out, bad = appendXML(out, value, resultType(name))
		out = append(out, "</member></struct></value>"...)
	}
	return append(out, "</param></params></methodResponse>"...), bad
}

// maxXMLDepth is how deep the values of a request may nest.
const maxXMLDepth = 64

// parseXMLCall reads a methodCall. Every value becomes what the same argument
// is in JSON: string, json.Number, bool, []any or map[string]any.
func parseXMLCall(body []byte) (name string, params []any, err error) {
	d := &xmlCall{xml.NewDecoder(bytes.NewReader(body))}
	d.in.CharsetReader = func(charset string, r io.Reader) (io.Reader, error) {
		if strings.EqualFold(charset, "us-ascii") {
			return r, nil
		}
		return nil, errUnparsable
	}
	if err := d.open("methodCall"); err != nil {
		return "", nil, err
	}
	if err := d.open("methodName"); err != nil {
		return "", nil, err
	}
	if name, err = d.text(); err != nil {
		return "", nil, err
	}
	params = []any{}
	start, err := d.child()
	if err != nil || start == nil {
		return name, params, err
	}
	err = d.children(func(*xml.StartElement) error {
		if err := d.open("value"); err != nil {
			return err
		}
		v, err := d.value(0)
		if err != nil {
			return err
		}
		params = append(params, v)
		return d.end()
	})
	return name, params, err
}

type xmlCall struct{ in *xml.Decoder }

// child moves to the next element within the current one, or returns nil at
// its end.
func (d *xmlCall) child() (*xml.StartElement, error) {
	for {
		token, err := d.in.Token()
		if err != nil {
			return nil, errUnparsable
		}
		switch t := token.(type) {
		case xml.StartElement:
			return &t, nil
		case xml.EndElement:
			return nil, nil //nolint:nilnil // the end
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return nil, errUnparsable
			}
		}
	}
}

// open moves into the next element, which must have that name.
func (d *xmlCall) open(name string) error {
	start, err := d.child()
	if err == nil && (start == nil || start.Name.Local != name) {
		err = errUnparsable
	}
	return err
}

// end moves behind the current element, which must have no more children.
func (d *xmlCall) end() error {
	start, err := d.child()
	if err == nil && start != nil {
		err = errUnparsable
	}
	return err
}

// children calls f within each element of the current one, and moves behind it.
func (d *xmlCall) children(f func(*xml.StartElement) error) error {
	for {
		start, err := d.child()
		if err != nil || start == nil {
			return err
		}
		if err := f(start); err != nil {
			return err
		}
	}
}

// text returns the text of the current element and moves behind it.
func (d *xmlCall) text() (string, error) {
	var b strings.Builder
	for {
		token, err := d.in.Token()
		if err != nil {
			return "", errUnparsable
		}
		switch t := token.(type) {
		case xml.CharData:
			b.Write(t)
		case xml.EndElement:
			return b.String(), nil
		case xml.StartElement:
			return "", errUnparsable
		}
	}
}

// value reads the inside of a value element: text without a tag is a string.
func (d *xmlCall) value(depth int) (any, error) {
	if depth > maxXMLDepth {
		return nil, errUnparsable
	}
	var b strings.Builder
	for {
		token, err := d.in.Token()
		if err != nil {
			return nil, errUnparsable
		}
		switch t := token.(type) {
		case xml.CharData:
			b.Write(t)
		case xml.EndElement:
			return b.String(), nil
		case xml.StartElement:
			v, err := d.typed(t.Name.Local, depth)
			if err != nil {
				return nil, err
			}
			return v, d.end()
		}
	}
}

// typed reads a value with a tag. Only the text 1 is true.
func (d *xmlCall) typed(tag string, depth int) (any, error) {
	switch tag {
	case "array":
		return d.array(depth)
	case "struct":
		return d.structure(depth)
	case "string", "int", "i4", "i8", "boolean", "double", "dateTime.iso8601":
	default:
		return nil, errUnparsable
	}
	text, err := d.text()
	if err != nil {
		return nil, err
	}
	switch tag {
	case "boolean":
		return text == "1", nil
	case "int", "i4", "i8", "double":
		return json.Number(strings.TrimSpace(text)), nil
	}
	return text, nil
}

func (d *xmlCall) array(depth int) (any, error) {
	items := []any{}
	if err := d.open("data"); err != nil {
		return nil, err
	}
	err := d.children(func(*xml.StartElement) error {
		v, err := d.value(depth + 1)
		items = append(items, v)
		return err
	})
	return items, errors.Join(err, d.end())
}

func (d *xmlCall) structure(depth int) (any, error) {
	members := make(map[string]any)
	err := d.children(func(*xml.StartElement) error {
		if err := d.open("name"); err != nil {
			return err
		}
		name, err := d.text()
		if err != nil {
			return err
		}
		if err := d.open("value"); err != nil {
			return err
		}
		v, err := d.value(depth + 1)
		if err != nil {
			return err
		}
		members[name] = v
		return d.end()
	})
	return members, err
}

// xmlType says what the value alone does not tell: which class a record has,
// and that a text is a date.
type xmlType struct {
	class *class
	date  bool
}

// resultType follows from the name of a message.
func resultType(name string) *xmlType {
	className, message, _ := strings.Cut(name, ".")
	c, ok := schema()[className]
	if name == "host.get_servertime" {
		return &xmlType{date: true}
	}
	if !ok {
		return nil
	}
	if field, getter := strings.CutPrefix(message, "get_"); getter && c.byName[field] != nil {
		return &xmlType{date: c.byName[field].kind == kindDatetime}
	}
	return &xmlType{class: c}
}

// unknownForm is a result that only JSON can express.
func unknownForm(v any) error { return fmt.Errorf("xapitest: no XML-RPC form for %T", v) }
