package vhd

import (
	"encoding/binary"
	"net/url"
	"path"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Platform codes of the parent locators that are in use.
const (
	PlatformW2ru = "W2ru" // relative path, UTF-16LE, backslashes
	PlatformW2ku = "W2ku" // absolute path, UTF-16LE; libvhd puts the relative one here
	PlatformMacX = "MacX" // file: URL, UTF-8; libvhd puts a relative path behind file://
)

const (
	locatorSize    = 24
	maxLocatorData = 64 << 10 // longer ones are not read
)

// Locator is an entry of the header that points to a name of the parent.
type Locator struct {
	Code   [4]byte // platform code; zero when the entry is not used
	Space  uint32  // reserved for the name: sectors says the specification, bytes say Hyper-V and libvhd
	Length uint32  // of the name, in bytes
	Offset uint64  // of the name in the file, in bytes
}

func parseLocator(b *[locatorSize]byte) Locator {
	be := binary.BigEndian
	return Locator{Code: [4]byte(b[:]), Space: be.Uint32(b[4:]), Length: be.Uint32(b[8:]), Offset: be.Uint64(b[16:])}
}

func (l *Locator) encode(b *[locatorSize]byte) {
	be := binary.BigEndian
	copy(b[:], l.Code[:])
	be.PutUint32(b[4:], l.Space)
	be.PutUint32(b[8:], l.Length)
	be.PutUint64(b[16:], l.Offset)
}

// names decodes the content of the locator to slash-separated paths, none when
// there is nothing usable in it. Drive letters, roots and ".." are left in them. A
// URL may be escaped, as it should be, or not, as libvhd and xapi write it.
func (l *Locator) names(content []byte) []string {
	switch string(l.Code[:]) {
	case PlatformW2ru, PlatformW2ku:
		return []string{slashed(utf16Name(content, binary.LittleEndian))}
	case PlatformMacX:
		rest, ok := strings.CutPrefix(strings.TrimRight(string(content), "\x00"), "file://")
		if !ok || !utf8.ValidString(rest) {
			return nil
		}
		if onHost, ok := strings.CutPrefix(rest, "localhost/"); ok {
			rest = "/" + onHost
		}
		if plain, err := url.PathUnescape(rest); err == nil && utf8.ValidString(plain) {
			return []string{slashed(plain), slashed(rest)}
		}
		return []string{slashed(rest)}
	}
	return nil
}

// slashed turns the separators of Windows into slashes and drops what says
// "here", so that equal names are equal strings.
func slashed(name string) string {
	if name == "" || strings.ContainsRune(name, 0) {
		return ""
	}
	return path.Clean(strings.ReplaceAll(name, `\`, "/"))
}

// encodeW2ru returns the content of a W2ru locator for a relative path: Windows
// wants it to begin with `.\`.
func encodeW2ru(name string) []byte {
	units := utf16.Encode([]rune(`.\` + strings.ReplaceAll(name, "/", `\`)))
	b := make([]byte, 0, 2*len(units))
	for _, unit := range units {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return b
}

// ParentRef says which parent an image wants: its uuid, and where it may be.
type ParentRef struct {
	UUID UUID

	// Names are the candidates in the order in which to try them: the W2ru
	// locator, the unicode name of the header, MacX, W2ku. They are paths
	// relative to the image, or absolute, with slashes; they come from the
	// file, so nothing says that they exist, are the right disk or stay inside
	// the directory one expects.
	Names []string
}

// parentNames lists the candidates; locator contents come from read, which
// returns nil for what cannot be read.
func parentNames(h *Header, read func(off int64, n int) []byte) []string {
	var names []string
	add := func(name string) {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	addLocators := func(code string) {
		for _, l := range h.Locators {
			if string(l.Code[:]) == code && l.Length > 0 && l.Length <= maxLocatorData && l.Offset < 1<<62 {
				for _, name := range l.names(read(int64(l.Offset), int(l.Length))) {
					add(name)
				}
			}
		}
	}
	addLocators(PlatformW2ru)
	add(slashed(h.ParentName))
	addLocators(PlatformMacX)
	addLocators(PlatformW2ku)
	return names
}
