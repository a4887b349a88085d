package catalog

import (
	"fmt"
	"slices"
	"time"
)

// Period is how many days, weeks, months or years a [LongTerm] covers.
type Period struct {
	Keep   int // how many that have a point at all; 0 is none
	Offset int // how much later each begins: hours for days, days for the others
}

// LongTerm keeps, besides the newest points, one of each day, week, month or year:
// the oldest in it. Days without a point do not count, so that Keep of them may
// reach back further. A point is deleted when nothing keeps it. It counts as Xen
// Orchestra's long-term retention does.
type LongTerm struct {
	Daily, Weekly, Monthly, Yearly Period

	// Zone is where days begin at midnight; it must be set.
	Zone *time.Location
	// ISOWeeks: weeks begin on Monday and are numbered by ISO 8601. Otherwise they
	// begin on Sunday, and the first of a year is that of January 1, as in Xen
	// Orchestra.
	ISOWeeks bool
}

// span is one period with the name and the key of its buckets.
type span struct {
	Period

	name string
	key  func(local time.Time) string
}

func (l *LongTerm) spans() []span {
	days := func(local time.Time, n int) time.Time { return local.AddDate(0, 0, -n) }
	return []span{
		{l.Daily, "daily", func(t time.Time) string {
			return t.Add(-time.Duration(l.Daily.Offset) * time.Hour).Format("2006-01-02")
		}},
		{l.Weekly, "weekly", func(t time.Time) string { return l.week(days(t, l.Weekly.Offset)) }},
		{l.Monthly, "monthly", func(t time.Time) string { return days(t, l.Monthly.Offset).Format("2006-01") }},
		{l.Yearly, "yearly", func(t time.Time) string { return days(t, l.Yearly.Offset).Format("2006") }},
	}
}

// week names the week of a day by its year and number.
func (l *LongTerm) week(t time.Time) string {
	if l.ISOWeeks {
		year, week := t.ISOWeek()
		return fmt.Sprintf("%04d-%02d", year, week)
	}
	saturday := t.AddDate(0, 0, int(time.Saturday-t.Weekday()))
	return fmt.Sprintf("%04d-%02d", saturday.Year(), (saturday.YearDay()-1)/7+1)
}

// wallClock is the time on the clock of the zone, in UTC: with it one can count
// hours and days as on a calendar, without changes of daylight saving time.
func (l *LongTerm) wallClock(p *Point) time.Time {
	t := time.UnixMilli(p.Metadata.Timestamp).In(l.Zone)
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// buckets tells for each point, given newest first, of which periods it is the
// one that is kept, such as "daily=2026-01-10".
func (l *LongTerm) buckets(newestFirst []*Point) map[*Point][]string {
	kept := map[*Point][]string{}
	for _, s := range l.spans() {
		var last string
		var holder *Point // the oldest so far of the period last
		taken := 0
		for _, p := range newestFirst {
			key := s.key(l.wallClock(p))
			if taken == 0 || key != last {
				if taken == s.Keep {
					continue
				}
				if holder != nil {
					kept[holder] = append(kept[holder], s.name+"="+last)
				}
				last, taken = key, taken+1
			}
			holder = p
		}
		if holder != nil {
			kept[holder] = append(kept[holder], s.name+"="+last)
		}
	}
	return kept
}

// Tags tells which periods the new point p fills among the older points of its
// schedule, in the form that [Metadata.Tags] has: "daily=2026-01-10",
// "weekly=2026-02", "monthly=2026-01", "yearly=2026". Their order does not matter.
func (l *LongTerm) Tags(older []*Point, p *Point) []string {
	tags := l.buckets(newestFirst(append(slices.Clip(older), p)))[p]
	if tags == nil {
		return []string{}
	}
	return tags
}

// check refuses what cannot be counted.
func (l *LongTerm) check() error {
	if l.Zone == nil {
		return fmt.Errorf("catalog: long-term retention: %w: no time zone", ErrRetention)
	}
	for _, s := range l.spans() {
		if s.Keep < 0 {
			return fmt.Errorf("catalog: long-term retention: %w: %s %d", ErrRetention, s.name, s.Keep)
		}
	}
	return nil
}
