package pipeline_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/remote/catalog"
)

// redate changes when a point was made, as far as retention knows.
func (w *world) redate(p *catalog.Point, at time.Time) {
	w.t.Helper()
	name := filepath.Join(w.dirs["r"], filepath.FromSlash(p.ID))
	text, err := os.ReadFile(name)
	require.NoError(w.t, err)
	var m map[string]any
	require.NoError(w.t, json.Unmarshal(text, &m))
	m["timestamp"] = at.UnixMilli()
	text, err = json.Marshal(m)
	require.NoError(w.t, err)
	require.NoError(w.t, os.WriteFile(name, text, 0o600))
	_ = os.Remove(filepath.Join(filepath.Dir(name), "cache.json.gz"))
}

// Of each day the oldest point is kept, two days back, and what is kept is readable.
func TestLongTermRetentionKeepsDaysBesideTheNewest(t *testing.T) {
	for _, mode := range []string{pipeline.ModeDelta, pipeline.ModeFull} {
		for settings, kept := range map[string][]int{
			`"exportRetention":1`:                    {1, 2},
			`"exportRetention":2,"deleteFirst":true`: {1, 2, 3},
		} {
			t.Run(mode+settings, func(t *testing.T) {
				w := newWorld(t, "r")
				w.job.Mode = mode
				w.set(`{"exportRetention":10}`)
				for range 4 {
					w.mustRun()
				}
				before := w.points("r")
				noon := time.Now().UTC().Truncate(24 * time.Hour).Add(12 * time.Hour)
				for i, back := range []time.Duration{72 * time.Hour, 48 * time.Hour, 26 * time.Hour, 24 * time.Hour} {
					w.redate(before[i], noon.Add(-back))
				}
				w.set(`{"timezone":"UTC",` + settings + `,"longTermRetention":{"daily":{"retention":2},"yearly":{"retention":0}}}`)
				w.mustRun()
				points := w.points("r")
				if mode == pipeline.ModeDelta {
					w.checkPoints("r", len(points))
				}
				require.Len(t, points, len(kept)+1)
				for i, n := range kept {
					require.Equal(t, before[n].ID, points[i].ID)
				}
			})
		}
	}
}

func TestLongTermPointHasTheTagsOfItsPeriods(t *testing.T) {
	w := newWorld(t, "r")
	w.set(`{"timezone":"UTC","longTermRetention":{"daily":{"retention":2},"monthly":{"retention":1}}}`)
	w.mustRun()
	p := w.checkPoints("r", 1)[0]
	require.ElementsMatch(t, []string{
		"daily=" + p.Time().UTC().Format(time.DateOnly), "monthly=" + p.Time().UTC().Format("2006-01"),
	}, p.Metadata.Tags)
}
