package catalog

import (
	"slices"
	"strings"
	"time"
)

// Filter says which points are wanted. What is empty does not matter.
type Filter struct {
	VM         string // its directory alone is read then
	JobID      string
	ScheduleID string
	Mode       string    // ModeFull or ModeDelta
	Tag        string    // of long-term retention: "monthly=2026-01", or "monthly" for all of them
	From       time.Time // when the snapshot was taken at the earliest
	Until      time.Time // and before which it was
}

// Match tells whether p is wanted. A nil Filter wants all.
func (f *Filter) Match(p *Point) bool {
	if f == nil {
		return true
	}
	m := &p.Metadata
	for _, field := range [][2]string{{f.VM, p.VM()}, {f.JobID, m.JobID}, {f.ScheduleID, m.ScheduleID}, {f.Mode, m.Mode}} {
		if field[0] != "" && field[0] != field[1] {
			return false
		}
	}
	if !f.From.IsZero() && p.Time().Before(f.From) || !f.Until.IsZero() && !p.Time().Before(f.Until) {
		return false
	}
	return f.Tag == "" || slices.ContainsFunc(m.Tags, func(tag string) bool {
		kind, _, _ := strings.Cut(tag, "=")
		return f.Tag == tag || f.Tag == kind
	})
}
