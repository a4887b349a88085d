package vhd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// stackOpener opens the parents of a chain given leaf first.
func stackOpener(tb testing.TB, files [][]byte) vhd.Opener {
	tb.Helper()
	next := 0
	return func(context.Context, *vhd.Image, vhd.ParentRef) (*vhd.Image, error) {
		if next++; next == len(files) {
			return nil, vhd.ErrParentNotFound
		}
		return openBytes(tb, files[next], nil), nil
	}
}

func drawStack(t *rapid.T) []*spec {
	links := rapid.IntRange(1, 5).Draw(t, "links")
	stack := make([]*spec, links)
	common := rapid.Bool().Draw(t, "one block size")
	blockSize := int64(512) << rapid.IntRange(0, 6).Draw(t, "block size")
	for k := links - 1; k >= 0; k-- { // root first
		s := &spec{typ: vhd.Differencing, blockSize: blockSize, uuid: byte(links - k), parent: byte(links - k - 1), parentName: "p"}
		s.size = rapid.Int64Range(0, 60000).Draw(t, "size")
		s.maxEntries = rapid.IntRange(0, 300).Draw(t, "entries")
		if !common {
			s.blockSize = int64(512) << rapid.IntRange(0, 6).Draw(t, "own block size")
		}
		if k == links-1 {
			s.typ = rapid.SampledFrom([]vhd.DiskType{vhd.Dynamic, vhd.Fixed}).Draw(t, "root")
		}
		for range rapid.IntRange(0, 5).Draw(t, "runs") {
			if s.size == 0 {
				break
			}
			sectors := (s.size + sector - 1) / sector
			start := rapid.Int64Range(0, sectors-1).Draw(t, "start")
			for n := start; n < min(sectors, start+rapid.Int64Range(1, 20).Draw(t, "length")); n++ {
				data := filled(s.uuid, n)
				if end := s.size - n*sector; end < sector {
					clear(data[end:])
				}
				s.put(n, data)
			}
		}
		stack[k] = s
	}
	return stack
}

func TestChainReadsLikeAnOverlayOfByteSlices(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		stack := drawStack(rt)
		files := make([][]byte, len(stack))
		for k, s := range stack {
			files[k] = s.encode()
		}
		chain, err := vhd.OpenChain(t.Context(), openBytes(t, files[0], nil), stackOpener(t, files), nil)
		require.NoError(rt, err)
		want := model(stack...)
		for range 10 {
			off := rapid.Int64Range(0, chain.Size()+10).Draw(rt, "off")
			buf := bytes.Repeat([]byte{0xaa}, rapid.IntRange(1, 9000).Draw(rt, "n"))
			n, err := chain.ReadAt(buf, off)
			rest := want[min(off, chain.Size()):]
			require.Equal(rt, min(len(rest), len(buf)), n)
			if n < len(buf) {
				require.ErrorIs(rt, err, io.EOF)
			} else {
				require.NoError(rt, err)
			}
			require.True(rt, bytes.Equal(rest[:n], buf[:n]))
		}
		checkExtents(t, rt, chain, want)
		blocks := map[int]bool{}
		for i := range chain.Blocks() {
			blocks[i] = true
		}
		for at := range want {
			if want[at] != 0 {
				require.True(rt, blocks[at/int(chain.BlockSize())])
			}
		}
	})
}

// checkExtents wants extents that cover the disk, are maximal, and call
// nothing a hole that is not zeros.
func checkExtents(t *testing.T, tb require.TestingT, src disk.Source, want []byte) {
	t.Helper()
	at, last := int64(0), disk.Kind(99)
	for e, err := range src.Extents(t.Context(), 0, src.Size()+100) {
		require.NoError(tb, err)
		require.Equal(tb, at, e.Off)
		require.NotEqual(tb, last, e.Kind)
		require.Positive(tb, e.Len)
		if e.Kind != disk.Data {
			require.Equal(tb, make([]byte, e.Len), want[e.Off:e.End()])
		}
		at, last = e.End(), e.Kind
	}
	require.Equal(tb, src.Size(), at)
}

// links returns n images, leaf first, each the child of the next.
func links(n int) [][]byte {
	files := make([][]byte, n)
	for k := range files {
		s := &spec{typ: vhd.Differencing, size: 8192, blockSize: 4096, uuid: byte(n - k), parent: byte(n - k - 1), parentName: "p"}
		if k == n-1 {
			s.typ = vhd.Dynamic
		}
		s.put(int64(k%16), filled(s.uuid, int64(k%16)))
		files[k] = s.encode()
	}
	return files
}

