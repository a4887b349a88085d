// Package pages keeps what readers of volumes read again and again: their
// metadata, in pages, as many as fit the memory given.
package pages

import "sync"

// Size is the unit in which metadata is read and cached, unless blocks are
// larger: neighbours in an inode table or directory come with one read.
const Size = 32 << 10

// Cache keeps the metadata read last. Pages are never written to, so that
// who holds one may keep it after it was dropped. Safe for concurrent use.
type Cache struct {
	size   int64 // of a page
	shards [8]cacheShard
}

// cacheShard drops by second chance: pages in a ring, each with a mark that it
// was used since the hand passed.
type cacheShard struct {
	mu    sync.Mutex
	limit int
	index map[int64]*cachedPage
	ring  []*cachedPage
	hand  int
}

type cachedPage struct {
	number int64
	data   []byte
	used   bool
}

// New makes a cache of pages of the given size, that keeps about memory bytes.
func New(size, memory int64) *Cache {
	c := &Cache{size: size}
	for i := range c.shards {
		c.shards[i].limit = int(max(1, memory/size/int64(len(c.shards))))
		c.shards[i].index = make(map[int64]*cachedPage)
	}
	return c
}

// PageSize returns the size of a page.
func (c *Cache) PageSize() int64 { return c.size }

// Get returns a page, by load where it is not known. Two that miss at once
// both load: that is harmless, and no one waits for another's read.
func (c *Cache) Get(number int64, load func(int64) ([]byte, error)) ([]byte, error) {
	s := &c.shards[number%int64(len(c.shards))]
	s.mu.Lock()
	if p := s.index[number]; p != nil {
		p.used = true
		s.mu.Unlock()
		return p.data, nil
	}
	s.mu.Unlock()
	data, err := load(number)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(&cachedPage{number: number, data: data})
	return data, nil
}

func (s *cacheShard) add(p *cachedPage) {
	if s.index[p.number] != nil {
		return
	}
	s.index[p.number] = p
	if len(s.ring) < s.limit {
		s.ring = append(s.ring, p)
		return
	}
	for s.ring[s.hand].used {
		s.ring[s.hand].used = false
		s.hand = (s.hand + 1) % len(s.ring)
	}
	delete(s.index, s.ring[s.hand].number)
	s.ring[s.hand] = p
	s.hand = (s.hand + 1) % len(s.ring)
}
