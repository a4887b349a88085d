package clusters

import (
	"errors"
	"io"
	"sort"
	"sync"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// errEnd is that a file has no such cluster.
var errEnd = io.EOF

const (
	// maxRuns bounds what is kept of a chain: 192 KiB.
	maxRuns = 16 << 10

	// maxRun bounds what is read of the table before a run is used, in entries.
	maxRun = 1 << 20
)

// chain is a file whose clusters are linked in the table. It is read as far as
// it is used, once. Of a chain in very many pieces only every second, fourth,
// ... run is kept, and those between are read again from the one before.
type chain struct {
	h *Heap

	mu     sync.Mutex
	runs   []run  // ascending, those kept
	stride uint32 // one of so many runs is kept
	count  uint32 // runs found
	ahead  walk   // at the first cluster not yet known
	hare   loop
	err    error // what is behind the clusters known; errEnd is their end
}

func newChain(h *Heap, first uint32) *chain {
	return &chain{h: h, stride: 1, ahead: walk{cluster: first}}
}

// at implements Mapping.
func (c *chain) at(i uint32) (run, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i >= c.ahead.index {
		if err := c.grow(); err != nil {
			return run{}, err
		}
	}
	k := sort.Search(len(c.runs), func(k int) bool { return c.runs[k].index > i }) - 1
	r := c.runs[k]
	w := walk{win: c.ahead.win}
	for !r.contains(i) {
		last := r.cluster + r.count - 1
		next, err := c.h.Next(&w.win, last)
		if err != nil {
			return run{}, err
		}
		w.index, w.cluster = r.index+r.count, next
		if r, err = c.h.run(&w); err != nil {
			return run{}, err
		}
	}
	return r, nil
}

// grow finds one more run. Damage is for ever; what only could not be read now
// is tried again.
func (c *chain) grow() error {
	if c.err == nil && c.ahead.cluster == 0 {
		c.err = errEnd
	}
	if c.err != nil {
		return c.err
	}
	start := c.ahead.cluster
	r, err := c.h.run(&c.ahead)
	if errors.Is(err, fsys.ErrCorrupt) {
		c.err = err
	}
	if r.count == 0 {
		return err
	}
	if c.hare.again(start) || r.index >= c.h.Count {
		c.err = c.h.Corrupt("chain", -1, "runs in a circle through cluster %d", start)
		return c.err
	}
	if c.count%c.stride == 0 {
		c.keep(r)
	}
	c.count++
	return nil // an error is behind the run
}

func (c *chain) keep(r run) {
	if len(c.runs) == maxRuns {
		for i := range maxRuns / 2 {
			c.runs[i] = c.runs[2*i]
		}
		c.runs = c.runs[:maxRuns/2]
		c.stride *= 2
	}
	c.runs = append(c.runs, r)
}

// walk is a place in a chain.
type walk struct {
	index   uint32 // in the file
	cluster uint32 // 0 at the end
	win     Window
}

// run reads the run that begins at a place, and goes behind it. With an error
// it is what there is before the damage.
func (h *Heap) run(w *walk) (run, error) {
	if !h.Contains(w.cluster) {
		return run{}, h.Corrupt("chain", -1, "leads to cluster %d of %d", w.cluster, h.Count)
	}
	r := run{index: w.index, cluster: w.cluster}
	for {
		next, err := h.Next(&w.win, w.cluster)
		if err != nil {
			return r, err
		}
		r.count++
		w.index++
		follows := next == w.cluster+1 && h.Contains(next)
		w.cluster = next
		if !follows || r.count == maxRun {
			return r, nil
		}
	}
}

// loop finds that a sequence repeats (Brent's algorithm): after at most three
// times its length.
type loop struct {
	tortoise     uint32
	steps, power uint32
}

func (l *loop) again(next uint32) bool {
	if l.power == 0 {
		l.power = 1
	} else if next == l.tortoise {
		return true
	}
	if l.steps++; l.steps == l.power {
		l.tortoise, l.steps, l.power = next, 0, l.power*2
	}
	return false
}

// chains keeps those used last: two generations, so that reading a directory
// in pages, or a file twice, reads the table once.
type chains struct {
	mu         sync.Mutex
	young, old map[uint32]*chain
}

// chainGeneration bounds the chains kept; with maxRuns to 12 MiB.
const chainGeneration = 32

func (c *chains) get(h *Heap, first uint32) *chain {
	c.mu.Lock()
	defer c.mu.Unlock()
	if found := c.young[first]; found != nil {
		return found
	}
	found := c.old[first]
	if found == nil {
		found = newChain(h, first)
	}
	if c.young == nil || len(c.young) >= chainGeneration {
		c.young, c.old = make(map[uint32]*chain), c.young
	}
	c.young[first] = found
	return found
}
