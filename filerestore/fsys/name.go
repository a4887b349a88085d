package fsys

import (
	"strings"
	"unicode/utf8"
)

const hexDigits = "0123456789ABCDEF"

// Escape makes an element of an fs.FS path of a raw name. Bytes that are no
// UTF-8, '/' and NUL become %XX, and so do the names "." and ".."; a '%' that
// would read as such an escape becomes %25. All other names are themselves.
// Different names stay different.
func Escape(raw string) string {
	if raw == "." || raw == ".." {
		return strings.Repeat("%2E", len(raw))
	}
	if plain(raw) {
		return raw
	}
	var b strings.Builder
	for i := 0; i < len(raw); {
		r, n := utf8.DecodeRuneInString(raw[i:])
		c := raw[i]
		switch {
		case r == utf8.RuneError && n == 1, c == '/', c == 0, c == '%' && isEscape(raw[i:]):
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		default:
			b.WriteString(raw[i : i+n])
		}
		i += n
	}
	return b.String()
}

// Unescape returns the raw name that [Escape] made name of; ok is false when
// there is none.
func Unescape(name string) (raw string, ok bool) {
	if strings.IndexByte(name, '%') < 0 {
		return name, plain(name) && name != "." && name != ".."
	}
	b := make([]byte, 0, len(name))
	for i := 0; i < len(name); i++ {
		if name[i] == '%' && isEscape(name[i:]) {
			b = append(b, unhex(name[i+1])<<4|unhex(name[i+2]))
			i += 2
			continue
		}
		b = append(b, name[i])
	}
	raw = string(b)
	return raw, Escape(raw) == name
}

// plain tells that a name is its own escape.
func plain(s string) bool {
	return s != "" && strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '/') < 0 && strings.IndexByte(s, 0) < 0 && utf8.ValidString(s)
}

// isEscape tells that s begins with %XX in upper-case hexadecimal.
func isEscape(s string) bool {
	return len(s) >= 3 && strings.IndexByte(hexDigits, s[1]) >= 0 && strings.IndexByte(hexDigits, s[2]) >= 0
}

func unhex(c byte) byte { return byte(strings.IndexByte(hexDigits, c)) }
