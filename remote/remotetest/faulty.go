package remotetest

import (
	"errors"
	"slices"
	"sync"

	"github.com/xenbackup/xenbackup/remote"
)

// Faulty passes operations on to another Filesystem, except those it was told to
// fail. It offers the capabilities of that Filesystem. It is safe for concurrent
// use; which operation is the nth is then up to the scheduler.
type Faulty struct {
	interposed

	mu    sync.Mutex
	n     int // the first operation to fail, 0 for none
	once  bool
	err   error
	kinds []Kind // those that count towards n; empty: all
	seen  int    // operations of these kinds
	fired int
	total map[Kind]int
}

// NewFaulty wraps fsys; nothing fails yet.
func NewFaulty(fsys remote.Filesystem) *Faulty {
	f := &Faulty{total: map[Kind]int{}}
	f.interposed = interposed{below: fsys, do: f.do}
	return f
}

// FailAt lets the nth operation from now fail with err, and no other. n counts
// from 1; with kinds given, operations of these kinds alone. It replaces what was
// set before.
//
// The error is wrapped with the operation and the name, and classified as a back
// end would: syscall.EROFS becomes fs.ErrPermission. The operation does not
// take place, with three exceptions: a failing Close closes, a failing Lock or
// Open leaves nothing open, and a write that fails with [remote.ErrNoSpace]
// writes its first half, as a disk does that fills up.
func (f *Faulty) FailAt(n int, err error, kinds ...Kind) { f.set(n, err, true, kinds) }

// FailFrom lets the nth operation from now and all later ones fail, as if the
// storage had gone, or the process had died. Otherwise it is [Faulty.FailAt].
func (f *Faulty) FailFrom(n int, err error, kinds ...Kind) { f.set(n, err, false, kinds) }

// Heal lets nothing fail any more. Fired keeps its value.
func (f *Faulty) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n = 0
}

// Fired is how many operations failed since the last FailAt or FailFrom. A test
// whose fault never fired has tested nothing.
func (f *Faulty) Fired() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fired
}

// Count is how many operations of these kinds, or of all, there were so far,
// failed ones included.
func (f *Faulty) Count(kinds ...Kind) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	sum := 0
	for kind, n := range f.total {
		if len(kinds) == 0 || slices.Contains(kinds, kind) {
			sum += n
		}
	}
	return sum
}

func (f *Faulty) set(n int, err error, once bool, kinds []Kind) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n, f.err, f.once, f.kinds = n, err, once, slices.Clone(kinds)
	f.seen, f.fired = 0, 0
}

func (f *Faulty) do(o *op, run func() error) error {
	fault := f.fault(o.kind)
	if fault == nil {
		return run()
	}
	err := remote.PathError(string(o.kind), o.name, fault)
	switch {
	case o.kind == Close:
		_ = run() // the descriptor is gone either way
	case o.kind == Write && errors.Is(err, remote.ErrNoSpace):
		o.size /= 2
		_ = run() // the fault is what is reported
	}
	return err
}

// fault is the error that this operation has to fail with, nil for none.
func (f *Faulty) fault(kind Kind) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.total[kind]++
	if len(f.kinds) > 0 && !slices.Contains(f.kinds, kind) {
		return nil
	}
	f.seen++
	if f.n == 0 || f.seen < f.n || (f.once && f.seen > f.n) {
		return nil
	}
	f.fired++
	return f.err
}
