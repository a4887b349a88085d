package xapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// never is how the pool says that something has not happened.
const never Time = "19700101T00:00:00Z"

// A Time is a date as the pool wrote it, kept as text so that a record goes back exactly as it came. The zero Time marshals as the
// epoch, which the pool reads as "never".
type Time string

// NewTime is t in the form every version of the pool reads: UTC, whole seconds, 20060102T15:04:05Z.
func NewTime(t time.Time) Time { return Time(t.UTC().Format("20060102T15:04:05Z")) }

// IsZero reports whether t is empty or the pool's "never", the epoch.
func (t Time) IsZero() bool { return t == "" || t == never }

// Layouts after normalisation: dates without dashes, times without colons, zones without a colon. Fractions are accepted by
// time.Parse after any seconds field.
var timeLayouts = [...]string{"20060102T150405", "20060102T150405Z0700", "20060102T150405Z07"}

// Time parses t. Servers differ: dashes in the date and colons in the time are optional, a space may stand for the T, a fraction
// is allowed, and the zone is Z, +HH, +HHMM, +HH:MM or missing, which means UTC. Seconds since the epoch are accepted too.
func (t Time) Time() (time.Time, error) {
	text := strings.TrimSpace(string(t))
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil && len(text) != len("20060102") {
		return time.Unix(seconds, 0).UTC(), nil
	}
	for _, layout := range timeLayouts {
		if parsed, err := time.Parse(layout, compact(text)); err == nil {
			return parsed, nil
		}
	}
	return time.Time{}, fmt.Errorf("xapi: not a date: %.40q", text)
}

// compact removes the optional punctuation of a date, but keeps a zone's sign.
func compact(text string) string {
	date, clock, ok := strings.Cut(strings.Replace(text, " ", "T", 1), "T")
	if !ok {
		return text
	}
	return strings.ReplaceAll(date, "-", "") + "T" + strings.ReplaceAll(clock, ":", "")
}

// MarshalJSON writes the text as it came.
func (t Time) MarshalJSON() ([]byte, error) {
	if t == "" {
		t = never
	}
	return json.Marshal(string(t))
}

// UnmarshalJSON accepts a string, or a number of seconds.
func (t *Time) UnmarshalJSON(data []byte) error {
	if data = bytes.TrimSpace(data); len(data) > 0 && data[0] != '"' {
		var number json.Number
		err := json.Unmarshal(data, &number)
		*t = Time(number)
		return err
	}
	return json.Unmarshal(data, (*string)(t))
}
