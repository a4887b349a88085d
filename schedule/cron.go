package schedule

import (
	"errors"
	"fmt"
	"time"
)

// horizon is how far ahead and back something may be due: long enough for a
// February 29 that is skipped in 2100.
const horizon = 12

// ErrNever is returned for an expression that no date within twelve years fits,
// such as February 30.
var ErrNever = errors.New("schedule: no date fits the expression")

// Dialect is how an expression is read.
type Dialect int

const (
	// XO is what Xen Orchestra stores: months count from 0.
	XO Dialect = iota
	// Standard is what cron has meant since long: months count from 1.
	Standard
)

// Cron is a cron expression in a time zone. It is immutable.
type Cron struct {
	text    string
	zone    *time.Location
	minutes set
	hours   set
	days    set // of the month
	months  set // 1 to 12
	weekday set // 0 to 6
	// anyDay and anyWeekday: the field is "*".
	anyDay, anyWeekday bool
	// hourly: the hour is "*" or "*/n".
	hourly bool
}

// set has a bit for each value.
type set uint64

func (s set) has(v int) bool { return s>>v&1 == 1 }

// String is the expression as it was parsed.
func (c *Cron) String() string { return c.text }

// Zone is the time zone whose clock is meant.
func (c *Cron) Zone() *time.Location { return c.zone }

// Next is the first time after t at which it is due, in the zone of the expression;
// the zero time when there is none within twelve years.
func (c *Cron) Next(t time.Time) time.Time {
	day := dateOf(t.In(c.zone)).add(-1) // a gap at midnight belongs to the day before
	for range horizon*366 + 2 {
		if c.onDay(day) {
			if at := c.firstAfter(day, t); !at.IsZero() {
				return at
			}
		}
		day = day.add(1)
	}
	return time.Time{}
}

// Prev is the last time before t at which it was due; the zero time when there was
// none within twelve years.
func (c *Cron) Prev(t time.Time) time.Time {
	day := dateOf(t.In(c.zone)).add(1)
	for range horizon*366 + 2 {
		if c.onDay(day) {
			if at := c.lastBefore(day, t); !at.IsZero() {
				return at
			}
		}
		day = day.add(-1)
	}
	return time.Time{}
}

// Preview lists the next n times after t; fewer when there are not so many within
// twelve years of each other.
func (c *Cron) Preview(t time.Time, n int) []time.Time {
	var times []time.Time
	for range n {
		t = c.Next(t)
		if t.IsZero() {
			break
		}
		times = append(times, t)
	}
	return times
}

func (c *Cron) onDay(d date) bool {
	if !c.months.has(int(d.month)) {
		return false
	}
	day, weekday := c.days.has(d.day), c.weekday.has(int(d.weekday()))
	if c.anyDay || c.anyWeekday {
		return day && weekday
	}
	return day || weekday
}

// firstAfter is the first time due on the day that is after t.
func (c *Cron) firstAfter(d date, t time.Time) time.Time {
	plain := d.isPlain(c.zone)
	var first time.Time
	for hour := range 24 {
		if !c.hours.has(hour) {
			continue
		}
		for minute := range 60 {
			if !c.minutes.has(minute) {
				continue
			}
			for _, at := range c.instants(d, hour, minute, plain) {
				if at.After(t) && (first.IsZero() || at.Before(first)) {
					first = at
				}
			}
			if plain && !first.IsZero() {
				return first // on such a day they come in order
			}
		}
	}
	return first
}

// lastBefore is the last time due on the day that is before t.
func (c *Cron) lastBefore(d date, t time.Time) time.Time {
	plain := d.isPlain(c.zone)
	var last time.Time
	for hour := 23; hour >= 0; hour-- {
		if !c.hours.has(hour) {
			continue
		}
		for minute := 59; minute >= 0; minute-- {
			if !c.minutes.has(minute) {
				continue
			}
			for _, at := range c.instants(d, hour, minute, plain) {
				if at.Before(t) && at.After(last) {
					last = at
				}
			}
			if plain && !last.IsZero() {
				return last
			}
		}
	}
	return last
}

// instants are the times at which the clock's showing this hour and minute is due.
func (c *Cron) instants(d date, hour, minute int, plain bool) []time.Time {
	if plain {
		return []time.Time{time.Date(d.year, d.month, d.day, hour, minute, 0, 0, c.zone)}
	}
	wall := time.Date(d.year, d.month, d.day, hour, minute, 0, 0, time.UTC)
	found, before := wallClock(wall, c.zone)
	switch {
	case c.hourly, len(found) == 1:
		return found
	case len(found) > 1:
		return found[:1]
	}
	// The clock never shows it: the gap ends where the zone changes.
	start, _ := wall.Add(-before).In(c.zone).ZoneBounds()
	return []time.Time{start}
}

// wallClock finds the instants, in order, at which the clock of the zone shows what
// wall shows in UTC; and what the zone was ahead of UTC shortly before.
func wallClock(wall time.Time, zone *time.Location) (found []time.Time, before time.Duration) {
	ahead := func(t time.Time) time.Duration {
		_, seconds := t.In(zone).Zone()
		return time.Duration(seconds) * time.Second
	}
	// No zone is farther from UTC than 14 hours.
	before = ahead(wall.Add(-15 * time.Hour))
	after := ahead(wall.Add(15 * time.Hour))
	for _, offset := range []time.Duration{max(before, after), min(before, after)} { // the earlier instant first
		at := wall.Add(-offset).In(zone)
		if ahead(at) == offset && (len(found) == 0 || !found[0].Equal(at)) {
			found = append(found, at)
		}
	}
	return found, before
}

// check refuses an expression that is never due.
func (c *Cron) check() error {
	if c.Next(time.Date(2096, 3, 1, 0, 0, 0, 0, time.UTC)).IsZero() && c.Next(time.Unix(0, 0)).IsZero() {
		return fmt.Errorf("%w: %q", ErrNever, c.text)
	}
	return nil
}
