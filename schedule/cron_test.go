package schedule_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/schedule"
)

func parse(tb testing.TB, text string, d schedule.Dialect, zone string) *schedule.Cron {
	tb.Helper()
	c, err := schedule.Parse(text, d, location(tb, zone))
	require.NoError(tb, err)
	return c
}

func location(tb testing.TB, zone string) *time.Location {
	tb.Helper()
	l, err := time.LoadLocation(zone)
	require.NoError(tb, err)
	return l
}

func TestNextTimes(t *testing.T) {
	const layout = "2006-01-02T15:04Z07:00"
	for _, row := range []struct{ text, zone, from, want string }{
		{"0 3 * * *", "UTC", "2026-11-22T03:00Z", "2026-11-23T03:00Z 2026-11-24T03:00Z"},
		{"0 0 1 1 *", "UTC", "2026-11-22T00:00Z", "2027-02-01T00:00Z 2028-02-01T00:00Z"},
		{"0 0 1 jan *", "UTC", "2026-11-22T00:00Z", "2027-01-01T00:00Z"},
		{"0 0 29 1 *", "UTC", "2096-03-01T00:00Z", "2104-02-29T00:00Z"},
		{"0 0 31 * *", "UTC", "2026-11-22T00:00Z", "2026-12-31T00:00Z 2027-01-31T00:00Z 2027-03-31T00:00Z"},
		{"0 0 13 * 5", "UTC", "2026-11-08T00:00Z", "2026-11-13T00:00Z 2026-11-20T00:00Z 2026-11-27T00:00Z 2026-12-04T00:00Z 2026-12-11T00:00Z 2026-12-13T00:00Z"},
		{"0 0 */10 * 5", "UTC", "2026-11-22T00:00Z", "2026-11-27T00:00Z 2026-12-01T00:00Z 2026-12-04T00:00Z"},
		{"0 0 * * 7", "UTC", "2026-11-22T00:00Z", "2026-11-29T00:00Z"},
		{"0 0 * * wen", "UTC", "2026-11-22T00:00Z", "2026-11-25T00:00Z"},
		{"0 0 * * WED", "UTC", "2026-11-22T00:00Z", "2026-11-25T00:00Z"},
		{"*/61 * * * *", "UTC", "2026-11-22T00:00Z", "2026-11-22T01:00Z"},
		{"@weekly", "UTC", "2026-11-22T00:00Z", "2026-11-29T00:00Z"},
		{"@yearly", "UTC", "2026-11-22T00:00Z", "2027-01-01T00:00Z"},
		// the clock is turned forward
		{"30 2 * * *", "Europe/Paris", "2027-03-27T02:30+01:00", "2027-03-28T03:00+02:00 2027-03-29T02:30+02:00"},
		{"0,30 2,3 * * *", "Europe/Paris", "2027-03-27T12:00+01:00", "2027-03-28T03:00+02:00 2027-03-28T03:30+02:00 2027-03-29T02:00+02:00"},
		{"30 2 * * *", "America/New_York", "2027-03-13T12:00-05:00", "2027-03-14T03:00-04:00 2027-03-15T02:30-04:00"},
		{"0 0 * * *", "Africa/Cairo", "2027-04-29T12:00+02:00", "2027-04-30T01:00+03:00 2027-05-01T00:00+03:00"},
		{"30 * * * *", "Europe/Paris", "2027-03-28T01:00+01:00", "2027-03-28T01:30+01:00 2027-03-28T03:30+02:00"},
		{"0 12 30 11 *", "Pacific/Apia", "2011-12-29T13:00-10:00", "2011-12-31T00:00+14:00 2012-12-30T12:00+14:00"}, // a day that was left out
		// the clock is turned back
		{"30 2 * * *", "Europe/Paris", "2026-10-24T12:00+02:00", "2026-10-25T02:30+02:00 2026-10-26T02:30+01:00"},
		{"30 1 * * *", "America/New_York", "2026-10-31T12:00-04:00", "2026-11-01T01:30-04:00 2026-11-02T01:30-05:00"},
		{"0 * * * *", "Europe/Paris", "2026-10-25T01:30+02:00", "2026-10-25T02:00+02:00 2026-10-25T02:00+01:00 2026-10-25T03:00+01:00"},
		{"0 */2 * * *", "Europe/Paris", "2026-10-25T01:30+02:00", "2026-10-25T02:00+02:00 2026-10-25T02:00+01:00 2026-10-25T04:00+01:00"},
	} {
		c := parse(t, row.text, schedule.XO, row.zone)
		from, err := time.Parse(layout, row.from)
		require.NoError(t, err)
		want := strings.Fields(row.want)
		var got []string
		var times []time.Time
		for _, at := range c.Preview(from, len(want)) {
			got, times = append(got, at.Format(layout)), append(times, at)
		}
		require.Empty(t, cmp.Diff(want, got), "%s in %s", row.text, row.zone)
		for i := len(times) - 1; i > 0; i-- { // and the same back
			require.True(t, times[i-1].Equal(c.Prev(times[i])), "%s in %s: before %s", row.text, row.zone, times[i])
		}
	}
}

