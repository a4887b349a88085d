package xapi

import (
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"html"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// keptSecrets is how many past sessions, and how many passwords, are still recognised in what servers say.
const keptSecrets = 64

// redactor replaces the passwords and the session references of one client in text that comes from elsewhere.
type redactor struct {
	mu        sync.Mutex
	passwords []Secret // the one used last is last
	sessions  []Secret
}

// learn must be called before a session is used for the first time.
func (r *redactor) learn(session Secret) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions = remembered(r.sessions, session)
}

// learnPassword must be called before each use of a password. Passwords rotate rarely and sessions often: they do not share a list.
func (r *redactor) learnPassword(password Secret) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.passwords = remembered(r.passwords, password)
}

// remembered puts a secret at the end of the list, and drops the oldest when it gets too long.
func remembered(list []Secret, secret Secret) []Secret {
	if secret == "" {
		return list
	}
	list = slices.DeleteFunc(list, func(known Secret) bool { return known == secret })
	if len(list) == keptSecrets {
		list = slices.Delete(list, 0, 1)
	}
	return append(list, secret)
}

// longest is the length of the longest spelling of a secret.
func (r *redactor) longest() int {
	longest := 0
	for _, spelling := range r.spellings() {
		longest = max(longest, len(spelling))
	}
	return longest
}

// spellings are the ways in which a server or a library may write the secrets, the longest first, so that none hides in another.
func (r *redactor) spellings() []string {
	r.mu.Lock()
	secrets := slices.Concat(r.passwords, r.sessions)
	r.mu.Unlock()
	var all []string
	for _, s := range secrets {
		secret := string(s)
		query, path := url.QueryEscape(secret), url.PathEscape(secret)
		all = append(
			all, secret, jsonSpelling(secret, true), jsonSpelling(secret, false), xmlSpelling(secret), html.EscapeString(secret),
			unquoted(strconv.Quote(secret)), unquoted(strconv.QuoteToASCII(secret)), strings.ToValidUTF8(secret, "?"), hex.EncodeToString([]byte(secret)),
			query, path, strings.ReplaceAll(query, "+", "%20"), lowerEscapes(query), lowerEscapes(path),
			strings.ReplaceAll(path, ":", "%3A"), // some escape more than they must
		)
	}
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(all)
}

// redact replaces every spelling of every secret; also what is left of one whose end was cut off, if that is half of it,
// or minCutSecret bytes. A short secret that looks like a word is replaced where it is one, so that a password such as root does not tear
// other words apart, and show what it is by that.
func (r *redactor) redact(text string) string {
	spellings := r.spellings()
	for _, spelling := range spellings {
		if len(spelling) < minCutSecret && !strings.ContainsFunc(spelling, func(c rune) bool { return c > 'z' || !wordByte(byte(c)) }) {
			text = redactWords(text, spelling)
		} else {
			text = strings.ReplaceAll(text, spelling, redacted)
		}
	}
	for _, spelling := range spellings {
		if len(spelling) >= minCutSecret {
			text = redactBeginnings(text, spelling)
		}
	}
	return text
}

// minCutSecret is the length of the shortest secret that is looked for in parts.
const minCutSecret = 16

// redactWords replaces a word of letters and digits where it does not stand inside a longer one.
func redactWords(text, word string) string {
	var out strings.Builder
	for {
		i := strings.Index(text, word)
		if i < 0 {
			out.WriteString(text)
			return out.String()
		}
		before, after := text[:i], text[i+len(word):]
		if after != "" && wordByte(after[0]) || before != "" && wordByte(before[i-1]) && !endsInEscape(before) {
			out.WriteString(text[:i+1])
			text = text[i+1:] // the next one may begin within this
			continue
		}
		out.WriteString(before)
		out.WriteString(redacted)
		text = after
	}
}

func wordByte(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// endsInEscape reports whether text ends in an escape sequence of a URL, of JSON or of Go, whose letters are no part of a word.
func endsInEscape(text string) bool {
	for mark, length := range map[string]int{"%": 3, `\`: 2, `\x`: 4, `\u`: 6, `\U`: 10} {
		if len(text) >= length && strings.HasPrefix(text[len(text)-length:], mark) {
			return true
		}
	}
	return false
}

func redactBeginnings(text, secret string) string {
	half := secret[:min(len(secret)/2, minCutSecret)]
	if !strings.Contains(text, half) {
		return text
	}
	var out strings.Builder
	for {
		before, after, found := strings.Cut(text, half)
		out.WriteString(before)
		if !found {
			return out.String()
		}
		rest := secret[len(half):]
		n := 0
		for n < len(rest) && n < len(after) && rest[n] == after[n] {
			n++
		}
		out.WriteString(redacted)
		text = after[n:]
	}
}

func jsonSpelling(text string, escapeHTML bool) string {
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(escapeHTML)
	_ = enc.Encode(text) // a string always marshals
	return unquoted(strings.TrimSuffix(out.String(), "\n"))
}

func xmlSpelling(text string) string {
	var out strings.Builder
	_ = xml.EscapeText(&out, []byte(text)) // a Builder takes all
	return out.String()
}

func unquoted(text string) string { return text[1 : len(text)-1] }

// lowerEscapes writes %3A as %3a.
func lowerEscapes(text string) string {
	out := []byte(text)
	for i := 0; i+2 < len(out); i++ {
		if out[i] == '%' {
			copy(out[i+1:i+3], strings.ToLower(text[i+1:i+3]))
		}
	}
	return string(out)
}

// wrap returns err itself when its text is clean. Otherwise the text is replaced and the chain is cut, because every link could be
// printed by itself; errors.Is still sees what was inside.
func (r *redactor) wrap(err error) error {
	if err == nil {
		return nil
	}
	if text := err.Error(); r.redact(text) != text {
		return &redactedError{text: r.redact(text), inner: err}
	}
	return err
}

type redactedError struct {
	text  string
	inner error
}

func (e *redactedError) Error() string        { return e.text }
func (e *redactedError) Is(target error) bool { return errors.Is(e.inner, target) }

// Format keeps fmt from printing what is inside.
func (e *redactedError) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, e.text) }

// newError builds the Error of a call or a task from what the pool sent. The one parameter of SESSION_INVALID is a session.
func (r *redactor) newError(method, code string, params []string) *Error {
	clean := make([]string, len(params))
	for i, param := range params {
		clean[i] = r.redact(param)
		if code == ErrSessionInvalid.Code {
			clean[i] = redacted
		}
	}
	return &Error{Method: method, Code: r.redact(code), Params: clean}
}
