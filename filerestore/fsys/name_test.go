package fsys

import (
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNamesThatPathsCannotCarryAreEscaped(t *testing.T) {
	for raw, want := range map[string]string{
		"plain":         "plain",
		"100%":          "100%",
		"%41":           "%2541",
		"%4g":           "%4g",
		"\xff%\xfe":     "%FF%%FE",
		"a/b\x00":       "a%2Fb%00",
		".":             "%2E",
		"..":            "%2E%2E",
		"...":           "...",
		"C:\\x\n":       "C:\\x\n",
		"e\u0301\ufffd": "e\u0301\ufffd",
	} {
		require.Equal(t, want, Escape(raw))
		back, ok := Unescape(want)
		require.True(t, ok)
		require.Equal(t, raw, back)
	}
	for _, name := range []string{"%41", "", ".", "..", "%2E%2E%2E", "a\xff"} {
		_, ok := Unescape(name)
		require.False(t, ok, name)
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("a%FF\xff/%")
	f.Fuzz(func(t *testing.T, raw string) {
		if raw == "" {
			return
		}
		name := Escape(raw)
		require.True(t, fs.ValidPath(name), name)
		back, ok := Unescape(name)
		require.True(t, ok)
		require.Equal(t, raw, back)
	})
}

func TestNodeIDsReadBackWhatTheyPrint(t *testing.T) {
	for _, id := range []NodeID{{}, {Number: 12}, {Tree: 5, Number: 257}} {
		back, err := ParseNodeID(id.String())
		require.NoError(t, err)
		require.Equal(t, id, back)
	}
	for _, s := range []string{"", ":", "1:", ":1", "x", "1:2:3", "-1"} {
		_, err := ParseNodeID(s)
		require.Error(t, err, s)
	}
}
