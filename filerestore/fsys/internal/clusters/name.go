package clusters

import (
	"unicode/utf16"
	"unicode/utf8"
)

// UTF8 makes a name of UTF-16. What is half of a pair becomes the three bytes
// that UTF-8 would have for it, so that different names stay different.
func UTF8(units []uint16) string {
	b := make([]byte, 0, len(units)*3)
	for i := 0; i < len(units); i++ {
		u := rune(units[i])
		if !utf16.IsSurrogate(u) {
			b = utf8.AppendRune(b, u)
			continue
		}
		if i+1 < len(units) {
			if r := utf16.DecodeRune(u, rune(units[i+1])); r != utf8.RuneError {
				b = utf8.AppendRune(b, r)
				i++
				continue
			}
		}
		b = append(b, 0xE0|byte(u>>12), 0x80|byte(u>>6&63), 0x80|byte(u&63))
	}
	return string(b)
}

// Fold maps each UTF-16 unit of a name; what is no UTF-8 stays.
func Fold(name string, upper func(uint16) uint16) string {
	b := make([]byte, 0, len(name))
	for i := 0; i < len(name); {
		r, n := utf8.DecodeRuneInString(name[i:])
		if (r == utf8.RuneError && n == 1) || r > 0xFFFF {
			b = append(b, name[i:i+n]...)
		} else {
			b = utf8.AppendRune(b, rune(upper(uint16(r))))
		}
		i += n
	}
	return string(b)
}
