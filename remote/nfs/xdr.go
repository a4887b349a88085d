package nfs

import "encoding/binary"

// encoder appends values in XDR (RFC 4506): big endian, everything padded to a
// multiple of four bytes.
type encoder struct{ b []byte }

func (e *encoder) uint32(v uint32) { e.b = binary.BigEndian.AppendUint32(e.b, v) }

func (e *encoder) uint64(v uint64) { e.b = binary.BigEndian.AppendUint64(e.b, v) }

func (e *encoder) bool(v bool) {
	if v {
		e.uint32(1)
	} else {
		e.uint32(0)
	}
}

// fixed appends bytes whose number both sides know.
func (e *encoder) fixed(p []byte) {
	e.b = append(e.b, p...)
	e.b = append(e.b, padding[:pad(len(p))]...)
}

// opaque appends bytes after their number.
func (e *encoder) opaque(p []byte) {
	e.uint32(uint32(len(p)))
	e.fixed(p)
}

func (e *encoder) string(s string) {
	e.uint32(uint32(len(s)))
	e.b = append(e.b, s...)
	e.b = append(e.b, padding[:pad(len(s))]...)
}

var padding [3]byte

// pad is how many bytes follow n bytes to make a multiple of four.
func pad(n int) int { return -n & 3 }

// decoder takes values off the front of a reply. Once something does not fit,
// bad is set and everything else is zero, so that a reply is decoded first and
// judged once.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n < 0 || n > len(d.b) {
		d.bad, d.b = true, nil
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) uint32() uint32 {
	v := d.take(4)
	if v == nil {
		return 0
	}
	return binary.BigEndian.Uint32(v)
}

func (d *decoder) uint64() uint64 {
	v := d.take(8)
	if v == nil {
		return 0
	}
	return binary.BigEndian.Uint64(v)
}

// bool takes a boolean, which is 0 or 1 and nothing else.
func (d *decoder) bool() bool {
	v := d.uint32()
	if v > 1 {
		d.bad, d.b = true, nil
	}
	return v == 1
}

// opaque takes at most limit bytes with their number in front. The result is a
// part of the reply and lives as long.
func (d *decoder) opaque(limit int) []byte {
	n := d.uint32()
	if int64(n) > int64(limit) {
		d.bad, d.b = true, nil
		return nil
	}
	v := d.take(int(n))
	d.take(pad(int(n)))
	return v
}

// end reports whether the reply was what it should be. Servers may append to a
// structure what a later protocol gives a meaning, so a rest is none of our
// concern.
func (d *decoder) end() error {
	if d.bad {
		return errMalformed
	}
	return nil
}
