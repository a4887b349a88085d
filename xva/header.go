package xva

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

const (
	blockSize = 512 // of tar
	nameSize  = 100 // of the name field, its NUL included
)

// header is a tar header, as far as archives need it.
type header struct {
	name []byte // valid as long as the block that it was read from
	size int64
}

// The fields of a header block: offset and length. V7 headers are zero from 257 on; ustar has its magic there and a prefix of the
// name at 345; GNU tar has a magic with spaces and other things at 345.
const (
	offMode, offUID, offGID      = 100, 108, 116
	offSize, lenSize             = 124, 12
	offMtime                     = 136
	offSum, lenSum               = 148, 8
	offType                      = 156
	offMagic, offPrefix          = 257, 345
	lenPrefix, ustarMagic        = 155, "ustar\x00"
	typeFile, typeFileV7    byte = '0', 0
)

var errNotAFile = errors.New("not a regular file")

// parseHeader reads V7, ustar and GNU headers of regular files.
func parseHeader(b *[blockSize]byte) (header, error) {
	want, err := parseOctal(b[offSum : offSum+lenSum])
	if err != nil {
		return header{}, fmt.Errorf("%w: checksum field", ErrHeader)
	}
	if unsigned, signed := sums(b); want != unsigned && want != signed {
		return header{}, fmt.Errorf("%w: its checksum does not match", ErrHeader)
	}
	h := header{name: text(b[:nameSize])}
	if string(b[offMagic:offMagic+len(ustarMagic)]) == ustarMagic {
		if prefix := text(b[offPrefix : offPrefix+lenPrefix]); len(prefix) > 0 {
			h.name = slices.Concat(prefix, []byte{'/'}, h.name)
		}
	}
	if h.size, err = parseNumber(b[offSize : offSize+lenSize]); err != nil {
		return h, fmt.Errorf("%w: size field", ErrHeader)
	}
	if kind := b[offType]; kind != typeFile && kind != typeFileV7 {
		return h, fmt.Errorf("%w: %w: type %q", ErrMember, errNotAFile, kind)
	}
	return h, nil
}

// sums returns the checksum of a header as the standard wants it, and as some old writers make it, from signed bytes.
func sums(b *[blockSize]byte) (unsigned, signed int64) {
	high := int64(0)
	for _, c := range b {
		unsigned += int64(c)
		high += int64(c >> 7)
	}
	for _, c := range b[offSum : offSum+lenSum] { // counts as spaces
		unsigned += ' ' - int64(c)
		high -= int64(c >> 7)
	}
	return unsigned, unsigned - high<<8
}

func text(field []byte) []byte {
	if n := bytes.IndexByte(field, 0); n >= 0 {
		field = field[:n]
	}
	return field
}

func parseOctal(field []byte) (n int64, err error) {
	for _, c := range bytes.Trim(text(field), " ") {
		if c < '0' || c > '7' {
			return 0, strconv.ErrSyntax
		}
		if n > math.MaxInt64>>3 {
			return 0, strconv.ErrRange
		}
		n = n<<3 | int64(c-'0')
	}
	return n, nil
}

// parseNumber reads octal digits, or GNU's base 256 for what is too large for them.
func parseNumber(field []byte) (int64, error) {
	if field[0]&0x80 == 0 {
		return parseOctal(field)
	}
	n := int64(field[0] & 0x7f)
	for _, c := range field[1:] {
		if n > math.MaxInt64>>8 {
			return 0, strconv.ErrRange
		}
		n = n<<8 | int64(c)
	}
	return n, nil
}

// putHeader writes the V7 header that xapi writes: no magic, no owner, type NUL, mode 0400. name fits its field.
func putHeader[T string | []byte](b []byte, name T, size int64, mtime time.Time) {
	b = b[:blockSize]
	clear(b)
	copy(b[:nameSize-1], name)
	putOctal(b[offMode:offUID], 0o400)
	putOctal(b[offUID:offGID], 0)
	putOctal(b[offGID:offSize], 0)
	putOctal(b[offSize:offMtime], size)
	putOctal(b[offMtime:offSum], max(0, mtime.Unix()))
	sum, _ := sums((*[blockSize]byte)(b))
	putOctal(b[offSum:offSum+lenSum-1], sum) // six digits, NUL, space
	b[offSum+lenSum-1] = ' '
}

// putOctal fills field with digits and a final NUL.
func putOctal(field []byte, n int64) {
	last := len(field) - 1
	field[last] = 0
	for i := last - 1; i >= 0; i-- {
		field[i] = '0' + byte(n&7)
		n >>= 3
	}
}

// padded returns size rounded up to whole tar blocks.
func padded(size int64) int64 { return (size + blockSize - 1) &^ (blockSize - 1) }
