package ext

import (
	"maps"
	"slices"
	"sort"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

// fastNode is what fast commits changed of an inode. Nobody changes it once
// the volume is open.
type fastNode struct {
	raw    []byte              // in place of the inode; nil if that is as it was
	runs   []run               // in place of what is mapped there; ascending
	names  map[string]fastName // of a directory
	added  []string            // of names, those that have an inode, sorted
	fresh  bool                // a directory that was made: nothing of its blocks is its own
	parent uint32              // of such a one
}

// fastName is what became of a name.
type fastName struct {
	inode uint32 // 0: it is no more
	gone  uint32 // the inode that it was of, if it was taken away from one
}

func (n *fastNode) add(name string, inode uint32) {
	if n.names == nil {
		n.names = make(map[string]fastName)
	}
	n.names[name] = fastName{inode: inode}
}

// remove takes a name away, unless it is another inode's by now.
func (n *fastNode) remove(name string, inode uint32) bool {
	if at, ok := n.names[name]; ok && at.inode != inode {
		return false
	}
	n.add(name, 0)
	n.names[name] = fastName{gone: inode}
	return true
}

// list sorts the names that were added.
func (n *fastNode) list() {
	n.added = slices.Sorted(maps.Keys(n.names))
	n.added = slices.DeleteFunc(n.added, func(name string) bool { return n.names[name].inode == 0 })
}

// hides tells that an entry of the directory's blocks does not count any more.
func (n *fastNode) hides(e dirent) bool {
	if n == nil {
		return false
	}
	at, ok := n.names[string(e.name)]
	return ok && (at.inode != 0 || at.gone == e.inode)
}

// put lays a run over what is there, and returns how many runs it moved.
func (n *fastNode) put(x run) int {
	from := sort.Search(len(n.runs), func(i int) bool { return n.runs[i].end() > x.first })
	to := from + sort.Search(len(n.runs)-from, func(i int) bool { return n.runs[from+i].first >= x.end() })
	var with []run
	if from < to && n.runs[from].first < x.first {
		with = append(with, n.runs[from].cut(0, x.first))
	}
	with = append(with, x)
	if from < to && n.runs[to-1].end() > x.end() {
		with = append(with, n.runs[to-1].cut(x.end(), beyond))
	}
	n.runs = slices.Replace(n.runs, from, to, with...)
	return len(n.runs) - from
}

// cut returns the part of a run from a block up to another.
func (r run) cut(from, to uint64) run {
	if from > r.first {
		if r.kind != disk.Hole {
			r.phys += from - r.first
		}
		r.count -= from - r.first
		r.first = from
	}
	if to < r.end() {
		r.count = to - r.first
	}
	return r
}

// over returns the run with block b: one of these, or, between them, what below
// says.
func (n *fastNode) over(b uint64, below func() (run, error)) (run, error) {
	i := sort.Search(len(n.runs), func(i int) bool { return n.runs[i].end() > b })
	if i < len(n.runs) && n.runs[i].contains(b) {
		return n.runs[i], nil
	}
	r, err := below()
	if err != nil {
		return run{}, err
	}
	if i > 0 {
		r = r.cut(n.runs[i-1].end(), beyond)
	}
	if i < len(n.runs) {
		r = r.cut(0, n.runs[i].first)
	}
	return r, nil
}
