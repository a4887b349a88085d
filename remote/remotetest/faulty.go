package remotetest

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

// Faulty passes operations on to another Filesystem, except those it was told to
// fail, to delay, or to lie about. It offers the capabilities of that Filesystem.
// It is safe for concurrent use; which operation is the nth is then up to the
// scheduler.
type Faulty struct {
	interposed

	mu    sync.Mutex
	fail  trigger
	err   error // what fail fails with
	lie   trigger
	slow  trigger
	delay time.Duration
	call  trigger
	then  func() // what call calls
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
// set by FailAt or FailFrom before.
//
// The error is wrapped with the operation and the name, and classified as a back
// end would: syscall.EROFS becomes fs.ErrPermission, syscall.ESTALE
// remote.ErrUnavailable. The operation does not take place, with these exceptions:
// a failing Close closes, a failing Lock or Open leaves nothing open, a write that
// fails with [remote.ErrNoSpace] or [io.ErrShortWrite] writes its first half, as a
// disk does that fills up, and a read that fails with [io.ErrUnexpectedEOF] reads
// its first half.
func (f *Faulty) FailAt(n int, err error, kinds ...Kind) { f.setFail(newTrigger(n, true, kinds), err) }

// FailFrom lets the nth operation from now and all later ones fail, as if the
// storage had gone, or the process had died. Otherwise it is [Faulty.FailAt].
func (f *Faulty) FailFrom(n int, err error, kinds ...Kind) {
	f.setFail(newTrigger(n, false, kinds), err)
}

// LieFrom lets the nth operation of these kinds from now, and all later ones,
// succeed without taking place. A storage that lies about Sync and SyncDir is one
// whose cache no power cut may meet. Close, and kinds that return something (Stat,
// ReadDir, Open, Create, Read, Space, Lock), take place all the same.
func (f *Faulty) LieFrom(n int, kinds ...Kind) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lie = newTrigger(n, false, kinds)
}

// DelayAt lets the nth operation from now begin only after d, or fail with the
// cause of its context's end if that comes first.
func (f *Faulty) DelayAt(n int, d time.Duration, kinds ...Kind) {
	f.setDelay(newTrigger(n, true, kinds), d)
}

// DelayFrom delays the nth operation from now and all later ones as
// [Faulty.DelayAt] does.
func (f *Faulty) DelayFrom(n int, d time.Duration, kinds ...Kind) {
	f.setDelay(newTrigger(n, false, kinds), d)
}

// CallAt calls do just before the nth operation from now, which waits for it: to
// take the storage away, or to kill somebody.
func (f *Faulty) CallAt(n int, do func(), kinds ...Kind) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.call, f.then = newTrigger(n, true, kinds), do
}

// Heal lets nothing fail, wait, be a lie or call any more. Fired keeps its value.
func (f *Faulty) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail.n, f.lie.n, f.slow.n, f.call.n = 0, 0, 0, 0
}

// Fired is how many operations failed since the last FailAt or FailFrom. A test
// whose fault never fired has tested nothing.
func (f *Faulty) Fired() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fail.fired
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

func (f *Faulty) setFail(t trigger, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail, f.err = t, err
}

func (f *Faulty) setDelay(t trigger, d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slow, f.delay = t, d
}

func (f *Faulty) do(o *op, run func() error) error {
	fate := f.next(o.kind)
	if fate.call != nil {
		fate.call()
	}
	if err := wait(o.ctx, fate.delay); err != nil {
		return remote.PathError(string(o.kind), o.name, err)
	}
	if fate.err == nil {
		if fate.lie {
			return nil
		}
		return run()
	}
	err := remote.PathError(string(o.kind), o.name, fate.err)
	switch {
	case o.kind == Close:
		_ = run() // the descriptor is gone either way
	case o.kind == Write && (errors.Is(err, remote.ErrNoSpace) || errors.Is(err, io.ErrShortWrite)),
		o.kind == Read && errors.Is(err, io.ErrUnexpectedEOF):
		o.size /= 2
		_ = run() // the fault is what is reported
	}
	return err
}

// fate is what happens to one operation.
type fate struct {
	call  func()
	delay time.Duration
	err   error
	lie   bool
}

// next is the fate of the next operation of this kind.
func (f *Faulty) next(kind Kind) fate {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.total[kind]++
	var next fate
	if f.call.fires(kind) {
		next.call = f.then
	}
	if f.slow.fires(kind) {
		next.delay = f.delay
	}
	if f.fail.fires(kind) {
		next.err = f.err
	}
	next.lie = f.lie.fires(kind) && slices.Contains(canLie(), kind)
	return next
}

// canLie are the kinds whose success is only a word.
func canLie() []Kind {
	return []Kind{Write, Truncate, Sync, Mkdir, Rename, Remove, RemoveAll, SyncDir, Touch}
}

// trigger counts operations of some kinds up to the one it is for.
type trigger struct {
	n     int // the first operation, 0 for none
	once  bool
	kinds []Kind // those that count; empty: all
	seen  int
	fired int
}

func newTrigger(n int, once bool, kinds []Kind) trigger {
	return trigger{n: n, once: once, kinds: slices.Clone(kinds)}
}

func (t *trigger) fires(kind Kind) bool {
	if len(t.kinds) > 0 && !slices.Contains(t.kinds, kind) {
		return false
	}
	t.seen++
	if t.n == 0 || t.seen < t.n || (t.once && t.seen > t.n) {
		return false
	}
	t.fired++
	return true
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
