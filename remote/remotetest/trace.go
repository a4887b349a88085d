package remotetest

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/xenbackup/xenbackup/remote"
)

// Trace passes operations on to another Filesystem and writes down, in the order
// of their ends, those that change it or make a change durable:
//
//	create dir/.name.<token>.tmp
//	write dir/.name.<token>.tmp 0+4096
//	sync dir/.name.<token>.tmp
//	rename dir/.name.<token>.tmp dir/name
//	syncdir dir
//
// The random part of temporary names is not in the list, and writes that continue
// each other are one line, so that the list is the same in each run and can be
// kept as a golden file. What failed says so at the end of its line. Opening an
// existing file, reading and closing are left out.
//
// [Trace.Unsynced] judges the order.
//
// Trace offers the capabilities of the Filesystem below, and is safe for
// concurrent use.
type Trace struct {
	interposed

	mu    sync.Mutex
	lines []string
	last  op // the write that the last line shows, if it is one

	ledger ledger
}

// NewTrace wraps fsys.
func NewTrace(fsys remote.Filesystem) *Trace {
	t := &Trace{ledger: newLedger()}
	t.interposed = interposed{below: fsys, do: t.do}
	return t
}

// Lines are the operations so far.
func (t *Trace) Lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.lines)
}

// String is the operations so far, each ended by a newline.
func (t *Trace) String() string {
	lines := t.Lines()
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

// Reset forgets the operations so far.
func (t *Trace) Reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines, t.last, t.ledger = nil, op{}, newLedger()
}

func (t *Trace) do(o *op, run func() error) error {
	err := run()
	if slices.Contains(Mutating(), o.kind) {
		t.add(*o, err)
	}
	return err
}

func (t *Trace) add(o op, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		t.ledger.note(o)
	}
	if o.kind == Write && err == nil {
		if t.last.kind == Write && t.last.name == o.name && t.last.off+int64(t.last.size) == o.off {
			o.off, o.size = t.last.off, t.last.size+o.size
			t.lines = t.lines[:len(t.lines)-1]
		}
		t.last = o
	} else {
		t.last = op{}
	}
	line := o.String()
	if err != nil {
		line += ": failed"
	}
	t.lines = append(t.lines, line)
}

func (o op) String() string {
	name := withoutToken(o.name)
	switch o.kind {
	case Write:
		return fmt.Sprintf("%s %s %d+%d", o.kind, name, o.off, o.size)
	case Truncate:
		return fmt.Sprintf("%s %s %d", o.kind, name, o.off)
	case Rename:
		return fmt.Sprintf("%s %s %s", o.kind, name, withoutToken(o.to))
	default:
		return fmt.Sprintf("%s %s", o.kind, name)
	}
}

// withoutToken makes a temporary name the same in each run.
func withoutToken(name string) string {
	if !remote.IsTemp(name) {
		return name
	}
	dir, base := path.Split(name)
	parts := strings.Split(base, ".")
	parts[len(parts)-2] = "<token>"
	return dir + strings.Join(parts, ".")
}
