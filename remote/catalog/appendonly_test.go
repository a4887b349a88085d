package catalog_test

import (
	"maps"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// Whatever is done to a repository that is append only, and whatever fails, all that
// was there stays as it was, and points can be added.
func TestAppendOnlyTakesNothingAway(t *testing.T) {
	for _, format := range []catalog.DiskFormat{catalog.FormatFile, catalog.FormatBrotli} {
		m, fsys := repositoryOf(t, 2, &catalog.Options{Format: format})
		before := keptOf(t, fsys)
		opts := &catalog.Options{Format: format, AppendOnly: true}
		c, err := catalog.Open(t.Context(), fsys, opts)
		require.NoError(t, err)
		s := lockVM(t, c, testVM)
		_, err = s.Expire(t.Context(), catalog.Retention{ScheduleID: testSchedule, Keep: 1})
		require.ErrorIs(t, err, catalog.ErrAppendOnly)
		require.ErrorIs(t, s.Delete(t.Context(), pointName(1)), catalog.ErrAppendOnly)
		_, err = s.Merge(t.Context(), nil)
		require.ErrorIs(t, err, catalog.ErrAppendOnly)
		plan, err := s.Clean(t.Context(), nil)
		require.ErrorIs(t, err, catalog.ErrAppendOnly)
		require.NotNil(t, plan)
		require.NoError(t, m.writePoint(t.Context(), s))
		require.NoError(t, s.Close(t.Context()))
		after := keptOf(t, fsys)
		require.Greater(t, len(after), len(before))
		for name, content := range before {
			require.Equal(t, content, after[name], name)
		}
		m.opts = opts
		got, err := m.check(t.Context(), fsys)
		require.NoError(t, err)
		require.Equal(t, dates(1, 2, 3), got)
	}
}

// A backup that fails at any operation takes back what it made, or leaves it, and
// nothing else.
func TestAppendOnlyBackupThatFails(t *testing.T) {
	m, base := repositoryOf(t, 1, &catalog.Options{})
	sweep(t, func(n int) bool {
		fsys := durable(base)
		before := keptOf(t, fsys)
		faulty := remotetest.NewFaulty(fsys)
		c, err := catalog.Open(t.Context(), faulty, &catalog.Options{AppendOnly: true})
		require.NoError(t, err)
		s, err := c.LockVM(t.Context(), testVM)
		require.NoError(t, err)
		faulty.FailAt(n, remote.ErrNoSpace, remotetest.Mutating()...)
		err = m.clone().writePoint(t.Context(), s)
		fired := faulty.Fired() > 0
		faulty.Heal()
		require.NoError(t, s.Close(t.Context()))
		after := keptOf(t, fsys)
		for name, content := range before {
			require.Equal(t, content, after[name], "operation %d: %v: %s", n, err, name)
		}
		if err == nil {
			return fired
		}
		for name := range maps.Keys(after) {
			require.True(t, before[name] != "" || path.Ext(name) != ".json", "operation %d: %s", n, name)
		}
		return fired
	})
}

// keptOf returns what must not change: all but caches and what is not for backups.
func keptOf(t *testing.T, fsys remote.Filesystem) map[string]string {
	t.Helper()
	kept := contents(t, fsys)
	maps.DeleteFunc(kept, func(name, _ string) bool { return strings.HasSuffix(name, "cache.json.gz") })
	return kept
}
