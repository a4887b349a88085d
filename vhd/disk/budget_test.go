package disk_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

func TestBudgetWaitsForReleasedBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := disk.NewBudget(2 * disk.BlockSize)
		first, err := b.Block(t.Context())
		require.NoError(t, err)
		second, err := b.Block(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 2*disk.BlockSize, b.InUse())

		got := make(chan *disk.Block)
		go func() {
			blk, err := b.Block(t.Context())
			if err == nil {
				got <- blk
			}
		}()
		synctest.Wait()
		select {
		case <-got:
			t.Fatal("a third block was lent from a budget of two")
		default:
		}
		first.Release()
		third := <-got
		require.Len(t, third.Bytes(), disk.BlockSize)
		third.Release()
		second.Release()
		require.Zero(t, b.InUse())
	})
}

func TestBudgetBlockEndsWithContext(t *testing.T) {
	b := disk.NewBudget(1) // rounded up to one block
	held, err := b.Block(t.Context())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = b.Block(ctx)
	require.ErrorIs(t, err, context.Canceled)
	held.Release()
	held.Release() // harmless
	require.Zero(t, b.InUse())
	require.EqualValues(t, disk.BlockSize, b.Limit())
}
