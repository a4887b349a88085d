package filerestore

import (
	"io"
	"sync"
)

const (
	// cachePage is what is kept and dropped at once.
	cachePage = 64 << 10
	// directRead is from what length on reads go past the cache: the content of large files.
	directRead = 256 << 10
	// maxAhead is how much is read at once when reads follow each other, in pages.
	maxAhead = 16
)

// blockCache keeps what was read last from all disks of a session, up to a limit.
type blockCache struct {
	mu    sync.Mutex
	limit int
	index map[pageKey]*cachedPage
	ring  []*cachedPage // dropped by second chance
	hand  int
}

type pageKey struct {
	disk   int
	number int64
}

type cachedPage struct {
	key  pageKey
	data []byte // never written to
	used bool
}

func newBlockCache(memory int64) *blockCache {
	return &blockCache{limit: int(max(16, memory/cachePage)), index: map[pageKey]*cachedPage{}}
}

func (c *blockCache) get(key pageKey) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.index[key]
	if p == nil {
		return nil
	}
	p.used = true
	return p.data
}

func (c *blockCache) put(key pageKey, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.index[key] != nil {
		return
	}
	p := &cachedPage{key: key, data: data}
	c.index[key] = p
	if len(c.ring) < c.limit {
		c.ring = append(c.ring, p)
		return
	}
	for c.ring[c.hand].used {
		c.ring[c.hand].used = false
		c.hand = (c.hand + 1) % len(c.ring)
	}
	delete(c.index, c.ring[c.hand].key)
	c.ring[c.hand] = p
	c.hand = (c.hand + 1) % len(c.ring)
}

// cachedDisk is a disk behind the cache. Reads that follow each other get twice as much
// each time, up to 1 MiB, so that a repository on the network is asked rarely.
type cachedDisk struct {
	cache  *blockCache
	number int
	r      io.ReaderAt
	size   int64

	mu      sync.Mutex
	streams [8]stream // the latest
	turn    int
}

// stream is where a run of reads has come to.
type stream struct {
	next  int64 // page
	pages int64 // read at once
}

// ReadAt implements io.ReaderAt.
func (d *cachedDisk) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || len(p) >= directRead {
		return d.r.ReadAt(p, off)
	}
	want := p[:max(0, min(int64(len(p)), d.size-off))]
	for n := 0; n < len(want); {
		at := off + int64(n)
		number, within := at/cachePage, at%cachePage
		page := d.cache.get(pageKey{d.number, number})
		if page == nil {
			last := (off + int64(len(want)) - 1) / cachePage
			var err error
			if page, err = d.load(number, last); err != nil { // a neighbour may be what cannot be read
				m, err := d.r.ReadAt(want[n:], at)
				if n += m; n < len(want) {
					return n, err
				}
				break
			}
		}
		n += copy(want[n:], page[within:])
	}
	if len(want) < len(p) {
		return len(want), io.EOF
	}
	return len(p), nil
}

// load reads the pages from first to last that come without a gap in what is missing,
// and more when it was so before. It returns the first.
func (d *cachedDisk) load(first, last int64) ([]byte, error) {
	n := max(d.ahead(first), last-first+1)
	n = min(n, (d.size+cachePage-1)/cachePage-first)
	for i := int64(1); i < n; i++ {
		if d.cache.get(pageKey{d.number, first + i}) != nil {
			n = i
		}
	}
	buf := make([]byte, min(n*cachePage, d.size-first*cachePage))
	if got, err := d.r.ReadAt(buf, first*cachePage); got < len(buf) {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	d.reached(first, n)
	if n == 1 {
		d.cache.put(pageKey{d.number, first}, buf)
		return buf, nil
	}
	for i := range n {
		piece := buf[i*cachePage : min((i+1)*cachePage, int64(len(buf)))]
		d.cache.put(pageKey{d.number, first + i}, append([]byte(nil), piece...)) // a page alone, not the whole run, stays in memory
	}
	return buf[:min(cachePage, int64(len(buf)))], nil
}

// ahead tells how many pages to read from the first one on.
func (d *cachedDisk) ahead(first int64) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.streams {
		if s := &d.streams[i]; s.pages > 0 && s.next == first {
			return min(2*s.pages, maxAhead)
		}
	}
	return 1
}

func (d *cachedDisk) reached(first, n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.streams {
		if s := &d.streams[i]; s.pages > 0 && s.next == first {
			*s = stream{first + n, n}
			return
		}
	}
	d.streams[d.turn] = stream{first + n, n}
	d.turn = (d.turn + 1) % len(d.streams)
}
