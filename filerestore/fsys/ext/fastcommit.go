package ext

import (
	"context"
	"fmt"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// Tags of fast commits. All their numbers are little-endian: 16 bits of tag, 16
// of length, then the value.
const (
	fastAddRange = 1 // inode, extent of 12 bytes
	fastDelRange = 2 // inode, first block, blocks
	fastCreate   = 3 // directory, inode, name
	fastLink     = 4 // likewise
	fastUnlink   = 5 // likewise
	fastInode    = 6 // inode, its bytes
	fastPad      = 7
	fastTail     = 8 // transaction, checksum; the rest of the block is not used
	fastHead     = 9 // features, transaction
)

const (
	fastTagSize = 4 // of tag and length

	// maxFastArea bounds the area that is read; that of mkfs is 1 MiB at most.
	maxFastArea = 8 << 20
)

// fastTagged is a tag and its value.
type fastTagged struct {
	tag   uint16
	value []byte
}

// fastLog reads the area of fast commits behind the log: small changes on top
// of the last transaction, each of them ended by a tail. The area begins with a
// head, and is written from its start again after each transaction.
type fastLog struct {
	j           *journal
	transaction uint32 // which they are on top of, and one
	sum         uint32
	open        []fastTagged // of the one at hand
}

// run passes the tags of each fast commit that is complete to apply. What
// follows the last one is of older times, or was not written to its end.
func (l *fastLog) run(ctx context.Context, apply func([]fastTagged) error) (commits int, err error) {
	j := l.j
	if j.fastCommits == 0 || j.start == 0 {
		return 0, nil
	}
	bs := j.f.sb.blockSize
	for b := j.fastCommits; b < j.runs[len(j.runs)-1].end() && b < j.fastEnd; b++ {
		if err := ctx.Err(); err != nil {
			return commits, err
		}
		if int64(b-j.fastCommits+1)*bs > maxFastArea {
			return commits, fmt.Errorf("%w: more than %d bytes of them", fsys.ErrLimit, maxFastArea)
		}
		block := make([]byte, bs) // the tags refer to it
		if err := j.read(block, b); err != nil {
			return commits, err
		}
		n, more, err := l.block(block, b == j.fastCommits, apply)
		if commits += n; err != nil || !more {
			return commits, err
		}
	}
	return commits, nil
}

// block reads the tags of a block. more tells that the following one may have
// some too.
func (l *fastLog) block(b []byte, first bool, apply func([]fastTagged) error) (commits int, more bool, err error) {
	for o := 0; o+fastTagSize <= len(b); {
		t := fastTagged{tag: le.Uint16(b[o:])}
		n := int(le.Uint16(b[o+2:]))
		if t.tag == 0 || n > len(b)-o-fastTagSize || first && o == 0 && t.tag != fastHead {
			return commits, t.tag == 0 && o > 0, nil
		}
		whole := b[o:][:fastTagSize+n]
		t.value = whole[fastTagSize:]
		o += len(whole)
		switch t.tag {
		case fastHead:
			if n < 8 || le.Uint32(t.value[4:]) != l.transaction {
				return commits, false, nil
			}
			if features := le.Uint32(t.value); features != 0 {
				return commits, false, fmt.Errorf("%w: features %#x", fsys.ErrUnsupported, features)
			}
			l.sum, l.open = crc32c(0, whole), nil
		case fastTail:
			if n < 8 || le.Uint32(t.value) != l.transaction || crc32c(l.sum, whole[:8]) != le.Uint32(t.value[4:]) {
				return commits, false, nil
			}
			if err := apply(l.open); err != nil {
				return commits, false, err
			}
			commits++
			l.sum, l.open = 0, nil
		default:
			if len(l.open) >= maxFastChanges {
				return commits, false, fmt.Errorf("%w: more than %d changes", fsys.ErrLimit, maxFastChanges)
			}
			l.sum = crc32c(l.sum, whole)
			l.open = append(l.open, t)
		}
	}
	return commits, true, nil
}
