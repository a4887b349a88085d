package fsys_test

import (
	"context"
	"fmt"
	"io/fs"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

func TestDirectoriesInACircleAreEnteredOnce(t *testing.T) {
	// 1 has 2, 2 has 3, 3 has 2 and the root
	vol := newMemory(&memory{
		children: func(n uint64) []fsys.Entry {
			return map[uint64][]fsys.Entry{1: {dir("a", 2)}, 2: {dir("b", 3)}, 3: {dir("again", 2), dir("root", 1)}}[n]
		},
		parent: func(n uint64) uint64 { return max(1, n-1) },
	})
	var paths []string
	damaged := 0
	for item, err := range fsys.Walk(t.Context(), vol, vol.Root(), nil) {
		paths = append(paths, item.Path)
		if err != nil {
			require.ErrorIs(t, err, fsys.ErrCorrupt)
			damaged++
		}
	}
	require.Equal(t, []string{"a", "a/b", "a/b/again", "a/b/root"}, paths)
	require.Equal(t, 2, damaged)

	seen := 0
	require.NoError(t, fs.WalkDir(vol, ".", func(path string, _ fs.DirEntry, err error) error {
		if seen++; err != nil {
			require.ErrorIs(t, err, fsys.ErrCorrupt, path)
		}
		return nil
	}))
	require.Less(t, seen, 10)
}

func TestDirectoriesInSeveralPlacesDoNotMultiply(t *testing.T) {
	// each level has the next one eight times: 8^40 paths
	vol := newMemory(&memory{
		children: func(n uint64) []fsys.Entry {
			var list []fsys.Entry
			for i := range 8 {
				list = append(list, dir(fmt.Sprint(i), n+1))
			}
			return list[:min(8, int(40-min(n, 40))*8)]
		},
		parent: func(n uint64) uint64 { return max(1, n-1) },
	})
	seen := 0
	for _, err := range fsys.Walk(t.Context(), vol, vol.Root(), nil) {
		if err != nil {
			require.ErrorIs(t, err, fsys.ErrCorrupt)
		}
		seen++
	}
	require.Equal(t, 39*8, seen)
}

func TestWalksEndAtTheirLimits(t *testing.T) {
	endless := newMemory(&memory{
		children: func(n uint64) []fsys.Entry { return []fsys.Entry{dir("deeper", n+1)} },
		parent:   func(n uint64) uint64 { return max(1, n-1) },
	})
	last := func(ctx context.Context, opts *fsys.WalkOptions) (n int, err error) {
		for _, err = range fsys.Walk(ctx, endless, endless.Root(), opts) {
			n++
		}
		return n, err
	}
	n, err := last(t.Context(), &fsys.WalkOptions{MaxDepth: 300})
	require.ErrorIs(t, err, fsys.ErrLimit)
	require.Equal(t, 301, n)
	n, err = last(t.Context(), &fsys.WalkOptions{MaxEntries: 10})
	require.ErrorIs(t, err, fsys.ErrLimit)
	require.Equal(t, 11, n)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = last(ctx, nil)
	require.ErrorIs(t, err, context.Canceled)
}

func TestAWalkOfAMillionEntriesKeepsLittle(t *testing.T) {
	vol := newMemory(&memory{
		children: func(n uint64) []fsys.Entry {
			if n > 1 {
				return nil
			}
			list := make([]fsys.Entry, 1000)
			for i := range list {
				list[i] = dir(fmt.Sprint(i), uint64(i+2))
			}
			return list
		},
	})
	thousand := make([]fsys.Entry, 1000)
	for i := range thousand {
		thousand[i] = fsys.Entry{Name: fmt.Sprint(i), Node: id(10_000)}
	}
	vol.content = map[uint64]string{10_000: "file"}
	top := vol.children
	vol.children = func(n uint64) []fsys.Entry {
		if n > 1 {
			return thousand
		}
		return top(n)
	}
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	n, peak := 0, uint64(0)
	for _, err := range fsys.Walk(t.Context(), vol, vol.Root(), nil) {
		require.NoError(t, err)
		if n++; n%200_000 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapAlloc-min(now.HeapAlloc, before.HeapAlloc))
		}
	}
	require.Equal(t, 1_001_000, n)
	require.Less(t, peak, uint64(8<<20))
}
