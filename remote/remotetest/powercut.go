package remotetest

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// sectorSize is what a disk writes as a whole or not at all.
const sectorSize = 512

// PowerCut returns what a power cut at this moment may leave; rng decides what
// it does leave. The Crash itself goes on unchanged, so that one state can be cut
// many times; no file of it may be written meanwhile through what is returned.
//
// What was synced survives: data by Sync of its file, names by SyncDir of their
// directory. Of the rest, each of these may be there or not:
//
//   - every creation, rename and removal, each as a whole; in half of the cuts
//     they are lost from some moment on, as from a journal, in the other half any
//     of them;
//   - every write, each 512-byte sector for itself, and the new size of a file
//     with zeros for what was not written.
func (c *Crash) PowerCut(rng *rand.Rand) *Crash {
	defer c.lock()()
	survivors := c.survivors(rng)
	names := map[*node]map[string]*node{}
	for _, ch := range c.journal {
		for _, e := range ch.edits {
			if names[e.dir] == nil {
				names[e.dir] = maps.Clone(e.dir.durable)
			}
			if survivors[ch] {
				e.on(names[e.dir])
			}
		}
	}
	cut := &powerCut{rng: rng, names: names, copies: map[*node]*node{}}
	return &Crash{root: cut.copy(c.root)}
}

// survivors chooses the changes of directories that reached the disk. What
// happened to one file or directory after a change of it that was lost is lost
// too: otherwise a rename could leave two names.
func (c *Crash) survivors(rng *rand.Rand) map[*change]bool {
	survivors := map[*change]bool{}
	lost := map[*node]bool{}
	kept := rng.IntN(len(c.journal) + 1)
	ordered := rng.IntN(2) == 0
	for i, ch := range c.journal {
		survives := ordered && i < kept || !ordered && rng.IntN(2) == 0
		for _, e := range ch.edits {
			survives = survives && !lost[e.to]
		}
		survivors[ch] = survives
		for _, e := range ch.edits {
			if e.to != nil && !survives {
				lost[e.to] = true
			}
		}
	}
	return survivors
}

type powerCut struct {
	rng    *rand.Rand
	names  map[*node]map[string]*node // of the directories that had unsynced changes
	copies map[*node]*node            // a node with two names stays one
}

func (p *powerCut) copy(n *node) *node {
	if done := p.copies[n]; done != nil {
		return done
	}
	out := &node{dir: n.dir, mtime: n.mtime}
	p.copies[n] = out
	if !n.dir {
		out.data = p.content(n)
		out.synced = out.data
		out.sharedData, out.sharedSynced = true, true
		return out
	}
	entries := n.durable
	if names, changed := p.names[n]; changed {
		entries = names
	}
	out.entries = map[string]*node{}
	for _, name := range slices.Sorted(maps.Keys(entries)) { // in order, for rng
		out.entries[name] = p.copy(entries[name])
	}
	out.durable = maps.Clone(out.entries)
	return out
}

// content is what is left of a file.
func (p *powerCut) content(n *node) []byte {
	whole := p.rng.IntN(3) // nothing, everything, or something of what was not synced
	if len(n.pending) == 0 {
		n.sharedSynced = true
		return n.synced
	}
	content := slices.Clone(n.synced)
	for _, w := range n.pending {
		switch {
		case whole == 0:
		case whole == 1:
			content = w.on(content)
		case w.data == nil:
			if p.rng.IntN(2) == 0 {
				content = w.on(content)
			}
		default:
			content = p.torn(content, w)
		}
	}
	return content
}

// torn does some sectors of a write.
func (p *powerCut) torn(content []byte, w write) []byte {
	if end := w.off + int64(len(w.data)); end > int64(len(content)) && p.rng.IntN(2) == 0 {
		content = resize(content, end)
	}
	for len(w.data) > 0 {
		n := min(sectorSize-int(w.off%sectorSize), len(w.data))
		if p.rng.IntN(2) == 0 {
			content = write{off: w.off, data: w.data[:n]}.on(content)
		}
		w.off, w.data = w.off+int64(n), w.data[n:]
	}
	return content
}
