package vhd_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
)

// liveFile reads what a file of a crashDir holds at the moment, under whatever name.
type liveFile struct{ *crashFile }

func (f liveFile) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(f.data).ReadAt(p, off)
}

// openLive opens the chain of image k on files that stay open.
func openLive(t *testing.T, d *crashDir, k int) *vhd.Chain {
	t.Helper()
	open := func(name string) (*vhd.Image, error) {
		f, err := d.file(name)
		if err != nil {
			return nil, err
		}
		return vhd.Open(liveFile{f}, int64(len(f.data)), &vhd.OpenOptions{Name: name})
	}
	leaf, err := open(fileName(k))
	require.NoError(t, err)
	chain, err := vhd.OpenChain(t.Context(), leaf, func(_ context.Context, _ *vhd.Image, ref vhd.ParentRef) (*vhd.Image, error) {
		return open(ref.Names[0])
	}, nil)
	require.NoError(t, err)
	return chain
}

func TestReadersAreRightOrKnowThatAMergeMovedWhatTheyRead(t *testing.T) {
	moved := 0
	for name, g := range mergings {
		t.Run(name, func(t *testing.T) {
			d := g.fresh()
			chain := openLive(t, d, g.keep)
			require.NoError(t, chain.Confirm())
			_, err := vhd.Merge(t.Context(), d, g.plan(), nil)
			require.NoError(t, err)
			got := make([]byte, chain.Size())
			_, err = chain.ReadAt(got, 0)
			if err == nil {
				err = chain.Confirm()
			}
			if err != nil {
				require.ErrorIs(t, err, vhd.ErrChanged)
				moved++
				return
			}
			require.True(t, bytes.Equal(g.want(g.keep), got))
		})
	}
	require.Positive(t, moved, "a table that grew into the first blocks")
	require.Less(t, moved, len(mergings), "other merges disturb nobody")
}
