package nfs

import (
	"bufio"
	"encoding/binary"
	"io"
)

const (
	lastFragment = 1 << 31
	// maxFragments bounds the fragments of one record: servers use one, or one
	// per buffer of theirs.
	maxFragments = 4096
	readBuffer   = 32 << 10
)

// records reads RPC messages from a stream (RFC 5531, section 11): each is a
// sequence of fragments with their lengths in front. What it returns is never
// more than was asked for, whatever the lengths say.
type records struct {
	r         *bufio.Reader
	left      int64 // bytes of the current fragment not read yet
	last      bool  // it is the record's last
	fragments int
}

func newRecords(r io.Reader) *records {
	return &records{r: bufio.NewReaderSize(r, readBuffer), last: true}
}

// next begins the next record. The one before must have been read to its end.
func (r *records) next() error {
	r.fragments = 0
	r.last = false
	return r.fragment()
}

func (r *records) fragment() error {
	var mark [4]byte
	if _, err := io.ReadFull(r.r, mark[:]); err != nil {
		return err
	}
	if r.fragments++; r.fragments > maxFragments {
		return errMalformed
	}
	m := binary.BigEndian.Uint32(mark[:])
	r.last = m&lastFragment != 0
	r.left = int64(m &^ lastFragment)
	return nil
}

// more reports whether the record has bytes left, and goes to the next fragment
// when the current one is used up.
func (r *records) more() (bool, error) {
	for r.left == 0 {
		if r.last {
			return false, nil
		}
		if err := r.fragment(); err != nil {
			return false, err
		}
	}
	return true, nil
}

// full fills p from the record. A record that is too short is malformed.
func (r *records) full(p []byte) error {
	for len(p) > 0 {
		more, err := r.more()
		if err != nil {
			return err
		}
		if !more {
			return errMalformed
		}
		n, err := io.ReadFull(r.r, p[:min(int64(len(p)), r.left)])
		r.left -= int64(n)
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// rest appends what is left of the record to p, which must not become longer
// than limit.
func (r *records) rest(p []byte, limit int) ([]byte, error) {
	for {
		more, err := r.more()
		if err != nil || !more {
			return p, err
		}
		if r.left > int64(limit-len(p)) {
			return p, errMalformed
		}
		n := len(p)
		p = append(p, make([]byte, r.left)...)
		if err := r.full(p[n:]); err != nil {
			return p, err
		}
	}
}

// skip drops what is left of the record, at most limit bytes.
func (r *records) skip(limit int64) error {
	for {
		more, err := r.more()
		if err != nil || !more {
			return err
		}
		if limit -= r.left; limit < 0 {
			return errMalformed
		}
		n, err := io.CopyN(io.Discard, r.r, r.left)
		r.left -= n
		if err != nil {
			return err
		}
	}
}
