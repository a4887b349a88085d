package catalog_test

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote/catalog"
)

//go:embed testdata/buckets.mjs
var bucketsScript []byte

func pointOn(tb testing.TB, when string) *catalog.Point {
	tb.Helper()
	at, err := time.Parse(time.RFC3339, when)
	require.NoError(tb, err)
	return pointAt(at.UnixMilli(), "a", "delta")
}

func keptBy(points []*catalog.Point, r catalog.Retention) []string {
	var kept []string
	for _, f := range catalog.Plan(points, r) {
		if f.Keep {
			kept = append(kept, time.UnixMilli(f.Point.Metadata.Timestamp).UTC().Format("0102T15"))
		}
	}
	return kept
}

func TestLongTermKeepsTheOldestOfEachPeriod(t *testing.T) {
	var points []*catalog.Point
	for _, when := range []string{
		"2026-01-01T03:00:00Z", "2026-01-01T15:00:00Z", "2026-01-02T03:00:00Z", // no third of January
		"2026-01-04T03:00:00Z", "2026-01-04T15:00:00Z", "2026-01-05T03:00:00Z", "2026-01-05T15:00:00Z",
	} {
		points = append(points, pointOn(t, when))
	}
	r := catalog.Retention{ScheduleID: "a", Keep: 1, LongTerm: &catalog.LongTerm{Zone: time.UTC}}
	require.Empty(t, cmp.Diff([]string{"0105T15"}, keptBy(points, r)), "the point of the run")

	r.LongTerm.Daily.Keep = 3
	require.Empty(t, cmp.Diff([]string{"0102T03", "0104T03", "0105T03", "0105T15"}, keptBy(points, r)), "empty days do not count")
	r.LongTerm.Monthly.Keep = 5
	require.Empty(t, cmp.Diff([]string{"0101T03", "0102T03", "0104T03", "0105T03", "0105T15"}, keptBy(points, r)))
	r.LongTerm.Monthly.Keep = 0
	r.Before = true
	require.Empty(t, cmp.Diff([]string{"0102T03", "0104T03", "0105T03"}, keptBy(points, r)), "before a run, its point is to come")
	r.Keep = 3
	require.Empty(t, cmp.Diff([]string{"0102T03", "0104T03", "0105T03", "0105T15"}, keptBy(points, r)))
	r.LongTerm.Daily.Offset = 4 // the point of three o'clock belongs to the day before
	require.Empty(t, cmp.Diff([]string{"0104T03", "0104T15", "0105T03", "0105T15"}, keptBy(points, r)))
}

func TestAtMostSparesTheYoungerOnes(t *testing.T) {
	points := []*catalog.Point{pointAt(1, "a", "delta"), pointAt(2, "a", "delta"), pointAt(3, "a", "delta"), pointAt(4, "a", "delta")}
	var kept []bool
	for _, f := range catalog.Plan(points, catalog.Retention{ScheduleID: "a", Keep: 1, AtMost: 2}) {
		kept = append(kept, f.Keep)
	}
	require.Equal(t, []bool{false, false, true, true}, kept)
}

func TestRetentionThatCannotBeCountedKeepsAll(t *testing.T) {
	_, fsys := newRepository(t, 2)
	s := lockVM(t, openCatalog(t, fsys), testVM)
	for _, r := range []catalog.Retention{
		{ScheduleID: testSchedule},
		{ScheduleID: testSchedule, Keep: 1, AtMost: -1},
		{ScheduleID: testSchedule, Keep: 1, LongTerm: &catalog.LongTerm{Daily: catalog.Period{Keep: 1}}},
		{ScheduleID: testSchedule, Keep: 1, LongTerm: &catalog.LongTerm{Zone: time.UTC, Daily: catalog.Period{Keep: -1}}},
	} {
		_, err := s.Expire(t.Context(), r)
		require.ErrorIs(t, err, catalog.ErrRetention)
		for _, f := range catalog.Plan(listPoints(t, openCatalog(t, fsys), testVM), r) {
			require.True(t, f.Keep)
			require.NotEmpty(t, f.Reason)
		}
	}
	require.Len(t, listPoints(t, openCatalog(t, fsys), testVM), 2)
}

func TestTagsNameThePeriodsThatTheNewPointFills(t *testing.T) {
	l := &catalog.LongTerm{
		Zone: time.UTC, Daily: catalog.Period{Keep: 2}, Weekly: catalog.Period{Keep: 2},
		Monthly: catalog.Period{Keep: 2}, Yearly: catalog.Period{Keep: 2},
	}
	first := pointOn(t, "2026-01-10T03:00:00Z")
	require.Equal(t, []string{"daily=2026-01-10", "weekly=2026-02", "monthly=2026-01", "yearly=2026"}, l.Tags(nil, first))
	require.Equal(t, []string{"daily=2026-01-11", "weekly=2026-03"}, l.Tags([]*catalog.Point{first}, pointOn(t, "2026-01-11T03:00:00Z")))
	require.Equal(t, []string{}, l.Tags([]*catalog.Point{first}, pointOn(t, "2026-01-10T04:00:00Z")))
	l.ISOWeeks = true
	require.Contains(t, l.Tags(nil, pointOn(t, "2027-01-01T03:00:00Z")), "weekly=2026-53")
}

// The periods are those of moment-timezone, which Xen Orchestra counts with, at any
// time, in any zone, with any offset.
func TestPeriodsAreThoseOfMoment(t *testing.T) {
	type question struct {
		Time   int64  `json:"time"`
		Zone   string `json:"zone"`
		Offset int    `json:"offset"`
	}
	random := rand.New(rand.NewPCG(5, 6))
	zones := []string{"UTC", "Europe/Paris", "America/New_York", "Asia/Kathmandu", "Pacific/Auckland", "America/St_Johns"}
	var questions []question
	from := time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	for range 5000 {
		at := from + random.Int64N(25*365*24)*int64(time.Hour/time.Millisecond) + random.Int64N(3_600_000)
		questions = append(questions, question{at, zones[random.IntN(len(zones))], random.IntN(24)})
	}
	for year := 2015; year < 2040; year++ { // ends of years, where weeks are strange
		for day := range 14 {
			at := time.Date(year, 12, 25+day, 12, 0, 0, 0, time.UTC).UnixMilli()
			questions = append(questions, question{at, "UTC", 0})
		}
	}
	input, err := json.Marshal(questions)
	require.NoError(t, err)
	script := fmt.Sprintf("const questions = %s\n%s", input, bucketsScript)
	out, err := testenv.Node(t, []byte(script))
	require.NoError(t, err, out)
	answers := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, answers, len(questions))
	one := func(offset int) catalog.Period { return catalog.Period{Keep: 1, Offset: offset} }
	for i, q := range questions {
		zone, err := time.LoadLocation(q.Zone)
		require.NoError(t, err)
		l := &catalog.LongTerm{Zone: zone, Daily: one(q.Offset), Weekly: one(q.Offset), Monthly: one(q.Offset), Yearly: one(q.Offset)}
		got := l.Tags(nil, pointAt(q.Time, "a", "delta"))
		require.Equal(t, answers[i], strings.Join(got, " "), "%+v", q)
	}
}
