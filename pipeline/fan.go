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

// fan gives each block of a disk to several outputs.
type fan struct {
	outputs []*output
	running atomic.Int64
	writers sync.WaitGroup
}

// output is a target's end of a transfer.
type output struct {
	target *target
	writer *catalog.DiskWriter
	blocks chan *sharedBlock // at most window of them wait
	failed atomic.Bool
}

// sharedBlock is a block that several outputs write; the last one releases it.
type sharedBlock struct {
	*disk.Block
	index uint32
	users atomic.Int64
}

func (b *sharedBlock) done() {
	if b.users.Add(-1) == 0 {
		b.Release()
	}
}

// start lets the outputs run; wait must follow.
func (f *fan) start() {
	f.running.Store(int64(len(f.outputs)))
	for _, o := range f.outputs {
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
	err := o.target.dropped() // by another disk
	if err == nil {
		err = o.writer.WriteBlock(b.index, b.Bytes())
	}
	if err != nil {
		o.target.drop(err)
		o.failed.Store(true)
		f.running.Add(-1)
		return
	}
	o.target.progress(0, disk.BlockSize)
}

// left returns the number of outputs that have not failed.
func (f *fan) left() int64 { return f.running.Load() }

// send hands a block to all outputs, and its ownership with it.
func (f *fan) send(ctx context.Context, index uint32, block *disk.Block) error {
	b := &sharedBlock{Block: block, index: index}
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

// close makes the disk complete on every target that is left.
func (f *fan) close() error {
	for _, o := range f.outputs {
		f.writers.Go(func() {
			if o.failed.Load() {
				return
			}
			if err := o.writer.Close(); err != nil {
				o.target.drop(err)
				o.failed.Store(true)
				f.running.Add(-1)
			}
		})
	}
	f.writers.Wait()
	if f.left() == 0 {
		return ErrNoTarget
	}
	return nil
}

// abort discards the disk where it was not closed. What cannot be discarded is
// found by the next cleaning.
func (f *fan) abort() {
	for _, o := range f.outputs {
		_ = o.writer.Abort()
	}
}
