package xmlvalue

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"
)

const (
	// MaxDepth is how deep arrays and structs may nest.
	MaxDepth = 64
	// MaxSize is the longest text that Decode takes, in bytes.
	MaxSize = 64 << 20
	// MaxValues is how many values Decode takes. A thousand records of xapi hold less than half as many; in memory a value takes up to
	// 300 bytes.
	MaxValues = 128 << 10
)

// DateTime is a date as it was written; xapi writes 20060102T15:04:05Z and its variants.
type DateTime string

// SyntaxError says what is wrong with a text, and where.
type SyntaxError struct {
	Off int // bytes from the start of the text
	Msg string
}

// Error names the offset.
func (e *SyntaxError) Error() string { return fmt.Sprintf("xmlvalue: offset %d: %s", e.Off, e.Msg) }

// Decode reads one <value> element and nothing after it but white space. An XML declaration before it is skipped. The values are
// those of the package documentation; when a member comes twice, the last one counts.
func Decode(text []byte) (any, error) { return decode(text, MaxSize, MaxValues) }

// DecodeMax is Decode with another limit than MaxSize and as many values as there are: answers of calls are larger than files.
func DecodeMax(text []byte, limit int) (any, error) { return decode(text, limit, math.MaxInt) }

func decode(text []byte, limit, values int) (any, error) {
	if len(text) > limit {
		return nil, &SyntaxError{limit, "text too long"}
	}
	d := &decoder{text: text, left: values}
	d.space()
	if d.skip("<?xml") {
		if _, err := d.until("?>"); err != nil {
			return nil, err
		}
		d.space()
	}
	v, err := d.value(0)
	if err != nil {
		return nil, err
	}
	if d.space(); d.off != len(text) {
		return nil, d.fail("text after the value")
	}
	return v, nil
}

type decoder struct {
	text []byte
	off  int
	left int // values that may follow
}

func (d *decoder) fail(format string, args ...any) error {
	return &SyntaxError{d.off, fmt.Sprintf(format, args...)}
}

func (d *decoder) space() {
	for d.off < len(d.text) && strings.IndexByte(" \t\r\n", d.text[d.off]) >= 0 {
		d.off++
	}
}

// skip moves over token if it is next.
func (d *decoder) skip(token string) bool {
	if !bytes.HasPrefix(d.text[d.off:], []byte(token)) {
		return false
	}
	d.off += len(token)
	return true
}

// expect moves over white space and token.
func (d *decoder) expect(token string) error {
	d.space()
	if !d.skip(token) {
		return d.fail("%s expected", token)
	}
	return nil
}

// until returns the text before token and moves behind token.
func (d *decoder) until(token string) ([]byte, error) {
	n := bytes.Index(d.text[d.off:], []byte(token))
	if n < 0 {
		d.off = len(d.text)
		return nil, d.fail("%s expected", token)
	}
	text := d.text[d.off : d.off+n]
	d.off += n + len(token)
	return text, nil
}

func (d *decoder) value(depth int) (any, error) {
	if depth > MaxDepth {
		return nil, d.fail("nested too deep")
	}
	if d.left--; d.left < 0 {
		return nil, d.fail("too many values")
	}
	d.space()
	if d.skip("<value/>") {
		return "", nil
	}
	if err := d.expect("<value>"); err != nil {
		return nil, err
	}
	start := d.off
	d.space()
	if d.off == len(d.text) || d.text[d.off] != '<' || bytes.HasPrefix(d.text[d.off:], []byte("</value>")) {
		d.off = start
		return d.content("</value>")
	}
	v, err := d.tagged(depth)
	if err != nil {
		return nil, err
	}
	return v, d.expect("</value>")
}

// content returns the unescaped text before the closing tag, verbatim.
func (d *decoder) content(closing string) (string, error) {
	start := d.off
	raw, err := d.until(closing)
	if err == nil && bytes.IndexByte(raw, '<') >= 0 {
		d.off = start + bytes.IndexByte(raw, '<')
		err = d.fail("%s expected", closing)
	}
	return unescape(raw), err
}

func (d *decoder) tagged(depth int) (any, error) {
	d.off++ // the <
	raw, err := d.until(">")
	if err != nil {
		return nil, err
	}
	switch tag := string(raw); tag {
	case "array":
		return d.array(depth)
	case "struct":
		return d.structure(depth)
	case "struct/":
		return map[string]any{}, nil
	case "array/":
		return []any{}, nil
	case "string/":
		return "", nil
	case "nil/":
		return nil, nil
	case "nil":
		return nil, d.expect("</nil>")
	case "string", "int", "i4", "i8", "boolean", "double", "dateTime.iso8601", "base64":
		at := d.off
		text, err := d.content("</" + tag + ">")
		if err != nil {
			return nil, err
		}
		v, err := scalar(tag, text)
		if err != nil {
			return nil, &SyntaxError{at, fmt.Sprintf("not a %s: %.40q", tag, text)}
		}
		return v, nil
	default:
		return nil, d.fail("unknown type %.40q", tag)
	}
}

func scalar(tag, text string) (any, error) {
	trimmed := strings.TrimSpace(text)
	switch tag {
	case "string":
		return text, nil
	case "dateTime.iso8601":
		return DateTime(trimmed), nil
	case "boolean":
		return strconv.ParseBool(trimmed)
	case "double":
		return strconv.ParseFloat(trimmed, 64)
	case "base64":
		return base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	default:
		return strconv.ParseInt(trimmed, 10, 64)
	}
}

func (d *decoder) array(depth int) (any, error) {
	items := []any{}
	if d.space(); d.skip("<data/>") {
		return items, d.expect("</array>")
	}
	if err := d.expect("<data>"); err != nil {
		return nil, err
	}
	for d.space(); !d.skip("</data>"); d.space() {
		item, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, d.expect("</array>")
}

func (d *decoder) structure(depth int) (any, error) {
	members := map[string]any{}
	for d.space(); !d.skip("</struct>"); d.space() {
		if err := d.expect("<member>"); err != nil {
			return nil, err
		}
		if d.space(); d.skip("<name/>") {
			d.off -= len("<name/>")
			return nil, d.fail("member without a name")
		}
		if err := d.expect("<name>"); err != nil {
			return nil, err
		}
		name, err := d.until("</name>")
		if err != nil {
			return nil, err
		}
		member, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		members[unescape(name)] = member
		if err := d.expect("</member>"); err != nil {
			return nil, err
		}
	}
	return members, nil
}
