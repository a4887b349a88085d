package xva

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

// CopyTo writes the disks of an archive, from where the Reader stands to the end, each to what open returns for it. open is called for
// each disk when its first chunk has come; nil means that this disk is only verified. What CopyTo writes to must read as zeros: it
// writes chunks without their blocks of zeros, in ascending order, and leaves out the rest, so that a new file, truncated to the size of
// the disk, becomes sparse. A *vhd.RW becomes a VHD. Nothing is synced or closed.
//
// When it returns nil the archive is proven complete, as by io.EOF of [Reader.Next]. Reading, verifying and writing go on at the same
// time, as with [Reader.Chunks].
func (r *Reader) CopyTo(ctx context.Context, open func(Disk) (io.WriterAt, error)) error {
	id := ""
	var dst io.WriterAt
	return r.eachChunk(ctx, func(c Chunk) error {
		if id != c.Disk.ID {
			var err error
			if dst, err = open(c.Disk); err != nil {
				return fmt.Errorf("xva: %s: %w", c.Disk.ID, err)
			}
			id = c.Disk.ID
		}
		if dst == nil {
			return nil
		}
		if err := writeSparse(dst, c.Data, c.Off); err != nil {
			return fmt.Errorf("xva: %s: write at %d: %w", id, c.Off, err)
		}
		return nil
	})
}

// grain is the smallest run of zeros that is left out.
const grain = 64 << 10

var zeros [grain]byte

// writeSparse writes data without its grains of zeros.
func writeSparse(dst io.WriterAt, data []byte, off int64) error {
	start := 0 // of what is to be written
	flush := func(end int) error {
		if start == end {
			return nil
		}
		_, err := dst.WriteAt(data[start:end], off+int64(start))
		return err
	}
	for at := 0; at < len(data); {
		next := min(at+grain, len(data))
		if isZero(data[at:next]) {
			if err := flush(at); err != nil {
				return err
			}
			start = next
		}
		at = next
	}
	return flush(len(data))
}

var errBlocks = fmt.Errorf("%w: a disk of more than 2^32 blocks", ErrTooLarge)

// isZero looks at no more than a grain.
func isZero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }

// Blocks reads an archive from where the Reader stands to the end, and returns by id of each disk which blocks of [disk.BlockSize]
// hold anything but zeros, ascending. That is what the header of a VHD stream wants to know before the first block, and the proof that
// the archive is whole; a second reading then sends it.
func (r *Reader) Blocks(ctx context.Context) (map[string][]uint32, error) {
	all := make(map[string][]uint32, len(r.disks))
	for _, d := range r.disks {
		all[d.ID] = nil
	}
	err := r.eachChunk(ctx, func(c Chunk) error {
		blocks := all[c.Disk.ID]
		for at := int64(0); at < int64(len(c.Data)); {
			block := (c.Off + at) / disk.BlockSize
			if block > math.MaxUint32 {
				return r.fail(errBlocks)
			}
			next := min(int64(len(c.Data)), at+grain, (block+1)*disk.BlockSize-c.Off)
			if n := len(blocks); n > 0 && int64(blocks[n-1]) == block {
				next = min(int64(len(c.Data)), (block+1)*disk.BlockSize-c.Off)
			} else if !isZero(c.Data[at:next]) {
				blocks = append(blocks, uint32(block))
			}
			at = next
		}
		all[c.Disk.ID] = blocks
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
