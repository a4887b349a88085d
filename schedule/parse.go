package schedule

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxText bounds an expression, in bytes.
const maxText = 1024

// ParseError says which part of an expression is wrong, and why.
type ParseError struct {
	Text   string // the whole expression
	Field  string // "minute", "hour", "day of month", "month", "day of week"; "" is about the whole
	Offset int    // in bytes, of what is wrong
	Reason string
}

// Error names the field and the place.
func (e *ParseError) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("schedule: %q: %s", e.Text, e.Reason)
	}
	return fmt.Sprintf("schedule: %q: %s (at character %d): %s", e.Text, e.Field, e.Offset+1, e.Reason)
}

// field is what one of the five may hold.
type field struct {
	name    string
	low     int
	high    int
	names   []string // of the values from low on
	aliases map[string]int
	shift   int  // from what is written to what is meant
	sunday7 bool // 7 is 0
}

func fieldsOf(d Dialect) [5]field {
	month := field{name: "month", low: 1, high: 12, names: strings.Fields("jan feb mar apr may jun jul aug sep oct nov dec")}
	weekday := field{name: "day of week", low: 0, high: 6, names: strings.Fields("sun mon tue wed thu fri sat"), sunday7: true}
	if d == XO {
		month.low, month.high, month.shift = 0, 11, 1
		weekday.aliases = map[string]int{"wen": 3}
	}
	return [5]field{
		{name: "minute", low: 0, high: 59},
		{name: "hour", low: 0, high: 23},
		{name: "day of month", low: 1, high: 31},
		month,
		weekday,
	}
}

func preset(text string) (fields [5]string, ok bool) {
	switch text {
	case "@hourly":
		return [5]string{"0", "*", "*", "*", "*"}, true
	case "@daily":
		return [5]string{"0", "0", "*", "*", "*"}, true
	case "@weekly":
		return [5]string{"0", "0", "*", "*", "0"}, true
	case "@monthly":
		return [5]string{"0", "0", "1", "*", "*"}, true
	case "@yearly", "@annually":
		return [5]string{"0", "0", "1", "jan", "*"}, true
	}
	return fields, false
}

// Parse reads an expression that is about the clock of zone; nil is UTC. What is
// wrong with it a [*ParseError] says; one that is never due is [ErrNever].
func Parse(text string, d Dialect, zone *time.Location) (*Cron, error) {
	if zone == nil {
		zone = time.UTC
	}
	if len(text) > maxText {
		return nil, &ParseError{Text: text[:20] + "...", Reason: fmt.Sprintf("longer than %d bytes", maxText)}
	}
	words, offsets := split(text)
	if fields, ok := preset(strings.TrimSpace(text)); ok {
		words, offsets = fields[:], make([]int, 5)
	}
	if len(words) != 5 {
		return nil, &ParseError{Text: text, Reason: fmt.Sprintf("five fields are needed (minute, hour, day of month, month, day of week), it has %d", len(words))}
	}
	c := &Cron{text: text, zone: zone}
	kinds := fieldsOf(d)
	for i, into := range []*set{&c.minutes, &c.hours, &c.days, &c.months, &c.weekday} {
		p := &parser{text: text, field: &kinds[i], offset: offsets[i]}
		if err := p.parse(words[i], into); err != nil {
			return nil, err
		}
	}
	c.anyDay, c.anyWeekday = words[2] == "*", words[4] == "*"
	c.hourly = words[1] == "*" || strings.HasPrefix(words[1], "*/") && !strings.Contains(words[1], ",")
	if err := c.check(); err != nil {
		return nil, err
	}
	return c, nil
}

// split gives the words of text with their offsets.
func split(text string) (words []string, offsets []int) {
	for at := 0; at < len(text); {
		n := strings.IndexAny(text[at:], " \t")
		if n < 0 {
			n = len(text) - at
		}
		if n > 0 {
			words, offsets = append(words, text[at:at+n]), append(offsets, at)
		}
		at += n + 1
	}
	return words, offsets
}

// parser reads one field.
type parser struct {
	text   string
	field  *field
	offset int // of what is read next
}

func (p *parser) fail(reason string, args ...any) error {
	return &ParseError{Text: p.text, Field: p.field.name, Offset: p.offset, Reason: fmt.Sprintf(reason, args...)}
}

func (p *parser) parse(word string, into *set) error {
	for item := range strings.SplitSeq(word, ",") {
		if err := p.item(item, into); err != nil {
			return err
		}
		p.offset += len(item) + 1
	}
	return nil
}

// item reads "*", "5", "5-10", "*/2" or "5-10/2".
func (p *parser) item(item string, into *set) error {
	span, stepText, stepped := strings.Cut(item, "/")
	step := 1
	if stepped {
		n, err := strconv.Atoi(stepText)
		if err != nil || n < 1 || stepText[0] == '+' {
			return p.fail("%q is not a step: a number from 1 on is needed after /", stepText)
		}
		step = n
	}
	low, high := p.field.low, p.field.high
	if span != "*" {
		from, to, isRange := strings.Cut(span, "-")
		if stepped && !isRange {
			return p.fail("%q: a step needs a range, such as %d-%d/%d or */%d", item, low, high, step, step)
		}
		var err error
		if low, err = p.value(from); err != nil {
			return err
		}
		high = low
		if isRange {
			if high, err = p.value(to); err != nil {
				return err
			}
		}
		if high < low {
			return p.fail("%q: the range is empty", span)
		}
	}
	for v := low; v <= high; v += step {
		at := v + p.field.shift
		if p.field.sunday7 && v == 7 {
			at = 0
		}
		*into |= 1 << at
	}
	return nil
}

// value reads a number or a name.
func (p *parser) value(word string) (int, error) {
	if word == "" {
		return 0, p.fail("a value is missing")
	}
	name := strings.ToLower(word)
	if i := slices.Index(p.field.names, name); i >= 0 {
		return p.field.low + i, nil
	}
	if v, ok := p.field.aliases[name]; ok {
		return v, nil
	}
	high := p.field.high
	if p.field.sunday7 {
		high = 7
	}
	v, err := strconv.Atoi(word)
	if err != nil || word[0] == '+' || word[0] == '-' {
		if p.field.names != nil {
			return 0, p.fail("%q is neither a number from %d to %d nor one of %s", word, p.field.low, high, strings.Join(p.field.names, ", "))
		}
		return 0, p.fail("%q is not a number from %d to %d", word, p.field.low, high)
	}
	if v < p.field.low || v > high {
		return 0, p.fail("%d is not between %d and %d", v, p.field.low, high)
	}
	return v, nil
}
