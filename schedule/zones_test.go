package schedule_test

import (
	"archive/zip"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/schedule"
)

// turning is a moment at which the clock of a zone is turned.
type turning struct {
	zone          *time.Location
	at            time.Time
	before, after int // seconds ahead of UTC
}

// turningsOf are those of a zone from 2026 to 2036.
func turningsOf(zone *time.Location) []turning {
	var all []turning
	end := time.Date(2037, 1, 1, 0, 0, 0, 0, time.UTC)
	for at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).In(zone); ; {
		_, next := at.ZoneBounds()
		if next.IsZero() || next.After(end) {
			return all
		}
		at = next
		_, before := at.Add(-time.Second).Zone()
		_, after := at.Zone()
		all = append(all, turning{zone, at, before, after})
	}
}

// turnings lists those of all zones, but only one of zones that are equal, or, unless
// all are asked for, only one of those that turn the clock by as much at the same time
// of the day.
func turnings(t *testing.T, everyOne bool) []turning {
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
		of := turningsOf(zone)
		if everyOne {
			var key strings.Builder
			for _, turned := range of {
				fmt.Fprintln(&key, turned.at.Unix(), turned.before, turned.after)
			}
			if !seen[key.String()] {
				all = append(all, of...)
			}
			seen[key.String()] = true
			continue
		}
		for _, turned := range of {
			key := fmt.Sprint(turned.before, turned.after, turned.at.Format("15:04"))
			if !seen[key] {
				all = append(all, turned)
			}
			seen[key] = true
		}
	}
	require.Greater(t, len(all), 30)
	return all
}

// Around every turning of a clock, each time is due once, as counted minute by
// minute. XENBACKUP_ZONES=all looks at those of all zones, three days around each.
func TestEveryTurningOfAClockIsCountedByTheMinute(t *testing.T) {
	everyOne, around := os.Getenv("XENBACKUP_ZONES") == "all", 36*time.Hour
	if everyOne {
		around = 72 * time.Hour
	}
	all := turnings(t, everyOne)
	times := 0
	for _, turned := range all {
		from, to := turned.at.Add(-around), turned.at.Add(around)
		for _, text := range []string{"30 2 * * *", "0 0 * * *", "*/20 0-4 * * *", "59 1,23 * * *", "15 * * * *", "0 */3 * * *", "10 2 * * 0", "30 1 8-31/3 * 6"} {
			c, err := schedule.Parse(text, schedule.XO, turned.zone)
			require.NoError(t, err)
			var got []time.Time
			for at := c.Next(from); !at.After(to); at = c.Next(at) {
				got = append(got, at)
			}
			want := byTheMinute(text, turned, from, to)
			require.True(t, slices.EqualFunc(want, got, time.Time.Equal), "%s in %s around %s:\n%v\n%v", text, turned.zone, turned.at, want, got)
			times += len(got)
		}
	}
	t.Logf("%d turnings, %d times", len(all), times)
}

// byTheMinute looks at the clock each minute after from.
func byTheMinute(text string, turned turning, from, to time.Time) []time.Time {
	due := wallClock(text)
	hourly := strings.HasPrefix(strings.Fields(text)[1], "*")
	var times []time.Time
	last := from.Unix() + int64(turned.before)
	latest := last // that the clock has shown so far
	for at := from.Unix() + 60; at <= to.Unix(); at += 60 {
		wall := at + int64(turned.before)
		if at >= turned.at.Unix() {
			wall = at + int64(turned.after)
		}
		is := due(wall) && (hourly || wall > latest)
		for w := last + 60; !hourly && w < wall; w += 60 { // what the clock jumps over
			is = is || due(w)
		}
		last, latest = wall, max(latest, wall)
		if is {
			times = append(times, time.Unix(at, 0))
		}
	}
	return times
}

// wallClock tells of an expression whether what a clock shows, in seconds as if it
// were UTC, is due. It knows nothing of names, and only what the tests above need.
func wallClock(text string) func(int64) bool {
	var fields [5][60]bool
	words := strings.Fields(text)
	for i, word := range words {
		for item := range strings.SplitSeq(word, ",") {
			span, step, _ := strings.Cut(item, "/")
			low, high := 0, 59
			if span != "*" {
				from, to, isRange := strings.Cut(span, "-")
				low, _ = strconv.Atoi(from)
				if high = low; isRange {
					high, _ = strconv.Atoi(to)
				}
			}
			by, _ := strconv.Atoi(step)
			for v := low; v <= high; v += max(by, 1) {
				fields[i][v] = true
			}
		}
	}
	return func(wall int64) bool {
		w := time.Unix(wall, 0).UTC()
		if !fields[0][w.Minute()] || !fields[1][w.Hour()] || !fields[3][w.Month()-1] {
			return false
		}
		day, weekday := fields[2][w.Day()], fields[4][w.Weekday()]
		if words[2] != "*" && words[4] != "*" {
			return day || weekday
		}
		return day && weekday
	}
}
