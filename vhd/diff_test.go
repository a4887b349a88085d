package vhd_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

func chainOf(tb testing.TB, files [][]byte) *vhd.Chain {
	tb.Helper()
	chain, err := vhd.OpenChain(tb.Context(), openBytes(tb, files[0], nil), stackOpener(tb, files), nil)
	require.NoError(tb, err)
	return chain
}

func TestDiffTurnsTheOlderDiskIntoTheNewer(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		stack := drawStack(rt)
		files := make([][]byte, len(stack))
		for k, s := range stack {
			files[k] = s.encode()
		}
		leaf := chainOf(t, files)
		k := rapid.IntRange(0, len(stack)).Draw(rt, "base")
		var base *vhd.Chain
		var got []byte
		if k < len(stack) {
			base = chainOf(t, files[k:])
			got = readAll(t, base)
		}
		want := model(stack...)
		if len(got) > len(want) {
			got = got[:len(want)]
		}
		// What is new is garbage until an extent says what is there.
		if base != nil {
			got = append(got, bytes.Repeat([]byte{0xcc}, len(want)-len(got))...)
		} else {
			got = make([]byte, len(want))
		}
		var previous disk.Extent
		for e, err := range vhd.Diff(t.Context(), base, leaf) {
			require.NoError(rt, err)
			require.Positive(rt, e.Len)
			require.NotEqual(rt, disk.Hole, e.Kind)
			require.GreaterOrEqual(rt, e.Off, previous.End())
			require.False(rt, e.Off == previous.End() && e.Kind == previous.Kind && e.Off > 0, "not maximal")
			if e.Kind == disk.Zero {
				clear(got[e.Off:e.End()])
			} else {
				copy(got[e.Off:e.End()], want[e.Off:e.End()])
			}
			previous = e
		}
		require.True(rt, bytes.Equal(want, got))
		if k == 0 {
			require.Zero(rt, previous, "nothing changes between a disk and itself")
		}
	})
}

func TestDiffIsOfOneChain(t *testing.T) {
	one := &spec{typ: vhd.Dynamic, size: 4096, blockSize: 1024, uuid: 1}
	two := &spec{typ: vhd.Dynamic, size: 4096, blockSize: 1024, uuid: 2}
	base, leaf := chainOf(t, [][]byte{one.encode()}), chainOf(t, [][]byte{two.encode()})
	for _, err := range vhd.Diff(t.Context(), base, leaf) {
		require.ErrorIs(t, err, vhd.ErrParentMismatch)
	}
}
