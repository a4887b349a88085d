package lvm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// What callers branch on, besides the errors of package fsys.
var (
	ErrNone    = errors.New("no LVM2 physical volume")
	ErrMissing = errors.New("a physical volume is missing")
)

// maxText bounds the metadata of a group, in bytes.
const maxText = 16 << 20

// PV is a physical volume.
type PV struct {
	UUID string // 32 letters, without dashes
	Name string // for the caller: where it was found
	Size int64  // in bytes, of r

	r        io.ReaderAt
	metadata section // nil: it has none, or none that is whole
	problem  error   // why
}

// ReadPV reads the label of a physical volume, and its metadata.
//
// Errors: [ErrNone] where there is no label; fsys.ErrCorrupt where there is one, and it
// is broken; those of r. Broken metadata is none of them: another physical volume of
// the group may have it.
func ReadPV(r io.ReaderAt, size int64) (*PV, error) {
	b := make([]byte, min(size, 4*512))
	if n, err := r.ReadAt(b, 0); n < len(b) {
		return nil, formatError("label", 0, unexpected(err))
	}
	for off := 0; off+512 <= len(b); off += 512 {
		label := b[off:][:512]
		if string(label[:8]) == "LABELONE" && string(label[24:32]) == "LVM2 001" {
			p := &PV{r: r, Size: size}
			return p, p.parse((*[512]byte)(label), int64(off))
		}
	}
	return nil, fmt.Errorf("lvm: %w", ErrNone)
}

func (p *PV) parse(label *[512]byte, off int64) error {
	le := binary.LittleEndian
	if checksum(label[20:]) != le.Uint32(label[16:]) {
		return formatError("label", off, fsys.ErrChecksum)
	}
	at := le.Uint32(label[20:])
	if at < 32 || at > 512-40-32 || le.Uint64(label[8:]) != uint64(off/512) {
		return formatError("label", off, fsys.ErrCorrupt)
	}
	p.UUID = string(label[at:][:32])
	pairs := label[at+40:]
	for lists := 0; len(pairs) >= 16 && lists < 2; pairs = pairs[16:] {
		start, length := le.Uint64(pairs), le.Uint64(pairs[8:])
		switch {
		case start == 0:
			lists++
		case lists == 1:
			p.readArea(start, length)
		}
	}
	return nil
}

// readArea reads the metadata of one area, and keeps it if it is newer than what is
// known.
func (p *PV) readArea(start, length uint64) {
	text, err := p.areaText(start, length)
	if err == nil && text == "" {
		return // not of any group yet
	}
	var m section
	if err == nil {
		m, err = parseText(text)
	}
	if err != nil {
		p.problem = err
		return
	}
	if g, other := m.group(), p.metadata.group(); other == nil || g != nil && g.number("seqno") > other.number("seqno") {
		p.metadata = m
	}
}

func (p *PV) areaText(start, length uint64) (string, error) {
	le := binary.LittleEndian
	if start > uint64(p.Size) || length > uint64(p.Size)-start || length < 1024 {
		return "", formatError("metadata area", -1, fmt.Errorf("%w: %d bytes at %d", fsys.ErrCorrupt, length, start))
	}
	off := int64(start)
	h := make([]byte, 512)
	if n, err := p.r.ReadAt(h, off); n < len(h) {
		return "", formatError("metadata area", off, unexpected(err))
	}
	if string(h[4:20]) != " LVM2 x[5A%r0N*>" || le.Uint32(h[20:]) != 1 || le.Uint64(h[24:]) != start {
		return "", formatError("metadata area", off, fsys.ErrCorrupt)
	}
	if checksum(h[4:]) != le.Uint32(h) {
		return "", formatError("metadata area", off, fsys.ErrChecksum)
	}
	at, size, sum, flags := le.Uint64(h[40:]), le.Uint64(h[48:]), le.Uint32(h[56:]), le.Uint32(h[60:])
	if at == 0 || flags&1 != 0 {
		return "", nil
	}
	if at < 512 || at >= length || size > length-512 || size > maxText {
		return "", formatError("metadata", off, fmt.Errorf("%w: %d bytes at %d of %d", fsys.ErrCorrupt, size, at, length))
	}
	text := make([]byte, size)
	first := min(size, length-at) // the area is a ring
	for _, piece := range []struct {
		b   []byte
		off int64
	}{{text[:first], off + int64(at)}, {text[first:], off + 512}} {
		if n, err := p.r.ReadAt(piece.b, piece.off); n < len(piece.b) {
			return "", formatError("metadata", piece.off, unexpected(err))
		}
	}
	if checksum(text) != sum {
		return "", formatError("metadata", off+int64(at), fsys.ErrChecksum)
	}
	return string(text), nil
}

func checksum(b []byte) uint32 { return ^crc32.Update(^uint32(0xF597A6CF), crc32.IEEETable, b) }

func formatError(structure string, off int64, err error) error {
	return &fsys.FormatError{FS: "lvm", Struct: structure, Off: off, Err: err}
}

func unexpected(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
