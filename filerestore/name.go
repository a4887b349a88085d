package filerestore

import (
	"fmt"
	"strings"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// A name that comes out of a volume may be any bytes. What goes into an archive, or to
// this machine's disk, is made of elements that are each safe: none is empty, "." or "..",
// none has a '/' or NUL. So no name is absolute or leads out of where it belongs.

// bytesName keeps all bytes that a name of a Unix can have.
func bytesName(raw string) string {
	if raw == "" || raw == "." || raw == ".." || strings.ContainsAny(raw, "/\x00") {
		return fsys.Escape(raw)
	}
	return raw
}

// textName is UTF-8 without control characters, and without what some programs take for a
// separator: such bytes become %XX.
func textName(raw string) string {
	return escapeBytes(fsys.Escape(raw), func(c byte) bool { return c < 0x20 || c == 0x7F || c == '\\' })
}

// windowsName is a name that Windows accepts.
func windowsName(raw string) string {
	s := escapeBytes(fsys.Escape(raw), func(c byte) bool { return c < 0x20 || c == 0x7F || strings.IndexByte(`\<>:"|?*`, c) >= 0 })
	if last := s[len(s)-1]; last == '.' || last == ' ' {
		s = s[:len(s)-1] + fmt.Sprintf("%%%02X", last)
	}
	stem, _, _ := strings.Cut(s, ".")
	switch strings.ToUpper(strings.TrimRight(stem, " ")) {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$",
		"COM0", "COM1", "COM2", "COM3", "COM4", "COM5", "COM6", "COM7", "COM8", "COM9", "COM¹", "COM²", "COM³",
		"LPT0", "LPT1", "LPT2", "LPT3", "LPT4", "LPT5", "LPT6", "LPT7", "LPT8", "LPT9", "LPT¹", "LPT²", "LPT³":
		s = fmt.Sprintf("%%%02X", s[0]) + s[1:]
	}
	return s
}

func escapeBytes(s string, bad func(byte) bool) string {
	var b strings.Builder
	for i := range len(s) {
		if bad(s[i]) {
			fmt.Fprintf(&b, "%%%02X", s[i])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// volumeName is the directory that a volume's files are in, beside those of another.
func volumeName(id string) string {
	return windowsName(strings.NewReplacer("/", "-", ":", "-").Replace(id))
}
