package vhd

import "sync"

// maxCachedChunks bounds the bytes of decoded blocks that a cache keeps, beside
// those that are in use at the moment.
const maxCachedChunks = 16 << 20

// chunkCache keeps decoded blocks of disks that are kept as directories: any
// read of a block needs all of it decoded. The images of a [Chain] share one.
type chunkCache struct {
	decoders

	mu     sync.Mutex
	chunks []*chunk // few: they are searched one by one
	bytes  int64
	clock  uint64 // counts uses
}

// chunk is a block of an image, its bitmap and then its data.
type chunk struct {
	owner *dirBlocks
	block int

	users int    // guarded by chunkCache.mu, as is used
	used  uint64 // the clock when it was used last

	mu     sync.Mutex
	loaded bool
	data   []byte
}

// acquire returns a block, decoding it if it is not there. The caller releases it.
func (c *chunkCache) acquire(owner *dirBlocks, block int) (*chunk, error) {
	ch := c.find(owner, block, true)
	ch.mu.Lock()
	var err error
	if !ch.loaded {
		err = owner.load(block, ch.data, &c.decoders)
		ch.loaded = err == nil
	}
	ch.mu.Unlock()
	if err != nil {
		c.release(ch)
		return nil, err
	}
	return ch, nil
}

// peek returns a block if it is there and decoded, nil otherwise.
func (c *chunkCache) peek(owner *dirBlocks, block int) *chunk {
	ch := c.find(owner, block, false)
	if ch == nil {
		return nil
	}
	ch.mu.Lock()
	loaded := ch.loaded
	ch.mu.Unlock()
	if !loaded {
		c.release(ch)
		return nil
	}
	return ch
}

// find returns the place of a block, in use. Without one it makes one, or returns nil.
func (c *chunkCache) find(owner *dirBlocks, block int, makeOne bool) *chunk {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock++
	for _, ch := range c.chunks {
		if ch.owner == owner && ch.block == block {
			ch.users++
			ch.used = c.clock
			return ch
		}
	}
	if !makeOne {
		return nil
	}
	ch := &chunk{owner: owner, block: block, users: 1, used: c.clock, data: c.room(int(owner.bitmapLen + owner.blockSize))}
	c.chunks = append(c.chunks, ch)
	c.bytes += int64(len(ch.data))
	return ch
}

// room returns a buffer of n bytes, that of the block that was not used for the
// longest time if the cache is full.
func (c *chunkCache) room(n int) []byte {
	var free []byte
	for c.bytes+int64(n) > maxCachedChunks {
		oldest := -1
		for i, ch := range c.chunks {
			if ch.users == 0 && (oldest < 0 || ch.used < c.chunks[oldest].used) {
				oldest = i
			}
		}
		if oldest < 0 {
			break
		}
		free = c.drop(oldest)
	}
	if cap(free) >= n {
		return free[:n]
	}
	return make([]byte, n)
}

func (c *chunkCache) drop(i int) []byte {
	data := c.chunks[i].data
	last := len(c.chunks) - 1
	c.chunks[i] = c.chunks[last]
	c.chunks[last] = nil
	c.chunks = c.chunks[:last]
	c.bytes -= int64(len(data))
	return data
}

// release gives a block back. One that could not be decoded stays, to be tried
// again by who wants it next.
func (c *chunkCache) release(ch *chunk) {
	c.mu.Lock()
	ch.users--
	c.mu.Unlock()
}
