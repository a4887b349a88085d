package xva

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// parseName takes the name of a chunk apart: Ref:12/00000003. Numbers have eight digits, and more only when they must.
func parseName(name string) (id string, number int64, err error) {
	id, digits, ok := strings.Cut(name, "/")
	if !ok || validID(id) != nil || len(digits) > 11 {
		return "", 0, ErrMember
	}
	number, err = strconv.ParseInt(digits, 10, 64)
	if err != nil || digits != chunkNumber(number) {
		return "", 0, ErrMember
	}
	return id, number, nil
}

func chunkNumber(n int64) string { return fmt.Sprintf("%08d", n) }

// place finds out where the chunk number of disk id lies, and moves there: cur.pos is its offset. The rules are those of the importer
// of pools. A number says how many chunks come before, those included that were left out as zero; each of these is as long as
// the very first chunk of the archive. A chunk of length 0 has a number and no place.
func (r *Reader) place(id string, number, length int64) error {
	if id != r.cur.disk.ID {
		if err := r.leave(); err != nil {
			return err
		}
		if err := r.enter(id); err != nil {
			return err
		}
	}
	gap := number - r.cur.number - 1
	if gap < 0 {
		return fmt.Errorf("%w: chunk %d after chunk %d", ErrOrder, number, r.cur.number)
	}
	if gap > 0 {
		if r.unit == 0 || r.small {
			return fmt.Errorf("%w: the first disk is smaller than a chunk", ErrGap)
		}
		if gap > (math.MaxInt64-r.cur.pos-MaxChunk)/r.unit {
			return fmt.Errorf("%w: beyond any disk", ErrOrder)
		}
	}
	pos := r.cur.pos + gap*r.unit
	if size := r.cur.disk.Size; size >= 0 && pos >= size {
		return fmt.Errorf("%w: chunk at %d of a disk of %d bytes", ErrOrder, pos, size)
	}
	r.cur.pos, r.cur.number = pos, number
	r.stats.Gaps += gap
	if !r.began {
		r.began, r.unit = true, length
		r.small = length < ChunkSize && (r.cur.disk.Size < 0 || length >= r.cur.disk.Size)
	}
	return nil
}

// leave ends the disk that was read.
func (r *Reader) leave() error {
	if d := r.cur.disk; r.cur.pos < d.Size {
		return fmt.Errorf("%w: %s has %d of %d bytes", ErrIncomplete, d.ID, r.cur.pos, d.Size)
	}
	return nil
}

// enter begins a disk: the next of the list, or one that is not listed where that is allowed.
func (r *Reader) enter(id string) error {
	if id <= r.cur.disk.ID {
		return fmt.Errorf("%w: %s after %s", ErrOrder, id, r.cur.disk.ID)
	}
	if r.next < len(r.disks) && r.disks[r.next].ID == id {
		r.cur = progress{r.disks[r.next], 0, -1}
		r.next++
		r.skipEmpty()
		return nil
	}
	for _, d := range r.disks {
		if d.ID == id && d.Size > 0 {
			return fmt.Errorf("%w: %s where %s should be", ErrOrder, id, r.disks[r.next].ID)
		}
	}
	if !r.opts.Unlisted {
		return fmt.Errorf("%w: %w", ErrMember, errUnlisted)
	}
	r.cur = progress{Disk{id, -1}, 0, -1}
	return nil
}

var errUnlisted = errors.New("ova.xml does not list this disk")

// skipEmpty passes over disks of size 0, which have no chunks.
func (r *Reader) skipEmpty() {
	for r.next < len(r.disks) && r.disks[r.next].Size == 0 {
		r.next++
	}
}
