package xapi

import (
	"bytes"
	"errors"
	"iter"
)

var errNotJSON = errors.New("broken JSON")

// scanner splits JSON text, which something else has found to be valid, into values without looking into them. Text that is not
// valid is an error or a wrong value, never a panic.
type scanner struct {
	data []byte
	at   int
}

// next skips white space and returns the byte behind it, which it does not consume; 0 at the end.
func (s *scanner) next() byte {
	for ; s.at < len(s.data); s.at++ {
		switch b := s.data[s.at]; b {
		case ' ', '\t', '\n', '\r':
		default:
			return b
		}
	}
	return 0
}

// value consumes one value.
func (s *scanner) value() ([]byte, error) {
	first := s.next()
	start := s.at
	switch first {
	case '"':
		return s.text()
	case '{', '[':
		return s.nested()
	}
	for s.at < len(s.data) && bytes.IndexByte(literalEnds, s.data[s.at]) < 0 {
		s.at++
	}
	if s.at == start {
		return nil, errNotJSON
	}
	return s.data[start:s.at], nil
}

var literalEnds = []byte(",:]} \t\n\r")

// text consumes a string with its quotes.
func (s *scanner) text() ([]byte, error) {
	start := s.at
	for i := s.at + 1; i < len(s.data); i++ {
		switch s.data[i] {
		case '\\':
			i++
		case '"':
			s.at = i + 1
			return s.data[start:s.at], nil
		}
	}
	return nil, errNotJSON
}

// nested consumes an object or an array.
func (s *scanner) nested() ([]byte, error) {
	start, depth := s.at, 0
	for s.at < len(s.data) {
		switch s.data[s.at] {
		case '"':
			if _, err := s.text(); err != nil {
				return nil, err
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		s.at++
		if depth == 0 {
			return s.data[start:s.at], nil
		}
	}
	return nil, errNotJSON
}

// objectMembers yields the members of an object in their order. The values are parts of data.
func objectMembers(data []byte, shared *interner) iter.Seq2[rawMember, error] {
	return func(yield func(rawMember, error) bool) {
		for element, err := range elements(data, '{', '}') {
			if err != nil {
				yield(rawMember{}, err)
				return
			}
			name, ok := plainText(element.name, shared)
			if !ok {
				yield(rawMember{}, errNotJSON)
				return
			}
			if !yield(rawMember{name, element.value}, nil) {
				return
			}
		}
	}
}

// arrayValues yields the values of an array in their order. They are parts of data.
func arrayValues(data []byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for element, err := range elements(data, '[', ']') {
			if !yield(element.value, err) {
				return
			}
		}
	}
}

// element is one of an object or, without a name, of an array.
type element struct{ name, value []byte }

func elements(data []byte, open, end byte) iter.Seq2[element, error] {
	return func(yield func(element, error) bool) {
		s := &scanner{data: data}
		if s.next() != open {
			yield(element{}, errNotJSON)
			return
		}
		s.at++
		if s.next() == end {
			return
		}
		for {
			one, err := s.element(open == '{')
			if !yield(one, err) || err != nil {
				return
			}
			switch s.next() {
			case ',':
				s.at++
			case end:
				return
			default:
				yield(element{}, errNotJSON)
				return
			}
		}
	}
}

func (s *scanner) element(named bool) (one element, err error) {
	if named {
		if one.name, err = s.value(); err != nil || s.next() != ':' {
			return element{}, errNotJSON
		}
		s.at++
	}
	one.value, err = s.value()
	return one, err
}
