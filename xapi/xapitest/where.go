package xapitest

import (
	"fmt"
	"strings"
	"text/scanner"
)

// parseWhere compiles the expression of get_all_records_where:
//
//	true, false, field "name" = "value", not E, E and E, E or E, (E)
//
// Values are compared as text. A field that the class lacks equals nothing.
func parseWhere(expr string) (func(record) bool, error) {
	p := &whereParser{}
	p.scan.Init(strings.NewReader(expr))
	p.scan.Error = func(*scanner.Scanner, string) { p.failed = true }
	p.next()
	match := p.or()
	if p.failed || p.token != scanner.EOF {
		return nil, fail("INTERNAL_ERROR", "Db_filter.Expression_error: "+expr)
	}
	return match, nil
}

type whereParser struct {
	scan   scanner.Scanner
	token  rune
	failed bool
}

func (p *whereParser) next() { p.token = p.scan.Scan() }

// accept consumes the word or sign, if it is next.
func (p *whereParser) accept(word string) bool {
	if p.token == scanner.EOF || p.scan.TokenText() != word {
		return false
	}
	p.next()
	return true
}

func (p *whereParser) or() func(record) bool {
	left := p.and()
	for p.accept("or") {
		l, r := left, p.and()
		left = func(rec record) bool { return l(rec) || r(rec) }
	}
	return left
}

func (p *whereParser) and() func(record) bool {
	left := p.term()
	for p.accept("and") {
		l, r := left, p.term()
		left = func(rec record) bool { return l(rec) && r(rec) }
	}
	return left
}

func (p *whereParser) term() func(record) bool {
	switch {
	case p.accept("true"):
		return func(record) bool { return true }
	case p.accept("false"):
		return func(record) bool { return false }
	case p.accept("not"):
		inner := p.term()
		return func(rec record) bool { return !inner(rec) }
	case p.accept("("):
		inner := p.or()
		p.failed = !p.accept(")") || p.failed
		return inner
	case p.accept("field"):
		name := p.quoted()
		p.failed = !p.accept("=") || p.failed
		value := p.quoted()
		return func(rec record) bool { return fieldEquals(rec, name, value) }
	}
	p.failed = true
	return func(record) bool { return false }
}

// fieldEquals compares a scalar field by its text.
func fieldEquals(rec record, name, value string) bool {
	switch v := rec[strings.ReplaceAll(name, "__", "_")].(type) {
	case nil:
		return false
	case string:
		return v == value
	default:
		return fmt.Sprint(v) == value
	}
}

func (p *whereParser) quoted() string {
	text := p.scan.TokenText()
	if p.token != scanner.String || len(text) < 2 {
		p.failed = true
		return ""
	}
	p.next()
	return text[1 : len(text)-1]
}
