package filerestore

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const tarBlock = 512

// tarHeader is a header of a tar archive as POSIX.1-2001 (pax) has it: an old header with
// what fits, and before it one with records for what does not.
type tarHeader struct {
	name, link   string // bytes
	kind         byte
	mode         uint32
	uid, gid     uint32
	size         int64 // of what follows
	modified     time.Time
	major, minor uint32
	records      map[string]string
}

func (h *tarHeader) set(key, value string) {
	if h.records == nil {
		h.records = map[string]string{}
	}
	h.records[key] = value
}

// appendTo appends the header, with its records before it.
func (h *tarHeader) appendTo(b []byte) []byte {
	h.overflow()
	if len(h.records) > 0 {
		var text []byte
		for _, key := range slices.Sorted(maps.Keys(h.records)) {
			text = appendRecord(text, key, h.records[key])
		}
		extra := tarHeader{name: "PaxHeaders/" + oldName(lastElement(h.name), 80), kind: 'x', mode: 0o644, size: int64(len(text))}
		b = extra.appendOld(b)
		b = append(b, text...)
		b = append(b, make([]byte, padding(int64(len(text))))...)
	}
	return h.appendOld(b)
}

// overflow makes records of what does not fit the old header.
func (h *tarHeader) overflow() {
	if !plainASCII(h.name) || len(h.name) > 100 {
		if h.records["GNU.sparse.name"] == "" {
			h.set("path", h.name)
		}
	}
	if !plainASCII(h.link) || len(h.link) > 100 {
		h.set("linkpath", h.link)
	}
	if !utf8.ValidString(h.name + "/" + h.link + "/" + h.records["GNU.sparse.name"]) {
		h.set("hdrcharset", "BINARY")
	}
	for key, n := range map[string]int64{"uid": int64(h.uid), "gid": int64(h.gid)} {
		if n > 0o7777777 {
			h.set(key, strconv.FormatInt(n, 10))
		}
	}
	if h.size > 0o77777777777 {
		h.set("size", strconv.FormatInt(h.size, 10))
	}
	if t := h.modified; !t.IsZero() && (t.Nanosecond() != 0 || t.Unix() < 0 || t.Unix() > 0o77777777777) {
		h.set("mtime", paxTime(t))
	}
}

// appendOld appends one block.
func (h *tarHeader) appendOld(dst []byte) []byte {
	var b [tarBlock]byte
	copy(b[0:100], oldName(h.name, 100))
	copy(b[100:], octal(int64(h.mode), 7))
	copy(b[108:], octal(int64(h.uid), 7))
	copy(b[116:], octal(int64(h.gid), 7))
	copy(b[124:], octal(h.size, 11))
	seconds := int64(0)
	if !h.modified.IsZero() {
		seconds = h.modified.Unix()
	}
	copy(b[136:], octal(seconds, 11))
	b[156] = h.kind
	copy(b[157:257], oldName(h.link, 100))
	copy(b[257:], "ustar\x0000")
	if h.kind == '3' || h.kind == '4' {
		copy(b[329:], octal(int64(h.major), 7))
		copy(b[337:], octal(int64(h.minor), 7))
	}
	copy(b[148:156], "        ")
	sum := int64(0)
	for _, c := range b {
		sum += int64(c)
	}
	copy(b[148:], octal(sum, 6)+"\x00 ")
	return append(dst, b[:]...)
}

// appendRecord appends a record, which begins with its own length.
func appendRecord(b []byte, key, value string) []byte {
	n := len(key) + len(value) + 3 // ' ', '=', newline
	length := n + len(strconv.Itoa(n))
	length = n + len(strconv.Itoa(length))
	return fmt.Appendf(b, "%d %s=%s\n", length, key, value)
}

// octal is zero where the number does not fit: there is a record then.
func octal(n int64, digits int) string {
	if s := strconv.FormatInt(n, 8); n >= 0 && len(s) <= digits {
		return strings.Repeat("0", digits-len(s)) + s
	}
	return strings.Repeat("0", digits)
}

// oldName is what a program shows that reads no records.
func oldName(s string, n int) string {
	b := []byte(s[:min(len(s), n)])
	for i, c := range b {
		if c < 0x20 || c >= 0x7F {
			b[i] = '_'
		}
	}
	return string(b)
}

func plainASCII(s string) bool { return oldName(s, len(s)) == s }

func lastElement(name string) string {
	name = strings.TrimSuffix(name, "/")
	return name[strings.LastIndexByte(name, '/')+1:]
}

// paxTime has nanoseconds, also before 1970.
func paxTime(t time.Time) string {
	seconds, nanos, sign := t.Unix(), int64(t.Nanosecond()), ""
	if seconds < 0 {
		if seconds, sign = -seconds, "-"; nanos > 0 {
			seconds, nanos = seconds-1, 1e9-nanos
		}
	}
	s := sign + strconv.FormatInt(seconds, 10)
	if nanos == 0 {
		return s
	}
	return strings.TrimRight(fmt.Sprintf("%s.%09d", s, nanos), "0")
}

func padding(n int64) int64 { return -n & (tarBlock - 1) }
