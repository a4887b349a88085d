package xmlvalue

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"
)

// unescape replaces the five named and the numeric references. An & that begins none of them stands for itself: in member names
// it may.
func unescape(raw []byte) string {
	if bytes.IndexByte(raw, '&') < 0 {
		return string(raw)
	}
	var out strings.Builder
	for {
		before, after, found := bytes.Cut(raw, []byte("&"))
		out.Write(before)
		if !found {
			return out.String()
		}
		end := bytes.IndexByte(after[:min(len(after), 12)], ';')
		if end < 0 {
			out.WriteByte('&')
			raw = after
			continue
		}
		if text, ok := entity(string(after[:end])); ok {
			out.WriteString(text)
			raw = after[end+1:]
		} else {
			out.WriteByte('&')
			raw = after
		}
	}
}

func entity(name string) (string, bool) {
	switch name {
	case "lt":
		return "<", true
	case "gt":
		return ">", true
	case "amp":
		return "&", true
	case "quot":
		return `"`, true
	case "apos":
		return "'", true
	}
	digits, numeric := strings.CutPrefix(name, "#")
	base := 10
	if hex, ok := strings.CutPrefix(digits, "x"); ok {
		digits, base = hex, 16
	}
	r, err := strconv.ParseUint(digits, base, 21)
	if !numeric || err != nil || !utf8.ValidRune(rune(r)) {
		return "", false
	}
	return string(rune(r)), true
}

// AppendText appends text as xapi writes it: control characters other than tab and line ends are dropped, because XML has no way to
// say them.
func AppendText(dst []byte, text string) []byte {
	for i := range len(text) {
		switch b := text[i]; {
		case b == '<':
			dst = append(dst, "&lt;"...)
		case b == '>':
			dst = append(dst, "&gt;"...)
		case b == '&':
			dst = append(dst, "&amp;"...)
		case b < 0x20 && b != '\t' && b != '\n' && b != '\r':
		default:
			dst = append(dst, b)
		}
	}
	return dst
}
