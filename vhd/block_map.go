package vhd

import (
	"math"
	"math/bits"
	"slices"
	"sort"
	"sync"
)

const (
	// maxUnits bounds the units of a map: at 2 bytes each, 64 MiB.
	maxUnits = 1 << 25

	// maxRunBytes bounds what a map remembers of units that several images
	// hold in parts.
	maxRunBytes = 16 << 20

	runBytes = 8
)

// blockMap says which image of a chain holds what. The disk is divided into
// units, as large as the smallest blocks in the chain. For each unit the first
// image that holds any of it is known from the start; whether it holds all of it,
// and which images hold the rest, is found out when it is asked for.
type blockMap struct {
	links  []*Image
	limits []int64 // the bytes of the disk that link k and its parents may show

	shift uint     // a unit has 1<<shift bytes
	top   []uint16 // per unit the first link that holds any of it plus one, 0 for none; nil for a single link

	mu   sync.RWMutex
	runs map[int][]linkRun // units whose first link does not hold all
	used int               // bytes of runs
}

// linkRun is a part of a unit that one image holds.
type linkRun struct {
	end  uint32 // offset in the unit
	link uint16 // plus one, 0 for none
}

func (m *blockMap) init(links []*Image) {
	m.links = links
	limit, unit := int64(math.MaxInt64), int64(0)
	for _, link := range links {
		limit = min(limit, link.Size())
		m.limits = append(m.limits, limit)
		if link.Type() != Fixed && (unit == 0 || link.blockSize < unit) {
			unit = link.blockSize
		}
	}
	if len(links) == 1 {
		return
	}
	size := links[0].Size()
	for divUp(size, unit) > maxUnits { // a unit then has several blocks of an image, which find bears with
		unit *= 2
	}
	m.shift = uint(bits.TrailingZeros64(uint64(unit)))
	m.top = make([]uint16, divUp(size, unit))
	for k := range slices.Backward(links) {
		m.cover(k)
	}
	for _, link := range links {
		link.bitmaps.setLimit(maxCachedBitmaps / len(links))
	}
}

// cover puts link k on top of what it holds.
func (m *blockMap) cover(k int) {
	link, mark := m.links[k], uint16(k+1)
	for i := range link.Blocks() {
		from := int64(i) * link.blockSize
		if from >= m.limits[k] {
			return
		}
		last := (min(from+link.blockSize, m.limits[k]) - 1) >> m.shift
		for unit := from >> m.shift; unit <= last; unit++ {
			m.top[unit] = mark
		}
	}
}

// holdsAny tells whether a link holds a block in [from, to).
func (m *blockMap) holdsAny(from, to int64) bool {
	if m.top == nil {
		return m.links[0].HasBlock(int(from / m.links[0].blockSize))
	}
	for unit := from >> m.shift; unit <= (to-1)>>m.shift; unit++ {
		if m.top[unit] != 0 {
			return true
		}
	}
	return false
}

// find returns the link that holds the bytes at off, -1 for none, and for how
// many bytes, at most n, it does.
func (m *blockMap) find(off, n int64) (link int, length int64, err error) {
	if m.top == nil {
		present, length, err := m.links[0].run(off, n)
		if present {
			return 0, length, err
		}
		return -1, length, err
	}
	unit := int(off >> m.shift)
	start := int64(unit) << m.shift
	n = min(n, start+1<<m.shift-off)
	k := int(m.top[unit]) - 1
	if k < 0 || off >= m.limits[k] {
		return -1, n, nil
	}
	if m.links[k].isFull(off, int64(1)<<m.shift) {
		return k, min(n, m.limits[k]-off), nil
	}
	runs, err := m.runsOf(unit, k)
	if err != nil {
		return k, n, err
	}
	within := uint32(off - start)
	i := sort.Search(len(runs), func(i int) bool { return runs[i].end > within })
	if i == len(runs) { // beyond what any link shows
		return -1, n, nil
	}
	return int(runs[i].link) - 1, min(n, int64(runs[i].end-within)), nil
}

// findAbove is find for the first links alone. It does not read the bitmaps of
// the others, nor remember what it finds.
func (m *blockMap) findAbove(links int, off, n int64) (link int, length int64, err error) {
	k := 0
	if m.top != nil {
		n = min(n, (off>>m.shift+1)<<m.shift-off)
		k = int(m.top[off>>m.shift]) - 1
	}
	if k < 0 || k >= links {
		return -1, n, nil
	}
	return m.walk(k, links, off, n)
}

// runsOf returns the parts of a unit that are shown by the first link that
// holds any of it, k, and those below, ascending and without a gap.
func (m *blockMap) runsOf(unit, k int) ([]linkRun, error) {
	m.mu.RLock()
	runs, ok := m.runs[unit]
	m.mu.RUnlock()
	if ok {
		return runs, nil
	}
	start := int64(unit) << m.shift
	end := min(start+1<<m.shift, m.limits[k])
	for at := start; at < end; {
		link, n, err := m.walk(k, len(m.links), at, end-at)
		if err != nil {
			return nil, err
		}
		at += n
		run := linkRun{uint32(at - start), uint16(link + 1)}
		if last := len(runs) - 1; last >= 0 && runs[last].link == run.link {
			runs[last] = run
		} else {
			runs = append(runs, run)
		}
	}
	if !m.links[k].isFull(start, int64(1)<<m.shift) { // find then answers without
		m.keep(unit, runs)
	}
	return runs, nil
}

// walk asks the links [k, end), each only about what those before do not hold.
func (m *blockMap) walk(k, end int, off, n int64) (link int, length int64, err error) {
	for ; k < end && off < m.limits[k]; k++ {
		present, length, err := m.links[k].run(off, min(n, m.limits[k]-off))
		if err != nil || present {
			return k, length, err
		}
		n = length
	}
	return -1, n, nil
}

// keep remembers runs. When there are too many, half of them are forgotten.
func (m *blockMap) keep(unit int, runs []linkRun) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.runs == nil {
		m.runs = make(map[int][]linkRun)
	}
	if _, ok := m.runs[unit]; ok {
		return
	}
	if m.used += mapEntry + runBytes*cap(runs); m.used > maxRunBytes {
		for other, old := range m.runs {
			if m.used <= maxRunBytes/2 {
				break
			}
			m.used -= mapEntry + runBytes*cap(old)
			delete(m.runs, other)
		}
	}
	m.runs[unit] = runs
}

// mapEntry is about what an entry of a map takes beside its runs.
const mapEntry = 64
