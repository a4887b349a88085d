package ext

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// Types of blocks in the log.
const (
	logDescriptor = 1
	logCommit     = 2
	logRevoke     = 5
)

// maxRefs bounds the memory of a replay: 2 Mi blocks, 8 GiB of them in flight
// at 4 KiB each. The journals of mkfs have at most 1 GiB.
const maxRefs = 2 << 20

// maxRevoked bounds the blocks that are revoked; they take 40 bytes each.
const maxRevoked = 1 << 20

// replay is what reading the log found.
type replay struct {
	j     *journal
	block []byte // the control block at hand
	data  []byte // a block of data at hand

	refs    []ref             // of complete transactions, and at the end of the one at hand
	revokes []uint64          // of the one at hand
	revoked map[uint64]uint32 // block to the newest transaction that revoked it

	done    uint32 // complete transactions
	keep    int    // refs of complete transactions
	sum     uint32 // v1 checksum of the one at hand
	bad     int    // blocks of the one at hand whose checksum is wrong
	skipped int    // such blocks in complete transactions

	damage error // why the log was not read to its end, if it was not
}

// ref is a block in the log.
type ref struct {
	relocated
	transaction uint32 // counted from the oldest: sequence numbers wrap
}

// run reads the log from the oldest transaction to the last complete one.
// What it returns is an I/O error, or that of ctx; damage ends the log.
func (r *replay) run(ctx context.Context) error {
	j := r.j
	r.block, r.data = make([]byte, j.f.sb.blockSize), make([]byte, j.f.sb.blockSize)
	r.revoked = make(map[uint64]uint32)
	pos, left := j.start, j.length-j.first
	r.sum = ^uint32(0)
	for j.start != 0 && left > 0 && r.damage == nil {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := j.read(r.block, pos); err != nil {
			return err
		}
		if string(r.block[:4]) != journalMagic || be.Uint32(r.block[8:]) != j.sequence+r.done {
			return nil // the end of the log, as it always is
		}
		pos, left = j.next(pos), left-1
		switch be.Uint32(r.block[4:]) {
		case logDescriptor:
			var err error
			if pos, left, err = r.descriptor(pos, left); err != nil {
				return err
			}
		case logRevoke:
			r.revocation()
		case logCommit:
			r.commit()
		default:
			return nil
		}
	}
	return nil
}

// next is the place behind pos; the log is a ring.
func (j *journal) next(pos uint64) uint64 {
	if pos++; pos >= j.length {
		return j.first
	}
	return pos
}

// tailOK verifies the checksum at the end of a descriptor or revocation.
func (r *replay) tailOK() bool {
	if !r.j.checksums() {
		return true
	}
	tail := len(r.block) - 4
	return crc32c(r.j.seed, r.block[:tail], []byte{0, 0, 0, 0}) == be.Uint32(r.block[tail:])
}

// damaged ends the log before the transaction at hand.
func (r *replay) damaged(what string) {
	r.damage = fmt.Errorf("%w: %s of transaction %d", fsys.ErrChecksum, what, r.j.sequence+r.done)
}

// descriptor reads the tags that say where the blocks behind it belong.
func (r *replay) descriptor(pos, left uint64) (uint64, uint64, error) {
	if !r.tailOK() {
		r.damaged("descriptor")
		return pos, left, nil
	}
	v1 := r.j.compat&journalCompatChecksum != 0
	if v1 {
		r.sum = crc32be(r.sum, r.block)
	}
	for rest := r.block[12:]; left > 0; left-- {
		t, n := r.j.tag(rest)
		if n == 0 {
			break
		}
		if len(r.refs) >= maxRefs {
			r.damage = fmt.Errorf("%w: more than %d blocks in the journal", fsys.ErrLimit, maxRefs)
			break
		}
		if v1 || r.j.checksums() {
			if err := r.j.read(r.data, pos); err != nil {
				return 0, 0, err
			}
		}
		if v1 {
			r.sum = crc32be(r.sum, r.data)
		}
		if err := r.add(t, pos); err != nil {
			return 0, 0, err
		}
		pos, rest = r.j.next(pos), rest[n:]
		if t.flags&tagLast != 0 {
			left--
			break
		}
	}
	return pos, left, nil
}

// add notes a block, unless its checksum is wrong or it belongs nowhere.
func (r *replay) add(t tag, pos uint64) error {
	if t.block >= r.j.f.sb.blocks || r.j.checksums() && !r.j.dataOK(t, r.j.sequence+r.done, r.data) {
		r.bad++
		return nil
	}
	phys, err := r.j.phys(pos)
	if err != nil {
		return err
	}
	r.refs = append(r.refs, ref{relocated{home: t.block, journal: phys, escaped: t.flags&tagEscaped != 0}, r.done})
	return nil
}

// revocation reads a list of blocks that must not be replayed from older
// transactions, nor from this one.
func (r *replay) revocation() {
	if !r.tailOK() {
		r.damaged("revocation")
		return
	}
	size := 4
	if r.j.has(journal64Bit) {
		size = 8
	}
	end := min(int(be.Uint32(r.block[12:])), len(r.block))
	for o := 16; o+size <= end; o += size {
		if len(r.revokes) >= maxRevoked || len(r.revoked) >= maxRevoked {
			r.damage = fmt.Errorf("%w: more than %d blocks revoked", fsys.ErrLimit, maxRevoked)
			return
		}
		if size == 8 {
			r.revokes = append(r.revokes, be.Uint64(r.block[o:]))
		} else {
			r.revokes = append(r.revokes, uint64(be.Uint32(r.block[o:])))
		}
	}
}

// commit makes the transaction at hand count.
func (r *replay) commit() {
	if !r.commitOK() {
		r.damaged("commit block")
		return
	}
	if r.bad > 0 && r.j.has(journalAsync) {
		return // the commit was written before its blocks: the log ends here
	}
	for _, v := range r.revokes {
		r.revoked[v] = r.done
	}
	r.skipped += r.bad
	r.revokes, r.bad, r.sum = r.revokes[:0], 0, ^uint32(0)
	r.keep = len(r.refs)
	r.done++
}

// overlay is what complete transactions leave: of each block the newest
// content that was not revoked since.
func (r *replay) overlay() overlay {
	refs := slices.DeleteFunc(r.refs[:r.keep], func(e ref) bool {
		at, ok := r.revoked[e.home]
		return ok && at >= e.transaction
	})
	slices.SortStableFunc(refs, func(a, b ref) int { return cmp.Compare(a.home, b.home) })
	var o overlay
	for i, e := range refs {
		if i+1 == len(refs) || refs[i+1].home != e.home {
			o = append(o, e.relocated)
		}
	}
	return o
}
