package vhd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"strconv"
	"sync"
	"sync/atomic"
)

// blocksPerDir is how many blocks of a disk share a directory.
const blocksPerDir = 1000

// dirBlocks are the blocks of a disk that is kept as a directory:
//
//	chunk-filters.json        how everything below is compressed
//	header, footer            as in a file
//	bat                       a bit per block, the highest of the first byte for block 0
//	blocks/<i/1000>/<i%1000>  bitmap and data of block i
//
// A merge moves the blocks of the youngest images into the directory of the
// oldest; see moved for how they are found meanwhile.
type dirBlocks struct {
	ctx    context.Context //nolint:containedctx // an io.ReaderAt has no other way to end, see http.Request.Body
	dir    Dir
	name   string // given to OpenDirectory: of the alias, or of the directory
	root   string // of the directory
	filter ChunkFilter
	uuid   UUID
	parent UUID

	bits      bitmap // of the blocks that exist
	blocks    int
	blockSize int64
	bitmapLen int64

	cache atomic.Pointer[chunkCache]

	mu    sync.Mutex
	other *dirBlocks // where a merge moves the blocks to, once it was needed
}

// path returns the name of the file of a block.
func (d *dirBlocks) path(block int) string {
	return path.Join(d.root, "blocks", strconv.Itoa(block/blocksPerDir), strconv.Itoa(block%blocksPerDir))
}

func (d *dirBlocks) holds(block int) bool { return block < d.blocks && d.bits.has(block) }

func (d *dirBlocks) all() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range d.blocks {
			if d.bits.has(i) && !yield(i) {
				return
			}
		}
	}
}

// readBitmap fails for a block without any sector: XO writes none, but a crash
// leaves files of zeros.
func (d *dirBlocks) readBitmap(b []byte, block int) error {
	c := d.cache.Load()
	if ch := c.peek(d, block); ch != nil {
		copy(b, ch.data)
		c.release(ch)
	} else if err := d.readPrefix(b, block, c); err != nil {
		return err
	}
	if isZero(b) {
		return &FormatError{Name: d.path(block), Struct: "bitmap", Err: fmt.Errorf("no sector is set: %w", ErrIncomplete)}
	}
	return nil
}

func (d *dirBlocks) readPrefix(b []byte, block int, c *chunkCache) error {
	return d.read(block, func(f DirFile, filter ChunkFilter) error {
		if filter == FilterNone {
			return d.readPlain(f, b, 0)
		}
		return c.decodePrefix(f, filter, b, d.bitmapLen+d.blockSize)
	})
}

func (d *dirBlocks) readData(p []byte, block int, within int64) error {
	if d.filter != FilterNone {
		return d.copyChunk(p, block, within)
	}
	return d.read(block, func(f DirFile, filter ChunkFilter) error {
		if filter != FilterNone {
			return d.copyChunk(p, block, within)
		}
		return d.readPlain(f, p, d.bitmapLen+within)
	})
}

// readPlain reads from the file of a block that is not compressed.
func (d *dirBlocks) readPlain(f DirFile, p []byte, off int64) error {
	size, err := f.Size()
	switch whole := d.bitmapLen + d.blockSize; {
	case err != nil:
		return err
	case size < whole:
		return ErrTruncated
	case size > whole:
		return ErrTrailingData
	}
	return readExact(f, p, off)
}

func (d *dirBlocks) copyChunk(p []byte, block int, within int64) error {
	c := d.cache.Load()
	ch, err := c.acquire(d, block)
	if err != nil {
		return err
	}
	defer c.release(ch)
	copy(p, ch.data[d.bitmapLen+within:])
	return nil
}

// load fills data with a block, its bitmap first.
func (d *dirBlocks) load(block int, data []byte, dec *decoders) error {
	return d.read(block, func(f DirFile, filter ChunkFilter) error {
		return dec.decode(f, filter, data, 0)
	})
}

// read opens the file of a block, wherever it is, for use.
func (d *dirBlocks) read(block int, use func(f DirFile, filter ChunkFilter) error) error {
	name, filter := d.path(block), d.filter
	f, err := d.dir.Open(d.ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		var other *dirBlocks
		if other, err = d.moved(block, err); err == nil {
			name, filter = other.path(block), other.filter
			f, err = d.dir.Open(d.ctx, name)
		}
	}
	if err == nil {
		err = errors.Join(use(f, filter), f.Close())
	}
	return located(err, name, "block", 0)
}

// confirm has nothing to find: files of blocks are replaced as a whole, and only
// by what a younger image held, which a chain does not ask an older one for. A
// block that is gone is an error of the read.
func (d *dirBlocks) confirm() error { return nil }
