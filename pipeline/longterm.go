package pipeline

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/xenbackup/xenbackup/remote/catalog"
)

// longTermPeriod is a period of XO's setting longTermRetention.
type longTermPeriod struct {
	Retention int            `json:"retention"`
	Settings  map[string]int `json:"settings"`
}

// longTermOffsets are the periods that XO has, with the setting that says how much
// later each begins.
func longTermOffsets() map[string]string {
	return map[string]string{
		"daily": "firstHourOfTheDay", "weekly": "firstDayOfWeek", "monthly": "firstDayOfMonth", "yearly": "firstDayOfYear",
	}
}

// longTermOf decodes longTermRetention; nil if it keeps nothing. Whatever is not
// understood is refused, for without it points would be deleted that it keeps.
func longTermOf(value json.RawMessage, timezone string) (*catalog.LongTerm, error) {
	wrong := func(format string, args ...any) error {
		return &SettingError{Key: "longTermRetention", Value: shortened(value), Reason: fmt.Sprintf(format, args...)}
	}
	var periods map[string]json.RawMessage
	if json.Unmarshal(value, &periods) != nil {
		return nil, wrong("not an object of periods")
	}
	l := &catalog.LongTerm{}
	places := map[string]*catalog.Period{"daily": &l.Daily, "weekly": &l.Weekly, "monthly": &l.Monthly, "yearly": &l.Yearly}
	total := 0
	for _, name := range slices.Sorted(maps.Keys(periods)) {
		place := places[name]
		if place == nil {
			return nil, wrong("no period %q: there are daily, weekly, monthly and yearly", name)
		}
		if isUnset(periods[name]) {
			continue
		}
		p, err := decodePeriod(periods[name], longTermOffsets()[name])
		if err != nil {
			return nil, wrong("%s: %s", name, err)
		}
		*place = p
		total += p.Keep
	}
	if total == 0 {
		return nil, nil
	}
	if timezone == "" {
		return nil, wrong("needs the setting timezone: days begin at different times elsewhere")
	}
	var err error
	if l.Zone, err = time.LoadLocation(timezone); err != nil || timezone == "Local" {
		return nil, &SettingError{Key: "timezone", Value: fmt.Sprintf("%q", timezone), Reason: "not the name of a time zone"}
	}
	return l, nil
}

func decodePeriod(text json.RawMessage, offset string) (catalog.Period, error) {
	var p longTermPeriod
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return catalog.Period{}, err
	}
	if p.Retention < 0 {
		return catalog.Period{}, fmt.Errorf("retention %d is negative", p.Retention)
	}
	for key := range p.Settings {
		if key != offset {
			return catalog.Period{}, fmt.Errorf("no setting %q: there is %s", key, offset)
		}
	}
	return catalog.Period{Keep: p.Retention, Offset: p.Settings[offset]}, nil
}
