package selector

import (
	"regexp"
	"strconv"
	"strings"
)

// The conditions that only queries have.

// anywhere is yes when the test is, of a value or of one within it.
func anywhere(v any, test func(any) bool) truth {
	if _, is := v.(open); is {
		return maybe
	}
	if _, is := v.(partial); is {
		return maybe
	}
	if test(v) {
		return yes
	}
	found := no
	for _, child := range children(v) {
		if found = max(found, anywhere(child, test)); found == yes {
			break
		}
	}
	return found
}

// words is true for a string that contains it, in whichever case.
type words struct{ text, lower string }

func (n words) in(v any) bool {
	s, ok := v.(string)
	return ok && strings.Contains(strings.ToLower(s), n.lower)
}

func (n words) eval(v any) truth { return anywhere(v, n.in) }

// numeric is true for this number too.
type numeric struct {
	words
	value float64
}

func (n numeric) eval(v any) truth {
	return anywhere(v, func(v any) bool {
		f, ok := number(v)
		return ok && f == n.value || n.in(v)
	})
}

// matching is true for a string that fits a regular expression or a glob.
type matching struct {
	re     *regexp.Regexp
	source string
	fold   bool
	glob   bool
}

func newGlob(text string) (matching, error) {
	parts := strings.Split(text, "*")
	for i, part := range parts {
		parts[i] = regexp.QuoteMeta(part)
	}
	re, err := compile(strings.Join(parts, ".*"), true)
	return matching{re: re, source: text, glob: true}, err
}

func (n matching) eval(v any) truth {
	return anywhere(v, func(v any) bool {
		s, ok := v.(string)
		return ok && n.re.MatchString(s)
	})
}

// comparison is true for a number on one side of a limit.
type comparison struct {
	op, text string
	limit    float64
}

func (n comparison) eval(v any) truth {
	if _, is := v.(open); is {
		return maybe
	}
	f, ok := number(v)
	if !ok {
		return no
	}
	switch n.op {
	case "<":
		return truthOf(f < n.limit)
	case "<=":
		return truthOf(f <= n.limit)
	case ">":
		return truthOf(f > n.limit)
	}
	return truthOf(f >= n.limit)
}

// field is true when its node is, of a property.
type field struct {
	name  string
	child node
}

func (n field) eval(v any) truth {
	switch v.(type) {
	case nil, absent:
		return no
	}
	return n.child.eval(property(v, n.name))
}

// filled is true when a property is there and neither false, 0, "" nor null.
type filled struct{ name string }

func (n filled) eval(v any) truth {
	p := property(v, n.name)
	if _, is := p.(open); is {
		return maybe
	}
	return truthOf(truthy(p))
}

// parseNumber reads what JavaScript takes for a number, of raw characters.
func parseNumber(text string) (float64, bool) {
	digits := strings.TrimPrefix(text, "-")
	if digits == "Infinity" {
		f, err := strconv.ParseFloat(text, 64)
		return f, err == nil
	}
	if digits == text && len(text) > 2 && text[0] == '0' {
		if base := baseOf(text[1]); base > 0 {
			n, err := strconv.ParseUint(text[2:], base, 64)
			return float64(n), err == nil
		}
	}
	if digits == "" || strings.Trim(digits, "0123456789.eE-") != "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil && f == 0 {
		return 0, false
	}
	return f, true // beyond all numbers it is infinite, as there
}

func baseOf(c byte) int {
	switch c {
	case 'b', 'B':
		return 2
	case 'o', 'O':
		return 8
	case 'x', 'X':
		return 16
	}
	return 0
}

// queryText prints a condition; nested ones are a single term.
func queryText(n node, nested bool) string {
	switch n := n.(type) {
	case allOf:
		text := queryTexts(n)
		if nested {
			return "(" + text + ")"
		}
		return text
	case *anyOf:
		return "|(" + queryTexts(n.nodes) + ")"
	case inverse:
		return "!" + queryText(n.node, true)
	case field:
		return quoteRaw(n.name) + ":" + queryText(n.child, true)
	case filled:
		return quoteRaw(n.name) + "?"
	case comparison:
		return n.op + n.text
	case numeric:
		return n.text
	case words:
		return quoteRaw(n.text)
	case matching:
		return n.String()
	}
	return ""
}

func queryTexts(nodes []node) string {
	texts := make([]string, len(nodes))
	for i, n := range nodes {
		texts[i] = queryText(n, true)
	}
	return strings.Join(texts, " ")
}

// String is the glob, or the regular expression between slashes.
func (n matching) String() string {
	if n.glob {
		return n.source
	}
	var text strings.Builder
	text.WriteByte('/')
	for i := 0; i < len(n.source); i++ {
		switch c := n.source[i]; {
		case c == '/':
			text.WriteString(`\/`)
		case c == '\\' && i+1 < len(n.source):
			i++
			text.WriteString(n.source[i-1 : i+1])
		default:
			text.WriteByte(c)
		}
	}
	text.WriteByte('/')
	if n.fold {
		text.WriteByte('i')
	}
	return text.String()
}

// quoteRaw puts text in quotes where Xen Orchestra's parser may need them.
func quoteRaw(text string) string {
	plain := text != ""
	for _, r := range text {
		plain = plain && isRaw(r) && (r < 0x80 || isCased(r))
	}
	if _, isNumber := parseNumber(text); plain && !isNumber {
		return text
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

// isCased reports whether the letter has two forms, within 16 bits.
func isCased(r rune) bool {
	s := string(r)
	return r < 0x10000 && strings.ToLower(s) != strings.ToUpper(s)
}
