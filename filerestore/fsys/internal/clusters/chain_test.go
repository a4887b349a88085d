package clusters

import (
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// heapOf has a chain in a table that is a slice. It counts look-ups.
func heapOf(next []uint32, calls *int) *Heap {
	return &Heap{
		Device: NewDevice("test", nil, 1<<40, 1), Off: 1 << 20, Size: 512, Count: uint32(len(next) - 2),
		Next: func(_ *Window, c uint32) (uint32, error) { *calls++; return next[c], nil },
	}
}

// scattered links n clusters so that no two follow each other.
func scattered(n int) (next, order []uint32) {
	next = make([]uint32, n+2)
	for c := n + 1; c >= 2; c -= 2 {
		order = append(order, uint32(c))
	}
	for c := n; c >= 2; c -= 2 {
		order = append(order, uint32(c))
	}
	for i := range order[1:] {
		next[order[i]] = order[i+1]
	}
	return next, order
}

func TestFilesInVeryManyPiecesAreReadWithoutWalkingThemAgain(t *testing.T) {
	const n = 200_000
	next, order := scattered(n)
	calls := 0
	h := heapOf(next, &calls)
	m, err := h.Map(order[0], false, n*512)
	require.NoError(t, err)
	for i := range uint32(n) {
		r, err := m.at(i)
		require.NoError(t, err)
		require.Equal(t, run{i, order[i], 1}, r)
	}
	require.Less(t, calls, 20*n, "in order")
	require.LessOrEqual(t, len(m.(*chain).runs), maxRuns)
	calls = 0
	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		i := random.Uint32N(n)
		r, err := m.at(i)
		require.NoError(t, err)
		require.Equal(t, order[i], r.cluster)
	}
	require.Less(t, calls, 1000*n/maxRuns*4, "at random")
	_, err = m.at(n)
	require.ErrorIs(t, err, io.EOF)
}

func TestCirclesAreFoundWhereverTheyBegin(t *testing.T) {
	const n = 1000
	for _, back := range []int{0, 1, 500, n - 2, n - 1} {
		next, order := scattered(n)
		next[order[n-1]] = order[back]
		calls := 0
		m, err := heapOf(next, &calls).Map(order[0], false, n*512)
		require.NoError(t, err)
		_, err = m.at(1 << 31)
		require.ErrorIs(t, err, fsys.ErrCorrupt)
		require.LessOrEqual(t, calls, 4*n)
		_, err = m.at(n - 1)
		require.NoError(t, err)
	}
}

func TestWhatCouldNotBeReadIsTriedAgain(t *testing.T) {
	next, order := scattered(10)
	broken := errors.New("unplugged")
	calls := 0
	h := heapOf(next, &calls)
	inner, fail := h.Next, true
	h.Next = func(w *Window, c uint32) (uint32, error) {
		if fail && c == order[5] {
			return 0, broken
		}
		return inner(w, c)
	}
	m, err := h.Map(order[0], false, 10*512)
	require.NoError(t, err)
	_, err = m.at(7)
	require.ErrorIs(t, err, broken)
	fail = false
	r, err := m.at(7)
	require.NoError(t, err)
	require.Equal(t, order[7], r.cluster)
}

func TestClustersInOrderAreOneRun(t *testing.T) {
	next := make([]uint32, 102)
	for c := 2; c < 101; c++ {
		next[c] = uint32(c + 1)
	}
	calls := 0
	h := heapOf(next, &calls)
	m, err := h.Map(2, false, 0)
	require.NoError(t, err)
	r, err := m.at(50)
	require.NoError(t, err)
	require.Equal(t, run{0, 2, 100}, r)
	_, err = h.Map(3, true, 100*512)
	require.ErrorIs(t, err, fsys.ErrCorrupt, "one more than there are")
	m, err = h.Map(3, true, 99*512)
	require.NoError(t, err)
	r, err = m.at(98)
	require.NoError(t, err)
	require.Equal(t, run{0, 3, 99}, r)
	_, err = m.at(99)
	require.ErrorIs(t, err, io.EOF)
}
