package vhd

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"
)

// flattener copies a disk block by block. Several blocks are copied at a time,
// but each takes its place in the file after all before it have.
type flattener struct {
	dst     File
	disk    *mapping
	pairs   []*filePair // parallel to disk.files
	layout  Layout
	place   func(block uint32, k int) int64 // where the data of the k-th block that is written goes
	bitmap  []byte                          // what is written before each block; nil for nothing
	buffers sync.Pool                       // of bitmap and block
	shared  *copyBuffers
	options CopyOptions
	result  CopyResult
}

func newFlattener(dst File, disk *mapping, l Layout, opts *CopyOptions) *flattener {
	f := &flattener{dst: dst, disk: disk, layout: l}
	if opts != nil {
		f.options = *opts
	}
	if f.options.Workers <= 0 {
		f.options.Workers = min(4, runtime.NumCPU())
	}
	f.shared = &copyBuffers{chunk: copyChunk, queue: make(chan queuedWrite, 1)}
	for _, file := range f.disk.files {
		f.pairs = append(f.pairs, newFilePair(dst, file, f.shared))
	}
	return f
}

// finish copies the data, then writes what makes the file complete, and makes all durable.
func (f *flattener) finish(ctx context.Context, complete func() error) (CopyResult, error) {
	if err := f.copyBlocks(ctx); err != nil {
		return CopyResult{}, fmt.Errorf("flatten: %w", err)
	}
	if err := complete(); err != nil {
		return CopyResult{}, fmt.Errorf("flatten: %w", err)
	}
	if err := f.dst.Sync(); err != nil {
		return CopyResult{}, fmt.Errorf("flatten: %w", err)
	}
	f.progress(f.layout.Size)
	return f.result, nil
}

func (f *flattener) progress(done int64) {
	if f.options.Progress != nil {
		f.options.Progress(done, f.layout.Size)
	}
}

// copyBlocks copies all blocks that hold data, while one goroutine writes what
// the kernel does not copy.
func (f *flattener) copyBlocks(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var written sync.WaitGroup
	written.Go(func() { f.shared.drain(f.dst, cancel) })
	err := f.placeBlocks(ctx)
	close(f.shared.queue)
	written.Wait()
	if err != nil {
		return err
	}
	return context.Cause(ctx)
}

// placeBlocks is copyBlocks up to the last write. The result so far is handed
// from block to block.
func (f *flattener) placeBlocks(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(f.options.Workers + 1)
	turn := make(chan CopyResult, 1)
	turn <- f.result
	g.Go(func() error {
		return f.eachBlock(ctx, func(block uint32, parts []segment) {
			f.progress(int64(block) * f.layout.blockSize())
			next := make(chan CopyResult, 1)
			task := &blockTask{f: f, block: block, parts: parts, turn: turn, next: next}
			turn = next
			g.Go(func() error {
				if err := task.run(ctx); err != nil {
					return fmt.Errorf("block %d: %w", block, err)
				}
				return nil
			})
		})
	})
	if err := g.Wait(); err != nil {
		return err
	}
	f.result = <-turn
	return nil
}

// eachBlock calls do for each block of which the disk holds anything, with
// the pieces of it, ascending.
func (f *flattener) eachBlock(ctx context.Context, do func(block uint32, parts []segment)) error {
	size := f.layout.blockSize()
	block := int64(-1)
	var parts []segment
	for s, err := range f.disk.segments(ctx, 0, f.disk.src.Size()) {
		if err != nil {
			return err
		}
		for s.n > 0 {
			if i := s.off / size; i != block {
				if len(parts) > 0 {
					do(uint32(block), parts)
				}
				block, parts = i, nil
			}
			part := s
			part.n = min(s.n, size-s.off%size)
			parts = append(parts, part)
			s.off, s.at, s.n = s.off+part.n, s.at+part.n, s.n-part.n
		}
	}
	if len(parts) > 0 {
		do(uint32(block), parts)
	}
	return nil
}

// blockTask copies one block.
type blockTask struct {
	f     *flattener
	block uint32
	parts []segment
	turn  <-chan CopyResult // from the block before
	next  chan<- CopyResult // to the block after
}

func (b *blockTask) run(ctx context.Context) error {
	for _, part := range b.parts {
		if !b.f.pairs[part.file].local() {
			return b.runBuffered(ctx)
		}
	}
	zero := true
	for _, part := range b.parts {
		empty, err := b.f.pairs[part.file].zero(part.at, part.n)
		if err != nil {
			return err
		}
		if zero = zero && empty; !zero {
			break
		}
	}
	at, err := b.take(ctx, zero)
	if err != nil || zero {
		return err
	}
	if b.f.bitmap != nil {
		if _, err := b.f.dst.WriteAt(b.f.bitmap, at-int64(len(b.f.bitmap))); err != nil {
			return err
		}
	}
	for _, part := range b.parts {
		if err := b.f.pairs[part.file].copy(ctx, at+part.off%b.f.layout.blockSize(), part.at, part.n); err != nil {
			return err
		}
	}
	return nil
}

// runBuffered reads the block before it looks at it and writes it.
func (b *blockTask) runBuffered(ctx context.Context) error {
	f := b.f
	buf := f.buffer()
	defer f.buffers.Put(buf)
	head := len(f.bitmap)
	data := (*buf)[head : int64(head)+f.layout.blockSize()]
	size, end := f.layout.blockSize(), int64(0)
	for _, part := range b.parts {
		within := part.off % size
		clear(data[end:within])
		end = within + part.n
		if err := readExact(f.disk.files[part.file], data[within:end], part.at); err != nil {
			return err
		}
	}
	zero := isZero(data[:end])
	at, err := b.take(ctx, zero)
	if err != nil || zero {
		return err
	}
	if head == 0 { // a disk without blocks ends where it ends
		_, err = f.dst.WriteAt(data[:end], at)
		return err
	}
	copy(*buf, f.bitmap)
	clear(data[end:])
	_, err = f.dst.WriteAt((*buf)[:int64(head)+size], at-int64(head))
	return err
}

// take waits for the blocks before to have their place, and returns that of this one.
func (b *blockTask) take(ctx context.Context, zero bool) (int64, error) {
	select {
	case result := <-b.turn:
		at := int64(0)
		if !zero {
			at = b.f.place(b.block, len(result.Blocks))
			result.Blocks = append(result.Blocks, b.block)
			for _, part := range b.parts {
				result.Copied += part.n
			}
		}
		b.next <- result
		return at, nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

func (f *flattener) buffer() *[]byte {
	if b, ok := f.buffers.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, f.layout.bitmapLen()+f.layout.blockSize())
	return &b
}
