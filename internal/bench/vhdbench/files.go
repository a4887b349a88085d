package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"

	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// dataBlocks returns the blocks of the disk that are data: 55 % of them.
func (b *vhdBench) dataBlocks() []uint32 {
	var blocks []uint32
	for i := range uint32(b.Size / disk.BlockSize) {
		if i*11%20 < 11 {
			blocks = append(blocks, i)
		}
	}
	return blocks
}

// fill gives a block its content: random bytes in every second block, text in the others.
func fill(buf []byte, block uint32, seed byte) {
	if block%2 == 0 {
		rnd := rand.NewChaCha8([32]byte{seed, byte(block), byte(block >> 8)})
		_, _ = rnd.Read(buf)
		return
	}
	line := fmt.Appendf(nil, "block %d of version %d: the quick brown fox jumps over the lazy dog\n", block, seed)
	for at := 0; at < len(buf); at += len(line) {
		copy(buf[at:], line)
	}
}

// makeRaw makes the disk as a sparse raw file.
func (b *vhdBench) makeRaw(name string) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(b.Size); err != nil {
		return err
	}
	buf := make([]byte, disk.BlockSize)
	for _, block := range b.dataBlocks() {
		fill(buf, block, 0)
		if _, err := f.WriteAt(buf, int64(block)*disk.BlockSize); err != nil {
			return err
		}
		b.Bytes += disk.BlockSize
	}
	return nil
}

// makeChain makes the same disk as images named chain-NN.vhd; each holds its share of the
// blocks, and the youngest is returned.
func (b *vhdBench) makeChain(raw string, links int) (leaf string, err error) {
	src, err := os.Open(raw)
	if err != nil {
		return "", err
	}
	defer src.Close()
	all := b.dataBlocks()
	for k := range links {
		var mine []uint32
		for i, block := range all {
			if i%links == k {
				mine = append(mine, block)
			}
		}
		leaf = fmt.Sprintf("chain-%02d.vhd", k)
		l := vhd.Layout{Type: vhd.Dynamic, Size: b.Size, UUID: vhd.UUID{byte(k + 1)}, Blocks: mine}
		if k > 0 {
			l.Type, l.ParentUUID, l.ParentName = vhd.Differencing, vhd.UUID{byte(k)}, fmt.Sprintf("chain-%02d.vhd", k-1)
		}
		err := writeVHD(b.Path(leaf), l, func(buf []byte, block uint32) error {
			_, err := src.ReadAt(buf, int64(block)*disk.BlockSize)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return b.Path(leaf), nil
}

// makeMerge makes an image and its child, which holds changed blocks of the given bytes.
func (b *vhdBench) makeMerge(changed int64) error {
	blocks := b.dataBlocks()[:changed/disk.BlockSize]
	for k, name := range []string{"old.vhd", "new.vhd"} {
		l := vhd.Layout{Type: vhd.Dynamic, Size: b.Size, UUID: vhd.UUID{byte(k + 1)}, Blocks: blocks}
		if k > 0 {
			l.Type, l.ParentUUID, l.ParentName = vhd.Differencing, vhd.UUID{byte(k)}, "old.vhd"
		}
		err := writeVHD(b.Path(name), l, func(buf []byte, block uint32) error {
			fill(buf, block, byte(k))
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func writeVHD(name string, l vhd.Layout, content func(buf []byte, block uint32) error) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w, err := vhd.NewStreamWriter(f, l)
	if err != nil {
		return err
	}
	buf := make([]byte, disk.BlockSize)
	for _, block := range l.Blocks {
		if err := content(buf, block); err != nil {
			return err
		}
		if err := w.WriteBlock(block, buf); err != nil {
			return err
		}
	}
	return w.Close()
}

// makeHuge makes an image of almost 2 TiB that holds little.
func makeHuge(name string) error {
	l := vhd.Layout{Type: vhd.Dynamic, Size: 2040 << 30, UUID: vhd.UUID{1}, Blocks: []uint32{0, 500000, 1044479}}
	return writeVHD(name, l, func([]byte, uint32) error { return nil })
}

// sameDisk fails if two files do not hold the same bytes.
func sameDisk(ctx context.Context, got, want string) error {
	return withDisk(ctx, got, func(a disk.Source) error {
		return withDisk(ctx, want, func(b disk.Source) error {
			if a.Size() != b.Size() {
				return fmt.Errorf("%s has %d bytes, not %d", got, a.Size(), b.Size())
			}
			x, y := make([]byte, disk.BlockSize), make([]byte, disk.BlockSize)
			for off := int64(0); off < a.Size(); off += disk.BlockSize {
				n := min(disk.BlockSize, a.Size()-off)
				_, err := a.ReadAt(x[:n], off)
				if _, other := b.ReadAt(y[:n], off); err != nil || other != nil {
					return errors.Join(err, other)
				}
				if !bytes.Equal(x[:n], y[:n]) {
					return fmt.Errorf("%s differs at offset %d", got, off)
				}
			}
			return nil
		})
	})
}
