package xapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/kolo/xmlrpc"

	"github.com/xenbackup/xenbackup/internal/xmlvalue"
)

// ErrNotEncodable is returned when XML-RPC has no way to say a parameter of the call: null, a control character, or a map key or method name with
// markup in it, which no server of the API escapes or unescapes. Nothing was sent. It does not happen over JSON-RPC.
var ErrNotEncodable = errors.New("not encodable in XML-RPC")

// xmlWire is XML-RPC with the envelope of the XenAPI. Requests are written by github.com/kolo/xmlrpc, answers read by
// internal/xmlvalue, since encoding/xml and the decoders on top of it trim white space that counts and refuse untagged values.
type xmlWire struct{}

func (xmlWire) protocol() Protocol  { return XMLRPC }
func (xmlWire) path() string        { return "RPC2" }
func (xmlWire) contentType() string { return "text/xml" }

func (xmlWire) speaks(mediaType string) bool { return strings.Contains(mediaType, "xml") }

// encode takes the way over JSON, so that a parameter means the same on both wires. Integers go as decimal strings, like the pool's
// own: XML-RPC's <int> has 32 bits.
func (xmlWire) encode(_ int64, method string, params []any) ([]byte, error) {
	if err := xmlName(method); err != nil {
		return nil, fmt.Errorf("method: %w", err)
	}
	text, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var plain []any
	if err := dec.Decode(&plain); err != nil {
		return nil, err
	}
	for i, param := range plain {
		if plain[i], err = encodable(param); err != nil {
			return nil, err
		}
	}
	return xmlrpc.EncodeMethodCall(method, plain...)
}

// encodable replaces numbers by what goes over the wire and finds what the encoder would write wrongly.
func encodable(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case nil:
		return nil, fmt.Errorf("%w: null", ErrNotEncodable)
	case string:
		return v, xmlText(v)
	case json.Number:
		if !strings.ContainsAny(string(v), ".eE") {
			return string(v), nil
		}
		return v.Float64()
	case []any:
		for i := range v {
			if v[i], err = encodable(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for name, member := range v {
			if err := xmlName(name); err != nil {
				return nil, err
			}
			if v[name], err = encodable(member); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return v, nil
}

// xmlText refuses what XML 1.0 has no spelling for, and the encoder would silently replace.
func xmlText(text string) error {
	for _, r := range text {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
			return fmt.Errorf("%w: control character %U", ErrNotEncodable, r)
		}
	}
	return nil
}

// xmlName refuses what would need to be escaped in a method or member name.
func xmlName(name string) error {
	for _, r := range name {
		if r < ' ' || r == '<' || r == '>' || r == '&' || r == 0xFFFE || r == 0xFFFF {
			return fmt.Errorf("%w: name %.40q", ErrNotEncodable, name)
		}
	}
	return nil
}

func (xmlWire) decode(answer io.Reader, method string, result any) (failure, error) {
	text, err := io.ReadAll(answer)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(text) {
		text = bytes.ToValidUTF8(text, []byte("\uFFFD"))
	}
	value, err := responseValue(text)
	if err != nil {
		return nil, err
	}
	value, failed, err := envelope(value, method)
	if err != nil || failed != nil || result == nil {
		return failed, err
	}
	raw, err := xmlvalue.ToJSON(withIntegers(method, value))
	if err != nil {
		return nil, err
	}
	return nil, unmarshalNumber(raw, result)
}

// responseValue finds the one value of a methodResponse.
func responseValue(text []byte) (any, error) {
	body := bytes.TrimSpace(text)
	if bytes.HasPrefix(body, []byte("<?xml")) {
		_, rest, found := bytes.Cut(body, []byte("?>"))
		if !found {
			return nil, errors.New("XML declaration without end")
		}
		body = rest
	}
	body, ok := inside(body, "methodResponse")
	if !ok {
		return nil, errors.New("not a methodResponse")
	}
	if _, ok := inside(body, "fault"); ok { // the API never sends one
		return nil, errors.New("a fault, as other servers send it")
	}
	if body, ok = inside(body, "params"); !ok {
		return nil, errors.New("methodResponse without params")
	}
	if body, ok = inside(body, "param"); !ok {
		return nil, errors.New("params without param")
	}
	return xmlvalue.DecodeMax(body, math.MaxInt) // it was read up to Options.MaxAnswer
}

// inside returns what is between the tags of the one element that text holds.
func inside(text []byte, element string) ([]byte, bool) {
	text = bytes.TrimSpace(text)
	begin, end := "<"+element+">", "</"+element+">"
	if len(text) < len(begin)+len(end) || !bytes.HasPrefix(text, []byte(begin)) || !bytes.HasSuffix(text, []byte(end)) {
		return nil, false
	}
	return text[len(begin) : len(text)-len(end)], true
}

// envelope opens {Status, Value} or {Status, ErrorDescription}.
func envelope(value any, method string) (any, failure, error) {
	members, ok := value.(map[string]any)
	if !ok {
		if strings.HasPrefix(method, "system.") { // answered without an envelope
			return value, nil, nil
		}
		return nil, nil, errors.New("answer is not a struct")
	}
	switch members["Status"] {
	case "Success":
		value, ok := members["Value"]
		if !ok {
			return nil, nil, errors.New("success without a value")
		}
		return value, nil, nil
	case "Failure":
		description, _ := members["ErrorDescription"].([]any)
		failed := make(failure, len(description))
		for i, item := range description {
			failed[i] = fmt.Sprint(item)
		}
		if len(failed) == 0 || failed[0] == "" {
			return nil, nil, errors.New("failure without a code")
		}
		return nil, failed, nil
	default:
		return nil, nil, errors.New("answer without a status")
	}
}

// unmarshalNumber decodes raw, also when the caller wants a number and raw is a string that holds one: XML-RPC as xapi writes it has
// no integers.
func unmarshalNumber(raw []byte, result any) error {
	err := json.Unmarshal(raw, result)
	var mismatch *json.UnmarshalTypeError
	var number json.Number
	if errors.As(err, &mismatch) && mismatch.Value == "string" && json.Unmarshal(raw, &number) == nil {
		return json.Unmarshal([]byte(number), result)
	}
	return err
}
