package xapitest

import (
	"encoding/xml"
	"strconv"
	"strings"
)

// xmlText returns a result as a task shows it: an XML-RPC value in text, and
// nothing for void.
func xmlText(value any) string {
	if value == nil {
		return ""
	}
	var b strings.Builder
	writeXML(&b, value)
	return b.String()
}

// writeXML writes a value as the server of the XenAPI does: strings, references
// and integers untagged.
func writeXML(b *strings.Builder, value any) {
	b.WriteString("<value>")
	switch v := value.(type) {
	case string:
		escapeXML(b, v)
	case int64:
		b.WriteString(strconv.FormatInt(v, 10))
	case float64:
		b.WriteString("<double>" + strconv.FormatFloat(v, 'g', 16, 64) + "</double>")
	case bool:
		b.WriteString("<boolean>" + map[bool]string{false: "0", true: "1"}[v] + "</boolean>")
	case []string:
		b.WriteString("<array><data>")
		for _, s := range v {
			writeXML(b, s)
		}
		b.WriteString("</data></array>")
	case map[string]string:
		b.WriteString("<struct>")
		for name, s := range v {
			b.WriteString("<member><name>")
			escapeXML(b, name)
			b.WriteString("</name>")
			writeXML(b, s)
			b.WriteString("</member>")
		}
		b.WriteString("</struct>")
	}
	b.WriteString("</value>")
}

func escapeXML(b *strings.Builder, s string) {
	_ = xml.EscapeText(b, []byte(s)) // a strings.Builder takes everything
}
