package xapi

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Passwords that were used long ago may still come back from a host that logs slowly.
func TestRotatedPasswordsOutliveManySessions(t *testing.T) {
	t.Parallel()
	var r redactor
	r.learnPassword("first-password-of-all")
	r.learnPassword("second-password-of-all")
	for i := range 10 * keptSecrets {
		r.learn(Secret(fmt.Sprintf("OpaqueRef:session-number-%d", i)))
		r.learnPassword("second-password-of-all")
	}
	for _, secret := range []string{"first-password-of-all", "second-password-of-all", fmt.Sprintf("OpaqueRef:session-number-%d", 10*keptSecrets-1)} {
		require.Equal(t, "<***>", r.redact("<"+secret+">"))
	}
	for i := range 2 * keptSecrets { // a source that never gives one twice: what is in use is known
		password := Secret(fmt.Sprintf("one-time-password-%d", i))
		r.learnPassword(password)
		require.Equal(t, "<***>", r.redact("<"+string(password)+">"))
	}
	require.LessOrEqual(t, len(r.sessions), keptSecrets)
	require.LessOrEqual(t, len(r.passwords), keptSecrets)
}

func TestShortPasswordsAreReplacedAsWords(t *testing.T) {
	t.Parallel()
	var r redactor
	r.learnPassword("root")
	for text, want := range map[string]string{
		"user root":                 "user ***",
		"root":                      "***",
		"/srv/rooted/uproot/broot2": "/srv/rooted/uproot/broot2",
		"rootroot root":             "rootroot ***",
		"p=root&x":                  "p=***&x",
		"p%3Droot%26":               "p%3D***%26",
		`a\nroot\n`:                 `a\n***\n`,
		`\u00e9root`:                `\u00e9***`,
		"é" + "root" + "é":          "é***é",
		"726f6f74":                  "***", // in hexadecimal
		"a_root_b":                  "a_***_b",
	} {
		require.Equal(t, want, r.redact(text), text)
	}
	inner := errors.New("directory /srv/uprooted")
	require.Same(t, inner, r.wrap(inner)) // the chain stays
	r.learnPassword("correct horse")
	require.Equal(t, "x***y", r.redact("xcorrect horsey"))
	r.learnPassword(Secret(strings.Repeat("a1", 10)))
	require.Equal(t, "x***y", r.redact("x"+strings.Repeat("a1", 10)+"y"))
}

// The one encoding/json and fmt know is not always the one a server has.
func FuzzRedact(f *testing.F) {
	f.Add("root", "/srv/rooted root", true)
	f.Add("p&ss wörd", "a p%26ss+w%C3%B6rd b", false)
	f.Fuzz(func(t *testing.T, secret, text string, session bool) {
		var r redactor
		if session {
			r.learn(Secret(secret))
		} else {
			r.learnPassword(Secret(secret))
		}
		once := r.redact(text + " " + secret + "\n")
		if len(secret) >= minCutSecret {
			require.NotContains(t, once, secret)
		}
	})
}
