package xenrestore

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPatternsAreOfWholePaths(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		pattern, of, notOf string
		fixed              int
	}{
		{"/etc/*.conf", "etc/a.conf", "etc/x/a.conf etc/a.config a.conf", 1},
		{"**/*.conf", "a.conf etc/a.conf etc/x/a.conf", "etc/a.config a.conf/x", 0},
		{"home/**", "home home/x home/x/y", "homes x/home", 1},
		{"home/**/.ssh/*", "home/.ssh/key home/a/b/.ssh/key", "home/.ssh .ssh/key home/a/key", 1},
		{"**/**/a", "a x/a x/y/a", "x", 0},
		{"a/b", "a/b", "a a/b/c", 2},
		{"a?[x-z]", "abx", "ab abxx a/x", 0},
	} {
		g, err := parseGlob(row.pattern)
		require.NoError(t, err)
		require.Equal(t, row.fixed, g.fixed(), row.pattern)
		for name := range strings.FieldsSeq(row.of) {
			require.True(t, g.match(strings.Split(name, "/")), "%s %s", row.pattern, name)
		}
		for name := range strings.FieldsSeq(row.notOf) {
			require.False(t, g.match(strings.Split(name, "/")), "%s %s", row.pattern, name)
		}
	}
	_, err := parseGlob("[")
	require.Error(t, err)
}
