package schedule_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/schedule"
)

func TestAFileRemembers(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "last.json")
	records, err := schedule.NewFileStore(path).Load(t.Context())
	require.NoError(t, err)
	require.Empty(t, records)

	want := map[string]schedule.Record{
		"a": {Handled: time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC), Spec: "0 3 * * * Europe/Paris"},
		"b": {Handled: time.Date(2026, 11, 23, 3, 0, 0, 1, time.UTC), Disabled: true},
	}
	require.NoError(t, schedule.NewFileStore(path).Save(t.Context(), map[string]schedule.Record{"x": {}}))
	require.NoError(t, schedule.NewFileStore(path).Save(t.Context(), want))
	records, err = schedule.NewFileStore(path).Load(t.Context())
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(want, records))
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 1, "no temporary files stay")

	require.NoError(t, os.WriteFile(path, []byte(`{"a": {"handled": "2026`), 0o600))
	_, err = schedule.NewFileStore(path).Load(t.Context())
	require.ErrorContains(t, err, "last.json")
	require.ErrorIs(t, schedule.NewFileStore(filepath.Join(dir, "gone", "last.json")).Save(t.Context(), want), os.ErrNotExist)
}

func TestAFileRemembersAcrossRestarts(t *testing.T) {
	store := schedule.NewFileStore(filepath.Join(t.TempDir(), "last.json"))
	for restart, want := range []int{0, 1, 0} {
		synctest.Test(t, func(t *testing.T) {
			missed := 0
			s := schedule.NewScheduler(&schedule.Options{
				Store: store,
				Now:   func() time.Time { return time.Now().Add(time.Duration(restart) * 6 * time.Hour) },
				Observer: func(e schedule.Event) {
					if e.Kind == schedule.EventMissed {
						missed++
					}
				},
			})
			require.NoError(t, s.Set(schedule.Entry{ID: "a", When: at(t, "0 3 * * *"), Run: takes(0, nil)}))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			require.ErrorIs(t, s.Run(ctx), context.DeadlineExceeded)
			require.Equal(t, want, missed)
		})
	}
}
