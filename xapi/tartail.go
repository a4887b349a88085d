package xapi

import (
	"errors"
	"fmt"
	"io"
)

// ErrLengthRequired says that a compressed archive can be imported only when its length is known, because its end cannot be told to a
// host in another way.
var ErrLengthRequired = errors.New("length of a compressed archive must be given")

// errHalfArchive is what is wrong with an archive whose source ended without error.
var errHalfArchive = fmt.Errorf("source ended before the end of its archive: %w", io.ErrUnexpectedEOF)

// tarEnd is how many zeros end a tar archive, in bytes.
const tarEnd = 1024

// tarTail looks at a tar archive of unknown length that passes by. A host would wait for the rest of one that ends early, and for the
// end of one that is compressed.
type tarTail struct {
	seen  int // of the first bytes, up to two
	first [2]byte
	zeros int // at the end of what has passed, up to tarEnd
	ended bool
}

// check takes what was read and the error of reading. It returns that error, or one instead of io.EOF.
func (t *tarTail) check(p []byte, err error) error {
	for _, c := range p[:min(len(p), len(t.first)-t.seen)] {
		t.first[t.seen] = c
		t.seen++
	}
	if t.seen == len(t.first) && t.first != [2]byte{'o', 'v'} { // ova.xml
		return ErrLengthRequired
	}
	zeros := 0
	for zeros < min(len(p), tarEnd) && p[len(p)-1-zeros] == 0 {
		zeros++
	}
	if zeros == len(p) {
		zeros = min(t.zeros+zeros, tarEnd)
	}
	t.zeros = zeros
	if err == io.EOF { //nolint:errorlint // a reader's end is io.EOF itself
		if t.zeros < tarEnd {
			return errHalfArchive
		}
		t.ended = true
	}
	return err
}