func TestFileRestoreLimitCountsTheFullImage(t *testing.T) {
	for n, want := range map[int]error{vhd.FileRestoreMaxLinks: nil, vhd.FileRestoreMaxLinks + 1: vhd.ErrChainTooLong} {
		files := links(n)
		chain, err := vhd.OpenChain(t.Context(), openBytes(t, files[0], nil), stackOpener(t, files), &vhd.ChainOptions{MaxLinks: vhd.FileRestoreMaxLinks})
		require.ErrorIs(t, err, want)
		if want == nil {
			require.Len(t, chain.Links(), n)
		}
	}
}

func TestChainRefusesCyclesAndStrangers(t *testing.T) {
	files := links(3)
	leaf := openBytes(t, files[0], nil)
	open := func(file []byte) vhd.Opener {
		return func(context.Context, *vhd.Image, vhd.ParentRef) (*vhd.Image, error) {
			return openBytes(t, file, nil), nil
		}
	}
	_, err := vhd.OpenChain(t.Context(), leaf, open(files[2]), nil)
	require.ErrorIs(t, err, vhd.ErrParentMismatch)
	_, err = vhd.OpenChain(t.Context(), leaf, open(files[0]), nil)
	require.ErrorIs(t, err, vhd.ErrCycle)
	_, err = vhd.OpenChain(t.Context(), leaf, func(context.Context, *vhd.Image, vhd.ParentRef) (*vhd.Image, error) { return leaf, nil }, nil)
	require.ErrorIs(t, err, vhd.ErrCycle)
	self := (&spec{typ: vhd.Differencing, size: 512, blockSize: 512, uuid: 5, parent: 5, parentName: "x"}).encode()
	_, err = vhd.OpenChain(t.Context(), openBytes(t, self, nil), open(self), nil)
	require.ErrorIs(t, err, vhd.ErrCycle)
	_, err = vhd.OpenChain(t.Context(), leaf, func(context.Context, *vhd.Image, vhd.ParentRef) (*vhd.Image, error) { return nil, nil }, nil)
	require.ErrorIs(t, err, vhd.ErrParentNotFound)
}

func TestDifferencingImageAloneNeedsItsParent(t *testing.T) {
	image := openBytes(t, links(2)[0], nil)
	_, err := image.ReadAt(make([]byte, 4096), 0)
	require.ErrorIs(t, err, vhd.ErrParentNeeded)
	_, err = image.ReadAt(make([]byte, 512), 0)
	require.NoError(t, err)
}

func TestConcurrentReadsAgree(t *testing.T) {
	stack := []*spec{}
	for k := range 3 {
		s := &spec{typ: vhd.Differencing, size: 256 << 10, blockSize: 4096, uuid: byte(3 - k), parent: byte(2 - k), parentName: "p"}
		if k == 2 {
			s.typ = vhd.Dynamic
		}
		for n := int64(k); n < 512; n += int64(3 + k) {
			s.put(n, filled(s.uuid, n))
		}
		stack = append(stack, s)
	}
	files := [][]byte{stack[0].encode(), stack[1].encode(), stack[2].encode()}
	chain, err := vhd.OpenChain(t.Context(), openBytes(t, files[0], nil), stackOpener(t, files), nil)
	require.NoError(t, err)
	want := model(stack...)
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() {
			buf := make([]byte, 3000)
			for off := int64(i * 100); off < int64(len(want)-len(buf)); off += 1777 {
				if _, err := chain.ReadAt(buf, off); err != nil || !bytes.Equal(buf, want[off:off+3000]) {
					errs[i] = fmt.Errorf("at %d: %w", off, errors.Join(err, errors.New("wrong data")))
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
}

func TestRandomReadsDoNotAllocate(t *testing.T) {
	files := links(50)
	chain, err := vhd.OpenChain(t.Context(), openBytes(t, files[0], nil), stackOpener(t, files), nil)
	require.NoError(t, err)
	buf := make([]byte, 4096)
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := chain.ReadAt(buf, 4096); err != nil {
			t.Error(err)
		}
	})
	require.Zero(t, allocs)
}
