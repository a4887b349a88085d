package schedule_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/schedule"
)

// Cases in which schedulers differ: Xen Orchestra's own, and five libraries for Go.
func TestWhereSchedulersDiffer(t *testing.T) {
	const layout = "2006-01-02T15:04Z07:00"
	for _, row := range []struct {
		name, text string
		dialect    schedule.Dialect
		zone, from string
		want       string // the next times; "" is refused
	}{
		{"02:30 in a gap in Paris", "30 2 * * *", schedule.XO, "Europe/Paris", "2027-03-28T00:00+01:00", "2027-03-28T03:00+02:00 2027-03-29T02:30+02:00"},
		{"02:30 in a gap in New York", "30 2 * * *", schedule.XO, "America/New_York", "2027-03-14T00:00-05:00", "2027-03-14T03:00-04:00 2027-03-15T02:30-04:00"},
		{"02:30 twice in Paris", "30 2 * * *", schedule.XO, "Europe/Paris", "2026-10-25T00:00+02:00", "2026-10-25T02:30+02:00 2026-10-26T02:30+01:00"},
		{"01:30 twice in New York", "30 1 * * *", schedule.XO, "America/New_York", "2026-11-01T00:00-04:00", "2026-11-01T01:30-04:00 2026-11-02T01:30-05:00"},
		{"each hour of a day of 25", "0 * * * *", schedule.XO, "Europe/Paris", "2026-10-25T00:30+02:00", "2026-10-25T01:00+02:00 2026-10-25T02:00+02:00 2026-10-25T02:00+01:00 2026-10-25T03:00+01:00"},
		{"midnight in a gap in Cairo", "0 0 * * *", schedule.XO, "Africa/Cairo", "2027-04-29T12:00+02:00", "2027-04-30T01:00+03:00 2027-05-01T00:00+03:00"},
		{"February 29", "0 0 29 2 *", schedule.Standard, "UTC", "2026-11-22T00:00Z", "2028-02-29T00:00Z 2032-02-29T00:00Z"},
		{"month 2 is March", "0 0 29 2 *", schedule.XO, "UTC", "2026-11-22T00:00Z", "2027-03-29T00:00Z"},
		{"February 29 after eight years", "0 0 29 2 *", schedule.Standard, "UTC", "2096-03-01T00:00Z", "2104-02-29T00:00Z"},
		{"the 31st", "0 0 31 * *", schedule.XO, "UTC", "2026-11-22T00:00Z", "2026-12-31T00:00Z 2027-01-31T00:00Z 2027-03-31T00:00Z"},
		{"the 13th and each Friday", "0 0 13 * 5", schedule.XO, "UTC", "2026-12-10T00:00Z", "2026-12-11T00:00Z 2026-12-13T00:00Z 2026-12-18T00:00Z"},
		{"each tenth day and each Friday", "0 0 */10 * 5", schedule.XO, "UTC", "2026-12-10T00:00Z", "2026-12-11T00:00Z 2026-12-18T00:00Z 2026-12-21T00:00Z"},
		{"weekday 7", "0 0 * * 7", schedule.XO, "UTC", "2026-11-22T00:00Z", "2026-11-29T00:00Z"},
		{"weekday 7, standard", "0 0 * * 7", schedule.Standard, "UTC", "2026-11-22T00:00Z", "2026-11-29T00:00Z"},
		{"month 0", "0 0 1 0 *", schedule.XO, "UTC", "2026-11-22T00:00Z", "2027-01-01T00:00Z"},
		{"month 0, standard", "0 0 1 0 *", schedule.Standard, "", "", ""},
		{"month 12", "0 0 1 12 *", schedule.XO, "", "", ""},
		{"jan", "0 0 1 jan *", schedule.XO, "UTC", "2026-11-22T00:00Z", "2027-01-01T00:00Z"},
		{"wen", "0 0 * * wen", schedule.XO, "UTC", "2026-11-22T00:00Z", "2026-11-25T00:00Z"},
		{"wen, standard", "0 0 * * wen", schedule.Standard, "", "", ""},
		{"L", "0 0 L * *", schedule.XO, "", "", ""},
		{"W", "0 0 15W * *", schedule.XO, "", "", ""},
		{"#", "0 0 * * 5#3", schedule.XO, "", "", ""},
		{"@every", "@every 1h", schedule.XO, "", "", ""},
		{"@daily", "@daily", schedule.XO, "UTC", "2026-11-22T00:00Z", "2026-11-23T00:00Z 2026-11-24T00:00Z"},
		{"seconds", "0 0 0 * * *", schedule.XO, "", "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.want == "" {
				_, err := schedule.Parse(row.text, row.dialect, nil)
				var wrong *schedule.ParseError
				require.ErrorAs(t, err, &wrong)
				return
			}
			from, err := time.Parse(layout, row.from)
			require.NoError(t, err)
			var got []string
			for _, at := range parse(t, row.text, row.dialect, row.zone).Preview(from, len(strings.Fields(row.want))) {
				got = append(got, at.Format(layout))
			}
			require.Equal(t, row.want, strings.Join(got, " "))
		})
	}
}
