package xva

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	blockSize = 512 // of tar
	nameSize  = 100 // of the name field, its NUL included
)

// header is a tar header, as far as archives need it.
type header struct {
	name string
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
		if prefix := text(b[offPrefix : offPrefix+lenPrefix]); prefix != "" {
			h.name = prefix + "/" + h.name
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
	for i, c := range b {
		if i >= offSum && i < offSum+lenSum {
			c = ' '
		}
		unsigned += int64(c)
		signed += int64(int8(c)) // the sign is the point
	}
	return unsigned, signed
}

func text(field []byte) string {
	if n := bytes.IndexByte(field, 0); n >= 0 {
		field = field[:n]
	}
	return string(field)
}

func parseOctal(field []byte) (int64, error) {
	digits := strings.Trim(text(field), " ")
	if digits == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(digits, 8, 63)
	return int64(n), err
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
func putHeader(b *[blockSize]byte, name string, size int64, mtime time.Time) {
	clear(b[:])
	copy(b[:nameSize-1], name)
	putOctal(b[offMode:offUID], 0o400)
	putOctal(b[offUID:offGID], 0)
	putOctal(b[offGID:offSize], 0)
	putOctal(b[offSize:offMtime], size)
	putOctal(b[offMtime:offSum], max(0, mtime.Unix()))
	sum, _ := sums(b)
	putOctal(b[offSum:offSum+lenSum-1], sum) // six digits, NUL, space
	b[offSum+lenSum-1] = ' '
}

// putOctal fills field with digits and a final NUL.
func putOctal(field []byte, n int64) {
	copy(field, fmt.Sprintf("%0*o", len(field)-1, n))
	field[len(field)-1] = 0
}

// padded returns size rounded up to whole tar blocks.
func padded(size int64) int64 { return (size + blockSize - 1) &^ (blockSize - 1) }