func TestStandardDialectCountsMonthsFromOne(t *testing.T) {
	c := parse(t, "0 0 1 1 *", schedule.Standard, "UTC")
	require.Equal(t, time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), c.Next(time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)))
	_, err := schedule.Parse("0 0 * * wen", schedule.Standard, nil)
	require.Error(t, err)
}

func TestErrorsPointAtTheField(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "five fields",
		"* * * *":                      "five fields",
		"* * * * * *":                  "five fields",
		"@every 5m":                    "five fields",
		"@midnight":                    "five fields",
		"60 * * * *":                   "minute (at character 1): 60 is not between 0 and 59",
		"0 0 1 12 *":                   "month (at character 7): 12 is not between 0 and 11",
		"0 0 0 1 *":                    "day of month (at character 5): 0 is not between",
		"0 0 * * mon,xyz":              `day of week (at character 13): "xyz" is neither a number`,
		"0 5/15 * * *":                 "a step needs a range",
		"*/0 * * * *":                  "is not a step",
		"*/x * * * *":                  "is not a step",
		"0 5-1 * * *":                  "the range is empty",
		"0 1- * * *":                   "a value is missing",
		"0 +1 * * *":                   `"+1" is not a number`,
		"0 , * * *":                    "a value is missing",
		"0 0 L * *":                    `"L" is not a number`,
		"0 99999999999999999999 * * *": "is not a number",
		strings.Repeat(" ", 2000):      "longer than",
	} {
		_, err := schedule.Parse(text, schedule.XO, nil)
		var parseError *schedule.ParseError
		require.ErrorAs(t, err, &parseError, text)
		require.ErrorContains(t, err, want)
	}
	for _, text := range []string{"0 0 31 1 *", "0 0 30 1 *", "0 0 31 jun *"} {
		_, err := schedule.Parse(text, schedule.XO, nil)
		require.ErrorIs(t, err, schedule.ErrNever, text)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("0 0 1 jan-mar */2", true, int64(1_800_000_000))
	f.Fuzz(func(t *testing.T, text string, xo bool, at int64) {
		dialect := schedule.Standard
		if xo {
			dialect = schedule.XO
		}
		c, err := schedule.Parse(text, dialect, nil)
		if err != nil {
			return
		}
		from := time.Unix(at%4e9, 0)
		next := c.Next(from)
		if next.IsZero() {
			return
		}
		require.True(t, next.After(from))
		require.False(t, c.Prev(next).After(from), "nothing is due in between")
	})
}

func BenchmarkNext(b *testing.B) {
	c := parse(b, "15 4 * * mon-fri", schedule.XO, "Europe/Paris")
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for b.Loop() {
		at = c.Next(at)
	}
}
