package remote

import (
	"io"
	"sync"
)

// inflight writes pieces of one file, several at once. One goroutine uses it.
type inflight struct {
	file  File
	every int64 // bytes between two syncs, 0 for none

	// slots has a place for each write that may be under way, with the buffer of
	// that place, nil as long as none was needed.
	slots chan []byte
	group sync.WaitGroup

	unsynced int64

	mu  sync.Mutex
	err error // the first failure
}

func newInflight(file File, p Properties) *inflight {
	depth := max(p.PipelineDepth, 1)
	f := &inflight{file: file, every: p.SyncEvery, slots: make(chan []byte, depth)}
	for range depth {
		f.slots <- nil
	}
	return f
}

// serial tells that only one write at a time is useful.
func (f *inflight) serial() bool { return cap(f.slots) == 1 }

// buffer waits for a place and returns its buffer, empty, of the given capacity.
func (f *inflight) buffer(size int) []byte {
	if buf := <-f.slots; buf != nil {
		return buf[:0]
	}
	return make([]byte, 0, size)
}

// place waits for a place for a write that needs no buffer.
func (f *inflight) place() []byte { return <-f.slots }

// putBack returns a buffer that is not to be written.
func (f *inflight) putBack(buf []byte) { f.slots <- buf }

// write begins to write p at off, in a place that was taken with buffer or place;
// p may be the buffer itself. The place is free again afterwards.
func (f *inflight) write(p []byte, off int64, buf []byte) error {
	f.group.Go(func() {
		if f.failed() == nil {
			f.writeAt(p, off)
		}
		f.slots <- buf
	})
	return f.wrote(len(p))
}

// direct writes p at off, and returns when it is written, or with what failed
// before.
func (f *inflight) direct(p []byte, off int64) error {
	f.writeAt(p, off)
	return f.wrote(len(p))
}

// writeAt fails for a write that is short, also when that comes without an error.
func (f *inflight) writeAt(p []byte, off int64) {
	n, err := f.file.WriteAt(p, off)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	f.fail(err)
}

// wrote counts, and syncs when it is time.
func (f *inflight) wrote(n int) error {
	f.unsynced += int64(n)
	if f.every > 0 && f.unsynced >= f.every {
		return f.sync()
	}
	return f.failed()
}

// wait returns when nothing is under way any more.
func (f *inflight) wait() error {
	f.group.Wait()
	return f.failed()
}

// sync makes durable what was written. A file whose sync has failed once is lost:
// the failure stays.
func (f *inflight) sync() error {
	if err := f.wait(); err != nil {
		return err
	}
	f.unsynced = 0
	f.fail(f.file.Sync())
	return f.failed()
}

func (f *inflight) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

func (f *inflight) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}
