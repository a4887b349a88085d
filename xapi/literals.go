package xapi

import "io"

// literals filters JSON text: NaN, Infinity and -Infinity, which xapi writes for such numbers, become null outside strings, so
// that a field which holds one decodes as zero. All else passes unchanged.
type literals struct {
	src      io.Reader
	buf      []byte
	out      []byte // filtered
	read     int    // how much of out was read
	word     []byte // letters, with a leading minus, that may be one of the three
	inString bool
	escaped  bool
	err      error
}

const longestLiteral = len("-Infinity")

func newLiterals(src io.Reader) *literals { return &literals{src: src, buf: make([]byte, 32<<10)} }

// Read implements io.Reader.
func (l *literals) Read(p []byte) (int, error) {
	for l.read == len(l.out) {
		if l.err != nil {
			return 0, l.err
		}
		n, err := l.src.Read(l.buf)
		l.out, l.read = l.out[:0], 0
		for _, b := range l.buf[:n] {
			l.filter(b)
		}
		if err != nil {
			l.flush()
			l.err = err
		}
	}
	n := copy(p, l.out[l.read:])
	l.read += n
	return n, nil
}

func (l *literals) filter(b byte) {
	if l.inString {
		switch {
		case l.escaped:
			l.escaped = false
		case b == '\\':
			l.escaped = true
		case b == '"':
			l.inString = false
		}
		l.out = append(l.out, b)
		return
	}
	letter := b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
	if letter && len(l.word) < longestLiteral || b == '-' && len(l.word) == 0 {
		l.word = append(l.word, b)
		return
	}
	l.flush()
	l.inString = b == '"'
	l.out = append(l.out, b)
}

func (l *literals) flush() {
	switch string(l.word) {
	case "NaN", "Infinity", "-Infinity":
		l.out = append(l.out, "null"...)
	default:
		l.out = append(l.out, l.word...)
	}
	l.word = l.word[:0]
}
