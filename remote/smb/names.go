package smb

import (
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

// invalidRunes cannot be part of a name, and control characters cannot either.
const invalidRunes = `\:*?"<>|`

const maxName = 255

// checkName refuses, before anything is sent, what is no name and what a server
// cannot hold, or would hold under another name: SMB drops dots and spaces at the
// end, takes a colon for a stream, and some names for devices.
func checkName(op, name string) error {
	if err := remote.CheckName(op, name); err != nil {
		return err
	}
	for element := range strings.SplitSeq(name, "/") {
		if name != "." && !holds(element) {
			return &fs.PathError{Op: op, Path: name, Err: remote.MarkError(&badNameError{element}, fs.ErrInvalid)}
		}
	}
	return nil
}

type badNameError struct{ element string }

func (e *badNameError) Error() string {
	return strconv.Quote(e.element) + " cannot be a name on an SMB share"
}

func holds(element string) bool {
	if len(element) > maxName || strings.ContainsAny(element, invalidRunes) || strings.HasSuffix(element, ".") || strings.HasSuffix(element, " ") {
		return false
	}
	for _, r := range element {
		if r < ' ' {
			return false
		}
	}
	return !isDevice(element)
}

// isDevice reports whether Windows takes a name for a device, as it does whatever
// follows the first dot.
func isDevice(element string) bool {
	base, _, _ := strings.Cut(element, ".")
	base = strings.ToUpper(strings.TrimRight(base, " "))
	switch base {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	if n, ok := strings.CutPrefix(base, "COM"); ok {
		return len(n) == 1 && n[0] >= '1' && n[0] <= '9'
	}
	n, ok := strings.CutPrefix(base, "LPT")
	return ok && len(n) == 1 && n[0] >= '1' && n[0] <= '9'
}

// listable reports whether a name that the server lists is one element, so that
// nothing it says leads elsewhere.
func listable(name string) bool {
	return name != "." && fs.ValidPath(name) && !strings.ContainsAny(name, `/\`)
}

// serverPath is the path below the share, with backslashes.
func (f *FS) serverPath(name string) string {
	p := path.Join(f.folder, name)
	if p == "." {
		return ""
	}
	return strings.ReplaceAll(p, "/", `\`)
}

// The file that a Rename replaces is put aside under a name that says whose
// content it is and when it went there, so that it can be put back.
const asideMark = ".old-"

// asideToken is as long as every token: the time in nanoseconds, in hexadecimal.
const asideToken = 16

// asideName is the name beside name for what Rename takes out of the way at a time.
func asideName(name string, now time.Time) string {
	dir, base := path.Split(name)
	token := strconv.FormatUint(uint64(now.UnixNano()), 16)
	return dir + "." + base + asideMark + strings.Repeat("0", asideToken-len(token)) + token
}

// asideOf returns the base name whose content has the base name given, if that is
// the name of an aside.
func asideOf(base string) (string, bool) {
	rest, dotted := strings.CutPrefix(base, ".")
	at := len(rest) - asideToken - len(asideMark)
	if !dotted || at < 1 || rest[at:at+len(asideMark)] != asideMark {
		return "", false
	}
	token := rest[at+len(asideMark):]
	if strings.Trim(token, "0123456789abcdef") != "" {
		return "", false
	}
	return rest[:at], true
}
