package xapi

import (
	"encoding/json"
	"errors"
	"html"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// keptSessions is how many past session references are still recognised in what servers say.
const keptSessions = 32

// redactor replaces the password and the session references of one client in text that comes from elsewhere.
type redactor struct {
	mu       sync.Mutex
	password string
	sessions []string // newest last
}

// learn must be called before a session is used for the first time.
func (r *redactor) learn(session Secret) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.sessions) == keptSessions {
		r.sessions = slices.Delete(r.sessions, 0, 1)
	}
	r.sessions = append(r.sessions, string(session))
}

// redact replaces every spelling of a secret that a server or a library may echo.
func (r *redactor) redact(text string) string {
	r.mu.Lock()
	secrets := append([]string{r.password}, r.sessions...)
	r.mu.Unlock()
	var pairs []string
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		quoted, _ := json.Marshal(secret) // a string always marshals
		for _, spelling := range []string{
			secret, string(quoted[1 : len(quoted)-1]), url.QueryEscape(secret), url.PathEscape(secret), html.EscapeString(secret),
		} {
			pairs = append(pairs, spelling, redacted)
		}
	}
	return strings.NewReplacer(pairs...).Replace(text)
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
