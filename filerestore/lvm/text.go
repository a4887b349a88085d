package lvm

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// section is a part of the metadata in braces, or all of it: its values are string,
// int64, []any of these, or section.
type section map[string]any

const (
	maxNesting = 16
	maxValues  = 1 << 20 // of all sections and lists: a group of some 50,000 segments
)

// parseText reads the metadata of a group.
func parseText(text string) (section, error) {
	p := &parser{text: strings.TrimRight(text, "\x00")}
	s, err := p.section(true)
	if err != nil {
		return nil, formatError("metadata", -1, fmt.Errorf("%w, at byte %d of the text", err, p.at))
	}
	return s, nil
}

type parser struct {
	text   string
	at     int
	depth  int
	values int
}

func (p *parser) skip() {
	for p.at < len(p.text) {
		switch c := p.text[p.at]; {
		case c == '#':
			end := strings.IndexByte(p.text[p.at:], '\n')
			if end < 0 {
				end = len(p.text) - p.at
			}
			p.at += end
		case c <= ' ':
			p.at++
		default:
			return
		}
	}
}

// peek returns the next byte that counts, 0 at the end.
func (p *parser) peek() byte {
	p.skip()
	if p.at >= len(p.text) {
		return 0
	}
	return p.text[p.at]
}

func (p *parser) take(set string) string {
	start := p.at
	for p.at < len(p.text) && strings.IndexByte(set, p.text[p.at]) >= 0 {
		p.at++
	}
	return p.text[start:p.at]
}

func (p *parser) count() error {
	if p.values++; p.values > maxValues {
		return fmt.Errorf("%w: more than %d values", fsys.ErrLimit, maxValues)
	}
	return nil
}

// section reads up to the closing brace, or of the whole text to its end.
func (p *parser) section(whole bool) (section, error) {
	if p.depth++; p.depth > maxNesting {
		return nil, fmt.Errorf("%w: sections in more than %d others", fsys.ErrLimit, maxNesting)
	}
	defer func() { p.depth-- }()
	s := section{}
	for {
		switch c := p.peek(); {
		case c == 0 && whole:
			return s, nil
		case c == '}' && !whole:
			p.at++
			return s, nil
		}
		key, value, err := p.pair()
		if err != nil {
			return nil, err
		}
		s[key] = value
	}
}

func (p *parser) pair() (key string, value any, err error) {
	if err := p.count(); err != nil {
		return "", nil, err
	}
	key = p.take("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-/")
	if key == "" {
		return "", nil, fsys.ErrCorrupt
	}
	c := p.peek()
	p.at++
	switch c {
	case '{':
		value, err = p.section(false)
	case '=':
		value, err = p.value()
	default:
		err = fsys.ErrCorrupt
	}
	return key, value, err
}

func (p *parser) value() (any, error) {
	switch p.peek() {
	case '"':
		return p.quoted()
	case '[':
		return p.list()
	}
	n, err := strconv.ParseInt(p.take("-0123456789"), 10, 64)
	if err != nil {
		return nil, fsys.ErrCorrupt
	}
	if p.at < len(p.text) && p.text[p.at] == '.' { // a float: nothing that we need
		p.at++
		p.take("0123456789")
	}
	return n, nil
}

func (p *parser) quoted() (string, error) {
	var b strings.Builder
	for p.at++; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; c {
		case '"':
			p.at++
			return b.String(), nil
		case '\\':
			if p.at++; p.at < len(p.text) {
				b.WriteByte(p.text[p.at])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", fsys.ErrCorrupt
}

// list reads a list of strings and numbers.
func (p *parser) list() ([]any, error) {
	var list []any
	for p.at++; ; {
		switch p.peek() {
		case ']':
			p.at++
			return list, nil
		case ',':
			p.at++
			continue
		case '[', 0:
			return nil, fsys.ErrCorrupt
		}
		if err := p.count(); err != nil {
			return nil, err
		}
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
}

// group returns the section that describes the group, with its name under "".
func (s section) group() section {
	for name, v := range s {
		if g, ok := v.(section); ok && g.text("id") != "" {
			g[""] = name
			return g
		}
	}
	return nil
}

func (s section) text(key string) string  { v, _ := s[key].(string); return v }
func (s section) number(key string) int64 { v, _ := s[key].(int64); return v }
func (s section) sub(key string) section  { v, _ := s[key].(section); return v }
func (s section) listOf(key string) []any { v, _ := s[key].([]any); return v }
func (s section) flag(key, flag string) bool {
	for _, v := range s.listOf(key) {
		if v == flag {
			return true
		}
	}
	return false
}
