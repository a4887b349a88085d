package pipeline

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// window is the number of blocks that may wait for each target, so that a short
// pause of one does not stop the source. Blocks come from the budget, which
// bounds all of them together.
const window = 2

// fan gives each block of a stream to several outputs.
type fan struct {
	outputs []*output
	running atomic.Int64 // targets that are left
	writers sync.WaitGroup
	refused atomic.Pointer[error] // by a judge
}

// output is one end of a transfer.
type output struct {
	target *target // nil for a judge, which keeps nothing: without its consent no target gets anything
	writer sink
	blocks chan *sharedBlock // at most window of them wait
	failed atomic.Bool
}

// sink takes what an output is given.
type sink interface {
	put(b *sharedBlock) error
	close() error // all was put
	abort() error // not all will be; nothing after a close that succeeded
}

// sharedBlock is a block that several outputs write; the last one releases it.
type sharedBlock struct {
	*disk.Block
	data  []byte // what of the block is to be written
	index uint32 // its place in a disk
	users atomic.Int64
}

// diskSink puts blocks into a disk of a repository.
type diskSink struct{ *catalog.DiskWriter }

func (s diskSink) put(b *sharedBlock) error { return s.WriteBlock(b.index, b.data) }
func (s diskSink) close() error             { return s.Close() }
func (s diskSink) abort() error             { return s.Abort() }

func (b *sharedBlock) done() {
	if b.users.Add(-1) == 0 {
		b.Release()
	}
}

// start lets the outputs run; wait must follow.
func (f *fan) start() {
	for _, o := range f.outputs {
		if o.target != nil {
			f.running.Add(1)
		}
		o.blocks = make(chan *sharedBlock, window)
		f.writers.Go(func() {
			for b := range o.blocks {
				o.write(f, b)
			}
		})
	}
}

// write writes a block, unless the target has failed: then it only lets go of it.
func (o *output) write(f *fan, b *sharedBlock) {
	defer b.done()
	if o.failed.Load() {
		return
	}
	var err error
	if o.target != nil {
		err = o.target.dropped() // by another disk
	}
	if err == nil {
		err = o.writer.put(b)
	}
	if err != nil {
		f.fail(o, err)
		return
	}
	if o.target != nil {
		o.target.progress(0, int64(len(b.data)))
	}
}

// fail ends an output: a target is dropped, a judge ends the transfer.
func (f *fan) fail(o *output, err error) {
	o.failed.Store(true)
	if o.target == nil {
		f.refused.CompareAndSwap(nil, &err)
		return
	}
	o.target.drop(err)
	f.running.Add(-1)
}

// verdict returns why the transfer cannot go on, nil if it can.
func (f *fan) verdict() error {
	if err := f.refused.Load(); err != nil {
		return *err
	}
	if f.left() == 0 {
		return ErrNoTarget
	}
	return nil
}

// left returns the number of targets that have not failed.
func (f *fan) left() int64 { return f.running.Load() }

// send hands a block to all outputs, and its ownership with it.
func (f *fan) send(ctx context.Context, b *sharedBlock) error {
	b.users.Store(int64(len(f.outputs)))
	for i, o := range f.outputs {
		select {
		case o.blocks <- b:
		case <-ctx.Done():
			for range f.outputs[i:] {
				b.done()
			}
			return context.Cause(ctx)
		}
	}
	return nil
}

// wait returns when all blocks that were sent are written or let go of.
func (f *fan) wait() {
	for _, o := range f.outputs {
		close(o.blocks)
	}
	f.writers.Wait()
}

// close makes what was sent complete on every target that is left.
func (f *fan) close() error {
	for _, o := range f.outputs {
		f.writers.Go(func() {
			if o.failed.Load() {
				return
			}
			if err := o.writer.close(); err != nil {
				f.fail(o, err)
			}
		})
	}
	f.writers.Wait()
	return f.verdict()
}

// abort discards what was sent where it was not closed. What cannot be discarded is
// found by the next cleaning.
func (f *fan) abort() {
	for _, o := range f.outputs {
		_ = o.writer.abort()
	}
}
