package schedule_test

import (
	"archive/zip"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/schedule"
)

// turning is a moment at which the clock of a zone is turned.
type turning struct {
	zone *time.Location
	at   time.Time
}

// turnings lists those of all zones from 2026 to 2036, but only one of those that
// turn the clock by as much at the same time of the day.
func turnings(t *testing.T) []turning {
	t.Helper()
	zones, err := zip.OpenReader(filepath.Join(runtime.GOROOT(), "lib", "time", "zoneinfo.zip")) //nolint:staticcheck // the tests run where Go is
	require.NoError(t, err)
	defer zones.Close()
	seen := map[string]bool{}
	var all []turning
	for _, f := range zones.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		zone, err := time.LoadLocation(f.Name)
		require.NoError(t, err)
		end := time.Date(2037, 1, 1, 0, 0, 0, 0, time.UTC)
		for at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).In(zone); ; {
			_, next := at.ZoneBounds()
			if next.IsZero() || next.After(end) {
				break
			}
			at = next
			_, before := at.Add(-time.Second).Zone()
			_, after := at.Zone()
			if key := fmt.Sprint(before, after, at.Format("15:04")); !seen[key] {
				seen[key] = true
				all = append(all, turning{zone, at})
			}
		}
	}
	require.Greater(t, len(all), 30)
	return all
}

// Around every turning of a clock, each time is due once, as counted minute by minute.
func TestEveryTurningOfAClockIsCountedByTheMinute(t *testing.T) {
	for _, turned := range turnings(t) {
		from, to := turned.at.Add(-36*time.Hour), turned.at.Add(36*time.Hour)
		for _, text := range []string{"30 2 * * *", "0 0 * * *", "*/20 0-4 * * *", "59 1,23 * * *", "15 * * * *", "0 */3 * * *"} {
			c, err := schedule.Parse(text, schedule.XO, turned.zone)
			require.NoError(t, err)
			var got []time.Time
			for at := c.Next(from); !at.After(to); at = c.Next(at) {
				got = append(got, at)
			}
			want := byTheMinute(c, text, turned, from, to)
			require.True(t, slices.EqualFunc(want, got, time.Time.Equal), "%s in %s around %s:\n%v\n%v", text, turned.zone, turned.at, want, got)
		}
	}
}

// byTheMinute looks at the clock each minute.
func byTheMinute(c *schedule.Cron, text string, turned turning, from, to time.Time) []time.Time {
	hourly := strings.HasPrefix(strings.Fields(text)[1], "*")
	plain, _ := schedule.Parse(text, schedule.XO, time.UTC) // a clock that nobody turns
	due := func(wall time.Time) bool { return plain.Next(wall.Add(-time.Minute)).Equal(wall) }
	wallOf := func(at time.Time) time.Time {
		l := at.In(c.Zone())
		return time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), 0, 0, time.UTC)
	}
	var times []time.Time
	shown := map[time.Time]bool{}
	last := wallOf(from.Add(-time.Minute))
	for at := from; !at.After(to); at = at.Add(time.Minute) {
		wall := wallOf(at)
		is := due(wall) && (hourly || !shown[wall])
		if at.Equal(turned.at) && !hourly { // what the clock has jumped over
			for w := last.Add(time.Minute); w.Before(wall); w = w.Add(time.Minute) {
				is = is || due(w)
			}
		}
		shown[wall] = true
		last = wall
		if is && at.After(from) {
			times = append(times, at)
		}
	}
	return times
}
