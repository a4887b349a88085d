package selector

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxQuery bounds a query, in bytes.
const maxQuery = 64 << 10

// QueryError says where a query is wrong, and why.
type QueryError struct {
	Text   string // the whole query
	Offset int    // in bytes, of what is wrong
	Reason string
}

// Error names the place.
func (e *QueryError) Error() string {
	at := utf8.RuneCountInString(e.Text[:min(e.Offset, len(e.Text))]) + 1
	return fmt.Sprintf("selector: query %s: at character %d: %s", quote(e.Text), at, e.Reason)
}

// ParseQuery reads a query; the package's manual has the language. What is wrong
// with it a [*QueryError] says.
func ParseQuery(text string) (*Query, error) {
	p := &queryParser{text: text}
	if len(text) > maxQuery {
		return nil, p.fail(maxQuery, "longer than %d bytes", maxQuery)
	}
	for i, r := range text {
		if r == utf8.RuneError && !strings.HasPrefix(text[i:], string(utf8.RuneError)) {
			return nil, p.fail(i, "not UTF-8")
		}
	}
	nodes, err := p.terms()
	if err != nil {
		return nil, err
	}
	if p.at < len(text) { // only this ends terms too early
		return nil, p.fail(p.at, "a closing parenthesis without an opening one")
	}
	return &Query{text: text, root: conjunction(nodes)}, nil
}

// conjunction of one is that one.
func conjunction(nodes []node) node {
	if len(nodes) == 1 {
		return nodes[0]
	}
	return allOf(nodes)
}

type queryParser struct {
	text  string
	at    int
	depth int
}

func (p *queryParser) fail(at int, reason string, args ...any) error {
	return &QueryError{Text: p.text, Offset: at, Reason: fmt.Sprintf(reason, args...)}
}

// peek is the next character; 0 at the end.
func (p *queryParser) peek() rune {
	if p.at == len(p.text) {
		return 0
	}
	r, _ := utf8.DecodeRuneInString(p.text[p.at:])
	return r
}

// take goes on if r is next.
func (p *queryParser) take(r byte) bool {
	if p.at < len(p.text) && p.text[p.at] == r {
		p.at++
		return true
	}
	return false
}

func (p *queryParser) blanks() {
	rest := strings.TrimLeftFunc(p.text[p.at:], func(r rune) bool { return unicode.IsSpace(r) || r == '\uFEFF' })
	p.at = len(p.text) - len(rest)
}

// terms reads up to the end or a closing parenthesis.
func (p *queryParser) terms() ([]node, error) {
	var nodes []node
	for p.blanks(); p.at < len(p.text) && p.peek() != ')'; p.blanks() {
		n, err := p.term()
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// group reads terms in parentheses.
func (p *queryParser) group() ([]node, error) {
	start := p.at
	p.at++
	nodes, err := p.terms()
	switch {
	case err != nil:
		return nil, err
	case !p.take(')'):
		return nil, p.fail(start, "the parenthesis is not closed")
	case len(nodes) == 0:
		return nil, p.fail(start, "nothing in the parentheses")
	}
	return nodes, nil
}

func (p *queryParser) term() (node, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.fail(p.at, "nested more than %d deep", maxDepth)
	}
	defer func() { p.depth-- }()
	start := p.at
	switch r := p.peek(); {
	case r == '(':
		nodes, err := p.group()
		return conjunction(nodes), err
	case r == '|':
		p.at++
		if p.blanks(); p.peek() != '(' {
			return nil, p.fail(start, "| is followed by alternatives in parentheses: |(a b)")
		}
		nodes, err := p.group()
		if len(nodes) == 1 {
			return nodes[0], err
		}
		return newAnyOf(nodes), err
	case r == '!':
		p.at++
		p.blanks()
		if p.at == len(p.text) || p.peek() == ')' {
			return nil, p.fail(start, "nothing follows the !")
		}
		n, err := p.term()
		return inverse{n}, err
	case r == '<' || r == '>':
		return p.comparison()
	case r == '/':
		return p.regexp()
	case r == '"':
		text, err := p.quoted()
		if err != nil {
			return nil, err
		}
		return p.named(text, words{text: text, lower: strings.ToLower(text)})
	case isRaw(r) || r == '*':
		return p.word()
	default:
		return nil, p.fail(start, "unexpected %q; other characters than letters, digits, _, -, . and $ are put in double quotes", r)
	}
}

// word reads raw characters: text, a number, a glob, or the name of a property.
func (p *queryParser) word() (node, error) {
	start := p.at
	for isRaw(p.peek()) || p.peek() == '*' {
		p.at += utf8.RuneLen(p.peek())
	}
	text := p.text[start:p.at]
	if strings.Contains(text, "*") {
		n, err := newGlob(text)
		if err != nil {
			return nil, p.fail(start, "%v", err)
		}
		return n, nil
	}
	value := words{text: text, lower: strings.ToLower(text)}
	if f, ok := parseNumber(text); ok {
		return p.named(text, numeric{value, f})
	}
	return p.named(text, value)
}

// named reads what makes a property of the text; without that it is value.
func (p *queryParser) named(text string, value node) (node, error) {
	if p.take('?') {
		return filled{text}, nil
	}
	end := p.at
	if p.blanks(); !p.take(':') {
		p.at = end
		return value, nil
	}
	p.blanks()
	if p.at == len(p.text) || p.peek() == ')' {
		return nil, p.fail(end, "nothing follows the : of property %s", quote(text))
	}
	child, err := p.term()
	return field{text, child}, err
}

func (p *queryParser) comparison() (node, error) {
	start := p.at
	p.at++
	p.take('=')
	op := p.text[start:p.at]
	from := p.at
	for isRaw(p.peek()) {
		p.at += utf8.RuneLen(p.peek())
	}
	text := p.text[from:p.at]
	limit, ok := parseNumber(text)
	if !ok {
		return nil, p.fail(from, "a number follows %s at once", op)
	}
	return comparison{op, text, limit}, nil
}

func (p *queryParser) quoted() (string, error) {
	start := p.at
	var text strings.Builder
	for i := start + 1; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == '"':
			p.at = i + 1
			return text.String(), nil
		case c == '\\' && i+1 < len(p.text):
			i++
			text.WriteByte(p.text[i])
		default:
			text.WriteByte(c)
		}
	}
	return "", p.fail(start, "the quote is not closed")
}

func (p *queryParser) regexp() (node, error) {
	start := p.at
	var source strings.Builder
	for i := start + 1; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == '/':
			p.at = i + 1
			fold := p.take('i')
			re, err := compile(source.String(), fold)
			if err != nil {
				return nil, p.fail(start, "%v (Go's regular expressions: no look-around, no back references)", err)
			}
			return matching{re: re, source: source.String(), fold: fold}, nil
		case c == '\\' && i+1 < len(p.text):
			i++
			if p.text[i] != '/' {
				source.WriteByte(c)
			}
			source.WriteByte(p.text[i])
		default:
			source.WriteByte(c)
		}
	}
	return nil, p.fail(start, "the regular expression is not closed")
}

func compile(source string, fold bool) (*regexp.Regexp, error) {
	if fold {
		source = "(?i:" + source + ")"
	}
	return regexp.Compile(source)
}

// isRaw reports whether the character needs no quotes.
func isRaw(r rune) bool {
	return r >= '0' && r <= '9' || r == '_' || r == '-' || r == '.' || r == '$' || unicode.IsLetter(r)
}
