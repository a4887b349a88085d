package fsys

import (
	"context"
	"fmt"
	"iter"
)

// WalkOptions bounds a walk. Nil and zero fields mean the defaults.
type WalkOptions struct {
	MaxDepth   int   // directories below the first; 4,096 by default
	MaxEntries int64 // unbounded by default
}

// Item is what a walk comes to.
type Item struct {
	Path  string // from the start of the walk: raw names, joined by '/', not escaped
	Depth int    // 1 for what is in the first directory
	Entry Entry
	Info  Info // zero where the node cannot be read
}

// Walk yields everything below a directory: a directory before what is in it,
// the names of a directory in the order of [Nodes.ReadDirPage].
//
// What cannot be read is yielded with its error, and the walk goes on. A
// directory that is met twice is not entered again (ErrCorrupt: the format has
// each in one place). [ErrLimit] and the end of ctx are the last pair. Memory
// is bounded by the depth and by the number of directories (some 30 bytes
// each). Breaking out early is cheap.
func Walk(ctx context.Context, vol Nodes, dir NodeID, opts *WalkOptions) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		w := &walker{vol: vol, yield: yield, seen: map[NodeID]struct{}{dir: {}}}
		if opts != nil {
			w.opts = *opts
		}
		if w.opts.MaxDepth <= 0 {
			w.opts.MaxDepth = 4096
		}
		w.walk(ctx, frame{item: Item{Entry: Entry{Node: dir}}})
	}
}

type walker struct {
	vol   Nodes
	opts  WalkOptions
	yield func(Item, error) bool
	seen  map[NodeID]struct{} // directories
	count int64
}

// frame is a directory that is being read.
type frame struct {
	item   Item
	page   []Entry
	cursor string
	begun  bool
}

// walk keeps its own stack: the depth of a tree is the volume's choice.
func (w *walker) walk(ctx context.Context, first frame) {
	stack := []frame{first}
	for len(stack) > 0 {
		if err := ctx.Err(); err != nil {
			w.yield(Item{}, err)
			return
		}
		f := &stack[len(stack)-1]
		if len(f.page) == 0 {
			if f.begun && f.cursor == "" {
				stack = stack[:len(stack)-1]
				continue
			}
			if !w.next(f, len(stack)) {
				return
			}
			continue
		}
		e := f.page[0]
		f.page = f.page[1:]
		item := Item{Path: join(f.item.Path, e.Name), Depth: f.item.Depth + 1, Entry: e}
		enter, more := w.visit(&item)
		if !more {
			return
		}
		if enter {
			stack = append(stack, frame{item: item})
		}
	}
}

// next reads the next page of a directory; deep in the tree pages are small,
// so that the stack is.
func (w *walker) next(f *frame, depth int) bool {
	n := 256
	if depth > 32 {
		n = 32
	}
	before := f.cursor
	page, cursor, err := w.vol.ReadDirPage(f.item.Entry.Node, f.cursor, n)
	f.page, f.cursor, f.begun = page, cursor, true
	if err == nil {
		return true
	}
	if cursor == before {
		f.cursor = "" // no way past the damage
	}
	return w.yield(f.item, err)
}

// visit yields one entry. enter tells to go into it, more to go on at all.
func (w *walker) visit(item *Item) (enter, more bool) {
	if w.count++; w.opts.MaxEntries > 0 && w.count > w.opts.MaxEntries {
		w.yield(*item, fmt.Errorf("fsys: walk of more than %d entries: %w", w.opts.MaxEntries, ErrLimit))
		return false, false
	}
	var err error
	if item.Info, err = w.vol.StatNode(item.Entry.Node); err != nil {
		return false, w.yield(*item, err)
	}
	if !item.Info.Mode.IsDir() {
		return false, w.yield(*item, nil)
	}
	if _, again := w.seen[item.Entry.Node]; again {
		return false, w.yield(*item, fmt.Errorf("fsys: directory %v is in two places: %w", item.Entry.Node, ErrCorrupt))
	}
	if item.Depth > w.opts.MaxDepth {
		w.yield(*item, fmt.Errorf("fsys: walk deeper than %d directories: %w", w.opts.MaxDepth, ErrLimit))
		return false, false
	}
	w.seen[item.Entry.Node] = struct{}{}
	return true, w.yield(*item, nil)
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
