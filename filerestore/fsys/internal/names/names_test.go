package names

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func indexOf(dir int64, entries int) *Index {
	x := New(dir)
	for i := range entries {
		x.Add(fmt.Sprint("name ", i), int64(i))
	}
	x.Sort()
	return x
}

func TestIndexFindsEveryName(t *testing.T) {
	x := New(1)
	for i := range 1000 {
		x.AddBytes(fmt.Appendf(nil, "name %d", i%900), int64(i))
	}
	x.Sort()
	require.Equal(t, []int64{5, 905}, slices.Collect(x.Find("name 5")))
	require.Equal(t, []int64{899}, slices.Collect(x.Find("name 899")))
	require.Empty(t, slices.Collect(x.Find("name 900")))
	for pos := range x.Find("name 5") {
		require.EqualValues(t, 5, pos)
		break
	}
}

func TestTheFirstDamageCounts(t *testing.T) {
	x := New(1)
	require.NoError(t, x.Damage())
	x.Fail(nil)
	x.Fail(io.ErrUnexpectedEOF)
	x.Fail(errors.New("later"))
	require.Equal(t, io.ErrUnexpectedEOF, x.Damage())
}

func TestCacheIsBoundedByNumberAndBySlots(t *testing.T) {
	var c Cache
	for dir := range int64(3 * maxIndexes) { // of empty directories there may be millions
		c.Put(indexOf(dir, 0))
	}
	require.Len(t, c.kept, maxIndexes)
	require.Nil(t, c.Get(0))
	require.NotNil(t, c.Get(3*maxIndexes-1))
	c.Put(indexOf(3*maxIndexes, 1))
	c.Put(&Index{dir: -1, slots: make([]slot, maxSlots)})
	require.Len(t, c.kept, 1)
	c.Put(&Index{dir: -2, slots: make([]slot, maxSlots+1)})
	require.Nil(t, c.Get(-2))
	require.NotNil(t, c.Get(-1))
	require.Equal(t, maxSlots, c.slots)
}

func TestCacheKeepsOneIndexOfADirectoryThatManyLookInto(t *testing.T) {
	var c Cache
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if c.Get(7) == nil {
					c.Put(indexOf(7, 10))
				}
				c.Put(indexOf(7, 10))
			}
		})
	}
	wg.Wait()
	require.Len(t, c.kept, 1)
	require.Equal(t, 10, c.slots)
}
