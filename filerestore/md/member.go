package md

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// ErrNone is returned for what is no member of an array.
var ErrNone = errors.New("no member of a software RAID")

const (
	magic      = 0xA92B4EFC
	sectorSize = 512
	roleSpare  = 0xFFFE // and above
)

// Member is a disk, or part of one, of an array.
type Member struct {
	Array     string // UUID of the array, 32 hexadecimal digits
	Name      string // of the array, as it is on disk
	Level     int32  // 1 is RAID1
	Disks     uint32 // of the array
	Events    uint64 // the more, the newer
	InSync    bool   // it holds all of the content
	Off, Size int64  // of the content, in bytes

	Source io.ReaderAt // what it was read from
}

// Read looks for a superblock. Errors: [ErrNone], fsys.ErrCorrupt where there is one that
// is broken, and those of r.
func Read(r io.ReaderAt, size int64) (*Member, error) {
	aligned := size / sectorSize * sectorSize
	for _, off := range []int64{4096, 0, (aligned - 16*sectorSize) &^ 4095} {
		b, err := read(r, size, off, 256)
		if err != nil {
			return nil, err
		}
		if b != nil && binary.LittleEndian.Uint32(b) == magic && binary.LittleEndian.Uint32(b[4:]) == 1 &&
			binary.LittleEndian.Uint64(b[144:]) == uint64(off/sectorSize) {
			return parse1(r, size, off, b)
		}
	}
	off := size&^(64<<10-1) - 64<<10
	b, err := read(r, size, off, 4096)
	if err != nil {
		return nil, err
	}
	if b != nil && binary.LittleEndian.Uint32(b) == magic && binary.LittleEndian.Uint32(b[4:]) == 0 && binary.LittleEndian.Uint32(b[8:]) == 90 {
		return parse0(r, off, b)
	}
	return nil, fmt.Errorf("md: %w", ErrNone)
}

// read returns nil where the device is too short.
func read(r io.ReaderAt, size, off, n int64) ([]byte, error) {
	if off < 0 || off+n > size {
		return nil, nil
	}
	b := make([]byte, n)
	if got, err := r.ReadAt(b, off); int64(got) < n {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, formatError(off, err)
	}
	return b, nil
}

func parse1(r io.ReaderAt, size, off int64, b []byte) (*Member, error) {
	le := binary.LittleEndian
	roles := int64(le.Uint32(b[220:]))
	if roles > 4096 {
		return nil, formatError(off, fmt.Errorf("%w: %d roles", fsys.ErrCorrupt, roles))
	}
	all, err := read(r, size, off, 256+2*roles)
	if err != nil {
		return nil, err
	}
	if all == nil || checksum(all) != le.Uint32(b[216:]) {
		return nil, formatError(off, fsys.ErrChecksum)
	}
	start, length := le.Uint64(b[128:]), le.Uint64(b[80:])
	if have := le.Uint64(b[136:]); length == 0 || length > have {
		length = have
	}
	if limit := uint64(size / sectorSize); start > limit || length > limit-start {
		return nil, formatError(off, fmt.Errorf("%w: %d sectors at %d of %d", fsys.ErrCorrupt, length, start, limit))
	}
	own, features := int64(le.Uint32(b[160:])), le.Uint32(b[8:])
	m := &Member{
		Array: fmt.Sprintf("%x", b[16:32]), Name: strings.TrimRight(string(b[32:64]), "\x00"), Level: int32(le.Uint32(b[72:])),
		Disks: le.Uint32(b[92:]), Events: le.Uint64(b[200:]), Off: int64(start) * sectorSize, Size: int64(length) * sectorSize, Source: r,
	}
	const recovering = 2
	m.InSync = own < roles && le.Uint16(all[256+2*own:]) < roleSpare-1 && features&recovering == 0
	return m, nil
}

// checksum adds up words, that of the checksum itself as zero.
func checksum(b []byte) uint32 {
	sum := uint64(0)
	for i := 0; i+4 <= len(b); i += 4 {
		if i != 216 {
			sum += uint64(binary.LittleEndian.Uint32(b[i:]))
		}
	}
	if len(b)%4 == 2 {
		sum += uint64(binary.LittleEndian.Uint16(b[len(b)-2:]))
	}
	return uint32(sum) + uint32(sum>>32)
}

func parse0(r io.ReaderAt, off int64, b []byte) (*Member, error) {
	le := binary.LittleEndian
	m := &Member{
		Array: fmt.Sprintf("%x%x", b[20:24], b[52:64]), Level: int32(le.Uint32(b[28:])), Disks: le.Uint32(b[40:]),
		Events: le.Uint64(b[156:]), Size: int64(le.Uint32(b[32:])) << 10, Source: r,
	}
	const faulty, inSync = 1, 4
	state := le.Uint32(b[3984:])
	m.InSync = state&faulty == 0 && state&inSync != 0
	if m.Size > off {
		return nil, formatError(off, fmt.Errorf("%w: %d bytes of content", fsys.ErrCorrupt, m.Size))
	}
	if m.Size == 0 {
		m.Size = off
	}
	return m, nil
}

func formatError(off int64, err error) error {
	return &fsys.FormatError{FS: "md", Struct: "superblock", Off: off, Err: err}
}
