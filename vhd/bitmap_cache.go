package vhd

import (
	"sync"
	"sync/atomic"
)

// maxCachedBitmaps bounds the bytes of bitmaps that one image, or the images of
// one chain together, keep.
const maxCachedBitmaps = 1 << 20

// bitmapCache remembers which blocks are full, a bit each, and some bitmaps of
// the others.
type bitmapCache struct {
	full []atomic.Uint32
	pool sync.Pool

	mu      sync.RWMutex
	partial map[int]bitmap
	bytes   int
	limit   int
}

func (c *bitmapCache) init(blocks int) {
	c.full = make([]atomic.Uint32, (blocks+31)/32)
	c.limit = maxCachedBitmaps
}

// setLimit bounds the bytes of bitmaps from now on.
func (c *bitmapCache) setLimit(bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limit = bytes
}

// isFull tells whether a block is known to be full.
func (c *bitmapCache) isFull(block int) bool {
	return c.full[block/32].Load()&(1<<(block%32)) != 0
}

func (c *bitmapCache) setFull(block int) { c.full[block/32].Or(1 << (block % 32)) }

func (c *bitmapCache) get(block int) (bits bitmap, ok bool) {
	if c.isFull(block) {
		return nil, true
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	bits, ok = c.partial[block]
	return bits, ok
}

// put remembers what was read and returns it, nil when the first n sectors are there.
func (c *bitmapCache) put(block int, raw bitmap, n int) bitmap {
	if raw.allSet(n) {
		c.setFull(block)
		return nil
	}
	bits := append(bitmap(nil), raw...)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.partial == nil || c.bytes+len(bits) > c.limit {
		c.partial, c.bytes = make(map[int]bitmap), 0
	}
	c.partial[block] = bits
	c.bytes += len(bits)
	return bits
}

func (c *bitmapCache) buffer(n int) *[]byte {
	if b, ok := c.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, n)
	return &b
}

func (c *bitmapCache) recycle(b *[]byte) { c.pool.Put(b) }
