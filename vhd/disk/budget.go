package disk

import (
	"context"
	"sync"
)

// DefaultBudget is the number of bytes that transfers may hold in buffers when
// nothing else is said: enough for 12 exports at a time.
const DefaultBudget = 128 << 20

// Budget bounds the bytes that all transfers of a process hold in blocks, and
// recycles the blocks. One Budget is shared by everything that runs at the same
// time; its methods may be called concurrently.
//
// Whoever waits in [Budget.Block] while holding a block can deadlock with
// another who does the same, unless the block held is certain to be released
// without a further one: take blocks in one place of a transfer, give them back
// in another.
type Budget struct {
	slots chan struct{} // a token per block in use; its capacity is the bound
	pool  sync.Pool
}

// NewBudget returns a budget of limit bytes, rounded down to whole blocks, at
// least one. A limit of 0 or less means [DefaultBudget].
func NewBudget(limit int64) *Budget {
	if limit <= 0 {
		limit = DefaultBudget
	}
	return &Budget{
		slots: make(chan struct{}, max(1, limit/BlockSize)),
		pool:  sync.Pool{New: func() any { return &Block{data: make([]byte, BlockSize)} }},
	}
}

// Block returns a block, waiting until the budget has room or ctx ends. Its
// content is arbitrary.
func (b *Budget) Block(ctx context.Context) (*Block, error) {
	select {
	case b.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	blk := b.pool.Get().(*Block)
	blk.budget = b
	return blk, nil
}

// InUse returns the number of bytes lent out at the moment.
func (b *Budget) InUse() int64 { return int64(len(b.slots)) * BlockSize }

// Limit returns the bound in bytes.
func (b *Budget) Limit() int64 { return int64(cap(b.slots)) * BlockSize }

// Block is a buffer of [BlockSize] bytes on loan from a [Budget].
type Block struct {
	data   []byte
	budget *Budget
}

// Bytes returns the buffer. It must not be used after Release.
func (b *Block) Bytes() []byte { return b.data }

// Release gives the block back. A second call does nothing.
func (b *Block) Release() {
	budget := b.budget
	if budget == nil {
		return
	}
	b.budget = nil
	budget.pool.Put(b)
	<-budget.slots
}
