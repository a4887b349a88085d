package xapitest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
)

// lookedAt is how much of a block is read at a time to see whether it counts:
// most show it at once.
const lookedAt = 32 << 10

// dataBlocks lists the blocks of a disk that hold a byte other than zero, in
// ascending order. Holes of the file are not read.
func (s *diskStore) dataBlocks(ctx context.Context, f *os.File, size int64) ([]uint32, error) {
	buf, zero := s.buffer(), s.buffer()
	defer s.give(buf)
	defer s.give(zero)
	clear(zero[:])
	var blocks []uint32
	err := eachBlock(ctx, size, f, func(index uint32, off, n int64) error {
		same := true
		for at := int64(0); same && at < n; at += lookedAt {
			data := buf[:min(lookedAt, n-at)]
			if err := readFull(f, data, off+at); err != nil {
				return err
			}
			same = bytes.Equal(data, zero[:len(data)])
		}
		if !same {
			blocks = append(blocks, index)
		}
		return nil
	})
	return blocks, err
}

// differingBlocks lists the blocks of f, of the given size, whose content differs
// from base's; base reads as zeros beyond its end.
func (s *diskStore) differingBlocks(ctx context.Context, f, base *os.File, size int64) ([]uint32, error) {
	mine, theirs := s.buffer(), s.buffer()
	defer s.give(mine)
	defer s.give(theirs)
	candidates := make(map[uint32]bool)
	for _, file := range []*os.File{f, base} {
		if err := eachBlock(ctx, size, file, func(index uint32, _, _ int64) error {
			candidates[index] = true
			return nil
		}); err != nil {
			return nil, err
		}
	}
	var blocks []uint32
	for index := range uint32(blockCount(size)) { // bounded by the format
		if !candidates[index] {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		off := int64(index) * blockSize
		n, same := min(blockSize, size-off), true
		for at := int64(0); same && at < n; at += lookedAt {
			k := min(lookedAt, n-at)
			if err := errors.Join(readFull(f, mine[:k], off+at), readFull(base, theirs[:k], off+at)); err != nil {
				return nil, err
			}
			same = bytes.Equal(mine[:k], theirs[:k])
		}
		if !same {
			blocks = append(blocks, index)
		}
	}
	return blocks, nil
}

// eachBlock calls f for every block that is not wholly in a hole of the file,
// in ascending order.
func eachBlock(ctx context.Context, size int64, file *os.File, f func(index uint32, off, n int64) error) error {
	next := int64(0)
	for ext, err := range dataExtents(file, size) {
		if err != nil {
			return err
		}
		for index := max(next, ext.off/blockSize); index*blockSize < ext.off+ext.len; index++ {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			off := index * blockSize
			if err := f(uint32(index), off, min(blockSize, size-off)); err != nil { // bounded by the format
				return err
			}
			next = index + 1
		}
	}
	return nil
}

// readFull fills p from off; beyond the end of the file are zeros.
func readFull(f *os.File, p []byte, off int64) error {
	n, err := f.ReadAt(p, off)
	if errors.Is(err, io.EOF) {
		clear(p[n:])
		return nil
	}
	return err
}
