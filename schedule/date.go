package schedule

import "time"

// date is a day of the calendar.
type date struct {
	year  int
	month time.Month
	day   int
}

func dateOf(t time.Time) date {
	y, m, d := t.Date()
	return date{y, m, d}
}

func (d date) noon() time.Time { return time.Date(d.year, d.month, d.day, 12, 0, 0, 0, time.UTC) }

func (d date) add(days int) date { return dateOf(d.noon().AddDate(0, 0, days)) }

func (d date) weekday() time.Weekday { return d.noon().Weekday() }

// isPlain reports whether the clock of the zone is not turned on the day, nor near
// its ends.
func (d date) isPlain(zone *time.Location) bool {
	noon := d.noon().In(zone)
	start, end := noon.ZoneBounds()
	const reach = 40 * time.Hour
	return (start.IsZero() || start.Before(noon.Add(-reach))) && (end.IsZero() || end.After(noon.Add(reach)))
}
