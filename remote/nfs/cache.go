package nfs

import (
	"strings"
	"sync"
	"time"
)

const (
	// dirLifetime is how long a directory is taken to be where it was found. Who
	// else moves directories about is seen after that; what is removed is seen at
	// once, for its handle is stale.
	dirLifetime = 5 * time.Second
	maxDirs     = 4096
)

// dirCache remembers the handles of directories by path, which saves a LOOKUP for
// each on the way to a file. Files are never in it.
type dirCache struct {
	mu   sync.Mutex
	dirs map[string]cachedDir
}

type cachedDir struct {
	h     handle
	until time.Time
}

func newDirCache() *dirCache { return &dirCache{dirs: map[string]cachedDir{}} }

func (c *dirCache) get(name string) (handle, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d, ok := c.dirs[name]
	if ok && time.Now().After(d.until) {
		delete(c.dirs, name)
		ok = false
	}
	return d.h, ok
}

func (c *dirCache) put(name string, h handle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.dirs) >= maxDirs {
		clear(c.dirs)
	}
	c.dirs[name] = cachedDir{h: h, until: time.Now().Add(dirLifetime)}
}

// drop forgets a directory and all below it.
func (c *dirCache) drop(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for d := range c.dirs {
		if d == name || strings.HasPrefix(d, name+"/") {
			delete(c.dirs, d)
		}
	}
}

// clear forgets everything.
func (c *dirCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.dirs)
}
