package probe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Kind says what one can do with a content.
type Kind uint8

// What a content is.
const (
	Unknown   Kind = iota // nothing that is known
	Empty                 // zeros, where anything known would have something
	Files                 // a file system
	Container             // volumes, or a part of one
	Encrypted             // nothing without a key
	Swap                  // no files at all
)

// Content is what a volume holds.
type Content struct {
	Kind   Kind
	Family string // by which a reader is chosen: "ext", "fat", "exfat", "ntfs", "xfs", "btrfs", ...; empty where nothing is known
	Type   string // more exact, as blkid has it: "ext4", "vfat", "crypto_LUKS", ...
	Title  string // for people: "LUKS encryption"
	Label  string
	UUID   string // as the format's own tools print it
}

// magic is a string of bytes at a place. A negative place counts from the end.
type magic struct {
	off   int64
	bytes string
}

// signature of a format: any of its magics.
type signature struct {
	content Content
	magics  []magic
	detail  func(b *sample, c *Content) bool // more to check, and to tell; false: it is something else. May be nil
}

// Detect tells what a volume of size bytes holds. Errors are those of r.
func Detect(r io.ReaderAt, size int64) (Content, error) {
	b := &sample{r: r, size: size}
	for i := range signatures {
		s := &signatures[i]
		for _, m := range s.magics {
			if !b.has(m) {
				continue
			}
			c := s.content
			if s.detail == nil || s.detail(b, &c) {
				return c, b.err
			}
		}
	}
	if c, ok := b.copy(); ok || b.err != nil {
		return c, b.err
	}
	if b.empty() {
		return Content{Kind: Empty, Title: "nothing"}, b.err
	}
	return Content{Title: "unknown content"}, b.err
}

// sample reads the start of a volume once, and what is elsewhere when it is asked for.
type sample struct {
	r    io.ReaderAt
	size int64
	head []byte
	err  error
}

const headSize = 72 << 10 // the last superblock of interest is at 64 KiB

// at returns n bytes at a place; nil where there are none.
func (b *sample) at(off, n int64) []byte {
	if off < 0 {
		off += b.size
	}
	if b.err != nil || off < 0 || off+n > b.size {
		return nil
	}
	if off+n > headSize {
		p := make([]byte, n)
		b.read(p, off)
		return p
	}
	if b.head == nil {
		b.head = make([]byte, min(headSize, b.size))
		b.read(b.head, 0)
	}
	return b.head[off : off+n]
}

func (b *sample) read(p []byte, off int64) {
	n, err := b.r.ReadAt(p, off)
	if n == len(p) {
		return
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	b.err = fmt.Errorf("probe: read at %d: %w", off, err)
}

func (b *sample) has(m magic) bool {
	return string(b.at(m.off, int64(len(m.bytes)))) == m.bytes
}

func (b *sample) empty() bool {
	head := b.at(0, min(headSize, b.size))
	return len(bytes.Trim(head, "\x00")) == 0
}
