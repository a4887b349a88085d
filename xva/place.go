package xva

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// walk follows the members of an archive and says where each lies, by the rules of the importer of pools.
type walk struct {
	unlisted bool // disks that ova.xml does not list are accepted
	disks    []Disk
	next     int // index in disks of the disk that must come next
	cur      progress
	unit     int64 // length of the first chunk of the archive: the size of each gap
	small    bool  // that chunk is a whole disk, so it says nothing of others
	began    bool
	stats    Stats
}

// progress of the disk that is being read.
type progress struct {
	disk   Disk
	pos    int64 // end of the last chunk
	number int64 // of the last chunk, -1 before the first
}

const (
	minDigits = 8 // of a chunk's number; more only when they are needed
	maxDigits = 11
)

// parseName takes the name of a chunk apart: Ref:12/00000003.
func parseName(name []byte) (id []byte, number int64, ok bool) {
	slash := slices.Index(name, '/')
	if slash < 0 {
		return nil, 0, false
	}
	id, digits := name[:slash], name[slash+1:]
	if len(digits) < minDigits || len(digits) > maxDigits || len(digits) > minDigits && digits[0] == '0' {
		return nil, 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return nil, 0, false
		}
		number = number*10 + int64(c-'0')
	}
	return id, number, true
}

// appendNumber appends the digits of a chunk's number.
func appendNumber(dst []byte, n int64) []byte {
	start := len(dst)
	for dst = fmt.Append(dst, n); len(dst) < start+minDigits; {
		dst = slices.Insert(dst, start, '0')
	}
	return dst
}

// place finds out where the chunk number of disk id lies, and moves there: cur.pos is its offset. A number says how many chunks come
// before, those included that were left out as zero; each of these is as long as the very first chunk of the archive. A chunk of
// length 0 has a number and no place.
func (w *walk) place(id []byte, number, length int64) error {
	if string(id) != w.cur.disk.ID {
		if !validID(id) {
			return ErrMember
		}
		if err := w.leave(); err != nil {
			return err
		}
		if err := w.enter(string(id)); err != nil {
			return err
		}
	}
	gap := number - w.cur.number - 1
	if gap < 0 {
		return fmt.Errorf("%w: chunk %d after chunk %d", ErrOrder, number, w.cur.number)
	}
	if gap > 0 {
		if w.unit == 0 || w.small {
			return fmt.Errorf("%w: the first disk is smaller than a chunk", ErrGap)
		}
		if gap > (math.MaxInt64-w.cur.pos-MaxChunk)/w.unit {
			return fmt.Errorf("%w: beyond any disk", ErrOrder)
		}
	}
	pos := w.cur.pos + gap*w.unit
	if size := w.cur.disk.Size; size >= 0 && pos >= size {
		return fmt.Errorf("%w: chunk at %d of a disk of %d bytes", ErrOrder, pos, size)
	}
	w.cur.pos, w.cur.number = pos, number
	w.stats.Gaps += gap
	if !w.began {
		w.began, w.unit = true, length
		w.small = length < ChunkSize && (w.cur.disk.Size < 0 || length >= w.cur.disk.Size)
	}
	return nil
}

// advance passes over a chunk that was placed, and returns how many of its bytes are of the disk: some writers fill up the last chunk.
func (w *walk) advance(length int64) int64 {
	if length == 0 {
		w.stats.Keepalives++
		return 0
	}
	used := length
	if w.cur.disk.Size >= 0 {
		used = min(length, w.cur.disk.Size-w.cur.pos)
	}
	w.cur.pos += length
	w.stats.Chunks++
	w.stats.Bytes += used
	return used
}

// leave ends the disk that was read.
func (w *walk) leave() error {
	if d := w.cur.disk; w.cur.pos < d.Size {
		return fmt.Errorf("%w: %s has %d of %d bytes", ErrIncomplete, d.ID, w.cur.pos, d.Size)
	}
	return nil
}

// end checks that nothing is missing where the archive ends.
func (w *walk) end() error {
	if err := w.leave(); err != nil {
		return err
	}
	if w.next < len(w.disks) {
		return fmt.Errorf("%w: %s is missing", ErrIncomplete, w.disks[w.next].ID)
	}
	return nil
}

// covered reports whether every listed disk was read up to its size.
func (w *walk) covered() bool { return w.next == len(w.disks) && w.cur.pos >= w.cur.disk.Size }

// enter begins a disk: the next of the list, or one that is not listed where that is allowed.
func (w *walk) enter(id string) error {
	if id <= w.cur.disk.ID {
		return fmt.Errorf("%w: %s after %s", ErrOrder, id, w.cur.disk.ID)
	}
	if w.next < len(w.disks) && w.disks[w.next].ID == id {
		w.cur = progress{w.disks[w.next], 0, -1}
		w.next++
		w.skipEmpty()
		return nil
	}
	for _, d := range w.disks {
		if d.ID == id && d.Size > 0 {
			return fmt.Errorf("%w: %s where %s should be", ErrOrder, id, w.disks[w.next].ID)
		}
	}
	if !w.unlisted {
		return fmt.Errorf("%w: %w", ErrMember, errUnlisted)
	}
	w.cur = progress{Disk{id, -1}, 0, -1}
	return nil
}

var errUnlisted = errors.New("ova.xml does not list this disk")

// skipEmpty passes over disks of size 0, which have no chunks.
func (w *walk) skipEmpty() {
	for w.next < len(w.disks) && w.disks[w.next].Size == 0 {
		w.next++
	}
}
