package xva

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

// An Image is one disk of an [Archive], a [disk.Source]. Chunks that are left out are zeros.
type Image struct {
	id     string
	size   int64
	r      io.ReaderAt
	verify bool
	runs   []run
	chunks int64
	proven []atomic.Uint32 // a bit for each chunk whose checksum was found right
	spare  sync.Pool       // of *[]byte
}

var _ disk.Source = (*Image)(nil)

var errNegative = errors.New("xva: negative offset or length")

// ID returns the id of the disk's VDI object.
func (m *Image) ID() string { return m.id }

// Size returns the virtual size in bytes.
func (m *Image) Size() int64 { return m.size }

// ReadAt reads from the disk. A chunk whose checksum is wrong is a *FormatError with ErrChecksum, whatever part of it is wanted.
func (m *Image) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errNegative
	}
	if off >= m.size && len(p) > 0 {
		return 0, io.EOF
	}
	var end error
	if left := m.size - off; int64(len(p)) > left {
		p, end = p[:left], io.EOF
	}
	done := 0
	for done < len(p) {
		part, at := p[done:], off+int64(done)
		c, ok := m.find(at)
		if !ok {
			part = part[:min(int64(len(part)), c.length)]
			clear(part)
		} else {
			part = part[:min(int64(len(part)), c.off+c.length-at)]
			if err := m.readChunk(c, part, at-c.off); err != nil {
				return done, err
			}
		}
		done += len(part)
	}
	return done, end
}

// readChunk reads p at an offset of a chunk.
func (m *Image) readChunk(c chunk, p []byte, within int64) error {
	word, bit := c.index/32, uint32(1)<<(c.index%32)
	switch {
	case !m.verify || m.proven[word].Load()&bit != 0:
		return m.read(p, c.at+within)
	case int64(len(p)) == c.length:
		var tail [2 * blockSize]byte
		if err := m.read(p, c.at); err != nil {
			return err
		}
		if err := m.read(tail[:], c.at+padded(c.length)); err != nil {
			return err
		}
		if err := m.compare(c, p, tail[:]); err != nil {
			return err
		}
	default:
		size := padded(c.length) + 2*blockSize
		buf, _ := m.spare.Get().(*[]byte)
		if buf == nil || int64(len(*buf)) < size {
			buf = new(make([]byte, size))
		}
		defer m.spare.Put(buf)
		b := (*buf)[:size]
		if err := m.read(b, c.at); err != nil {
			return err
		}
		if err := m.compare(c, b[:c.length], b[padded(c.length):]); err != nil {
			return err
		}
		copy(p, b[within:])
	}
	m.proven[word].Or(bit)
	return nil
}

// compare compares a chunk with the checksum in the two blocks behind it.
func (m *Image) compare(c chunk, data, tail []byte) error {
	broken := func(err error) error {
		return &FormatError{fmt.Sprintf("%s at %d", m.id, c.off), c.at - blockSize, err}
	}
	h, err := parseHeader((*[blockSize]byte)(tail))
	if err != nil {
		return broken(err)
	}
	d := digest{n: uint8(min(h.size, maxDigest))}
	if h.size == XXHash.length() {
		d.kind = XXHash
	}
	copy(d.hex[:d.n], tail[blockSize:])
	if ok, got := d.matches(data); !ok {
		return broken(fmt.Errorf("%w: %s is %s, should be %.40q", ErrChecksum, d.kind, got.text(), d.text()))
	}
	return nil
}

// read fills p from the archive.
func (m *Image) read(p []byte, at int64) error {
	n, err := m.r.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", ErrTruncated, io.ErrUnexpectedEOF)
	}
	return &FormatError{m.id, at + int64(n), err}
}

// Extents yields Data for the chunks that are there and Zero for those that are not.
func (m *Image) Extents(ctx context.Context, off, n int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		if off < 0 || n < 0 {
			yield(disk.Extent{}, errNegative)
			return
		}
		end := m.size
		if n < m.size-off {
			end = off + n
		}
		for at := off; at < end; {
			if ctx.Err() != nil {
				yield(disk.Extent{}, context.Cause(ctx))
				return
			}
			e := m.extent(at)
			e.Len = min(e.Len, end-at)
			if !yield(e, nil) {
				return
			}
			at += e.Len
		}
	}
}

// extent returns the longest one that begins at off, which is within the disk.
func (m *Image) extent(off int64) disk.Extent {
	i, ok := m.after(off)
	if !ok {
		return disk.Extent{Off: off, Len: m.gapEnd(i) - off, Kind: disk.Zero}
	}
	end := m.runs[i].end()
	for i++; i < len(m.runs) && m.runs[i].off == end; i++ {
		end = m.runs[i].end()
	}
	return disk.Extent{Off: off, Len: min(end, m.size) - off, Kind: disk.Data}
}
