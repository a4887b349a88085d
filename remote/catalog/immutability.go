package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

const immutabilityName = "immutability.json"

// Immutability says that something guards the repository: files of a backup cannot be
// changed, renamed or removed for a time. Xen Orchestra's daemon on a file server says
// so in /immutability.json, which is never encrypted.
type Immutability struct {
	Since    time.Time     // when guarding began
	Duration time.Duration // how long a backup is guarded, from the date in its name on
}

// Immutability returns how the repository is guarded, or nil when it is not. A file that
// is damaged, or not as the daemon writes it, gives [ErrImmutability]: merges wait then,
// and [Catalog.Verify] names it.
func (c *Catalog) Immutability(ctx context.Context) (*Immutability, error) {
	text, err := remote.ReadFile(ctx, c.fsys, immutabilityName, maxJSON)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // nothing guards it
	}
	if err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	guard, err := parseImmutability(text)
	if err != nil {
		return nil, fmt.Errorf("catalog: %s: %w: %w", immutabilityName, ErrImmutability, err)
	}
	return guard, nil
}

// parseImmutability wants all that Xen Orchestra's daemon writes: with less nobody can
// know what is guarded.
func parseImmutability(text []byte) (*Immutability, error) {
	var stored struct {
		Since     json.RawMessage `json:"since"`
		Duration  json.RawMessage `json:"duration"`
		Immutable *looseBool      `json:"immutable"`
	}
	if err := json.Unmarshal(text, &stored); err != nil {
		return nil, err
	}
	if stored.Immutable == nil {
		return nil, errors.New("immutable is missing")
	}
	if !*stored.Immutable {
		return nil, nil //nolint:nilnil // nothing guards it any more
	}
	since, duration := int64(-1), int64(-1)
	for name, number := range map[string]struct {
		text json.RawMessage
		to   *int64
	}{"since": {stored.Since, &since}, "duration": {stored.Duration, &duration}} {
		if number.text == nil {
			return nil, fmt.Errorf("%s is missing", name)
		}
		if err := decodeInt(number.text, number.to); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if *number.to < 0 {
			return nil, fmt.Errorf("%s is no time in milliseconds", name)
		}
	}
	const longest = int64(1<<63-1) / int64(time.Millisecond)
	return &Immutability{time.UnixMilli(since).UTC(), time.Duration(min(duration, longest)) * time.Millisecond}, nil
}

// Until returns when the files of the point become free: the duration is counted from
// the date in its name. The zero time says that they are not guarded, for the name has
// no date.
func (i *Immutability) Until(p *Point) time.Time {
	date, ok := leadingDate(path.Base(p.ID))
	if !ok {
		return time.Time{}
	}
	return date.Add(i.Duration)
}

// Guards tells whether the files of the point cannot be changed at the moment now. Xen
// Orchestra's daemon looks from time to time only: a little later they may still be guarded,
// and a little after a backup, not yet.
func (i *Immutability) Guards(p *Point, now time.Time) bool { return now.Before(i.Until(p)) }
