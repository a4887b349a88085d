package vhd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
)

// merging is a directory with a chain to merge: everything from "1" up to keep
// becomes one image named keep; later images hang on it.
type merging struct {
	specs []*spec // the root first; spec k is the file fmt.Sprint(k)+".vhd"
	first int     // the oldest to merge; an image before it is its parent
	keep  int
}

func fileName(k int) string { return fmt.Sprintf("%02d.vhd", k) }

func (g *merging) plan() *vhd.MergePlan {
	plan := &vhd.MergePlan{}
	for k := g.first; k <= g.keep; k++ {
		plan.Chain = append(plan.Chain, fileName(k))
	}
	return plan
}

func (g *merging) files() map[string][]byte {
	files := make(map[string][]byte)
	for k, s := range g.specs {
		files[fileName(k)] = s.encode()
	}
	return files
}

// fresh returns the directory before the merge.
func (g *merging) fresh() *crashDir { return newCrashDir(g.files()) }

// want returns what the image k must read as.
func (g *merging) want(k int) []byte {
	stack := slices.Clone(g.specs[:k+1])
	slices.Reverse(stack)
	return model(stack...)
}

// random returns a chain whose images hold random sectors. Sizes grow, the
// table of the oldest must grow with them.
func random(seed uint64, root bool, blockSize int64, sizes ...int64) *merging {
	rnd := rand.New(rand.NewPCG(seed, 3))
	g := &merging{keep: len(sizes) - 2}
	if !root {
		g.first = 1
	}
	for k, size := range sizes {
		s := &spec{typ: vhd.Differencing, size: size, blockSize: blockSize, uuid: byte(k + 1), parent: byte(k), parentName: fileName(k - 1)}
		if k == 0 {
			s.typ = vhd.Dynamic
		}
		sectors := (size + sector - 1) / sector
		for range 3 {
			start := rnd.Int64N(sectors)
			for n := start; n < min(sectors, start+1+rnd.Int64N(12)); n++ {
				s.put(n, filled(byte(k+1), n))
			}
		}
		s.put(sectors-1, filled(byte(k+1), sectors-1))
		if rnd.IntN(2) == 0 {
			s.put(0, filled(byte(k+1), 0))
		}
		s.order = slices.Collect(maps.Keys(s.blocks))
		slices.Sort(s.order)
		rnd.Shuffle(len(s.order), func(i, j int) { s.order[i], s.order[j] = s.order[j], s.order[i] })
		g.specs = append(g.specs, s)
	}
	return g
}

// openMerging opens the chain of image k as a reader does while merges may be
// half done.
func openMerging(tb testing.TB, d *crashDir, k int) (*vhd.Chain, error) {
	tb.Helper()
	var states []*vhd.MergeState
	for name := range d.now {
		if state, err := vhd.ReadMergeState(tb.Context(), d, name); err == nil {
			states = append(states, state)
		}
	}
	open := func(name string) (*vhd.Image, error) {
		f, err := d.file(name)
		if err != nil {
			return nil, err
		}
		return vhd.Open(bytes.NewReader(f.data), int64(len(f.data)), &vhd.OpenOptions{Name: name, Mode: vhd.Recover})
	}
	leaf, err := open(fileName(k))
	if err != nil {
		return nil, err
	}
	opener := func(_ context.Context, _ *vhd.Image, ref vhd.ParentRef) (*vhd.Image, error) {
		return open(ref.Names[0])
	}
	return vhd.OpenChain(tb.Context(), leaf, opener, &vhd.ChainOptions{AcceptParent: func(child, parent *vhd.Image) bool {
		return slices.ContainsFunc(states, func(s *vhd.MergeState) bool { return s.AcceptParent(child, parent) })
	}})
}

// checkRetained compares what must be readable at every moment.
func (g *merging) checkRetained(tb testing.TB, d *crashDir) {
	tb.Helper()
	for k := g.keep; k < len(g.specs); k++ {
		chain, err := openMerging(tb, d, k)
		require.NoError(tb, err, "image %d", k)
		want, got := g.want(k), readAll(tb, chain)
		for at := 0; at < len(want); at += sector {
			if end := min(at+sector, len(want)); !bytes.Equal(want[at:end], got[at:end]) {
				tb.Fatalf("image %d reads wrong in sector %d: % x, want % x", k, at/sector, got[at:at+9], want[at:at+9])
			}
		}
	}
}

// checkDone compares what must be there after the merge.
func (g *merging) checkDone(tb testing.TB, d *crashDir) {
	tb.Helper()
	g.checkRetained(tb, d)
	var want []string
	for k := range g.specs {
		if k < g.first || k >= g.keep {
			want = append(want, fileName(k))
		}
	}
	require.Equal(tb, want, slices.Sorted(maps.Keys(d.now)))
	f := d.now[fileName(g.keep)]
	image := openBytes(tb, f.data, nil) // Strict
	require.Equal(tb, uuidOf(g.specs[g.keep].uuid), image.UUID())
	require.Equal(tb, g.specs[g.first].typ, image.Type())
	require.Empty(tb, d.pending)
	require.Equal(tb, f.data, f.synced)
}

var mergings = map[string]*merging{
	"same size":                       random(1, true, 4096, 40<<10, 40<<10, 40<<10, 40<<10),
	"growing, and the table with it":  random(2, true, 512, 20<<10, 20<<10+512, 70<<10, 70<<10),
	"growing from inside a block":     random(3, true, 4096, 4096*9+700, 4096*12+100, 4096*12+100),
	"onto a differencing image":       random(4, false, 4096, 30<<10, 40<<10, 44<<10, 44<<10, 44<<10),
	"the table grows over two blocks": random(5, true, 512, 10<<10, 270<<10, 270<<10),
}

func TestMergeKeepsContentOfEveryRetainedImage(t *testing.T) {
	for name, g := range mergings {
		t.Run(name, func(t *testing.T) {
			d := g.fresh()
			g.checkRetained(t, d)
			var last int64
			result, err := vhd.Merge(t.Context(), d, g.plan(), &vhd.MergeOptions{Progress: func(done, total int64) {
				require.Greater(t, done, last)
				require.LessOrEqual(t, done, total)
				last = done
			}})
			require.NoError(t, err)
			g.checkDone(t, d)
			require.Equal(t, fileName(g.keep), result.Kept)
			require.EqualValues(t, len(d.now[fileName(g.keep)].data), result.Size)
			require.Equal(t, last, result.Merged)
			require.False(t, result.Resumed)
		})
	}
}

// again merges until it is done, as whoever finds the directory does.
func (g *merging) again(tb testing.TB, d *crashDir) {
	tb.Helper()
	_, stateErr := d.file(vhd.MergeStateName(fileName(g.first)))
	_, oldestErr := d.file(fileName(g.first))
	if stateErr != nil && oldestErr != nil {
		require.NoError(tb, d.Sync(tb.Context(), ".")) // only the last sync was missing
		return
	}
	_, err := vhd.Merge(tb.Context(), d, g.plan(), nil)
	require.NoError(tb, err)
}

func TestMergeResumesAfterAFailureAtEveryOperation(t *testing.T) {
	for name, g := range mergings {
		if name == "the table grows over two blocks" {
			continue // takes long, and "the table with it" does the same with one
		}
		t.Run(name, func(t *testing.T) {
			for n := 1; ; n++ {
				d := g.fresh()
				d.failAt = n
				_, err := vhd.Merge(t.Context(), d, g.plan(), &vhd.MergeOptions{Checkpoint: 8192})
				if err == nil {
					require.Less(t, d.ops, n)
					break
				}
				require.ErrorIs(t, err, errInjected)
				d.failAt = 0
				g.checkRetained(t, d)
				g.again(t, d)
				g.checkDone(t, d)
			}
		})
	}
}

func TestMergeResumesAfterACrashAtEveryOperation(t *testing.T) {
	for name, g := range mergings {
		if name == "the table grows over two blocks" {
			continue // takes long, and "the table with it" does the same with one
		}
		t.Run(name, func(t *testing.T) {
			for n := 1; ; n++ {
				d := g.fresh()
				d.crashAt = n
				_, err := vhd.Merge(t.Context(), d, g.plan(), &vhd.MergeOptions{Checkpoint: 8192})
				if err == nil {
					break
				}
				after := d.restart(uint64(n))
				g.checkRetained(t, after)
				g.again(t, after)
				g.checkDone(t, after)
			}
		})
	}
}

func TestMergeResumesAfterSeveralCrashes(t *testing.T) {
	for name, g := range mergings {
		t.Run(name, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(9, 9))
			for range 8 {
				d := g.fresh()
				for range 3 {
					d.crashAt = 1 + rnd.IntN(150)
					plan := g.plan()
					if _, err := d.file(plan.Chain[0]); err != nil {
						if _, err := d.file(vhd.MergeStateName(plan.Chain[0])); err != nil {
							break
						}
					}
					_, err := vhd.Merge(t.Context(), d, plan, &vhd.MergeOptions{Checkpoint: 8192})
					if err == nil {
						break
					}
					require.ErrorIs(t, err, errPower)
					d = d.restart(rnd.Uint64())
					g.checkRetained(t, d)
				}
				d.crashAt = 0
				g.again(t, d)
				g.checkDone(t, d)
			}
		})
	}
}

func TestMergeStopsWhenTheLockIsLost(t *testing.T) {
	g := mergings["same size"]
	lost := errors.New("lost")
	for n := 1; ; n++ {
		d := g.fresh()
		asked, changes := 0, 0
		_, err := vhd.Merge(t.Context(), d, g.plan(), &vhd.MergeOptions{Lost: func() error {
			if asked++; asked == n {
				changes = d.ops
				return lost
			}
			return nil
		}})
		if err == nil {
			break
		}
		require.ErrorIs(t, err, lost)
		require.Equal(t, changes, d.ops, "something was done after the lock was lost")
		g.again(t, d)
		g.checkDone(t, d)
	}
}

func TestMergeRefusesWhatItCannotProveAndChangesNothing(t *testing.T) {
	g := mergings["same size"]
	cases := map[string]struct {
		tamper func(files map[string][]byte, plan *vhd.MergePlan)
		want   error
	}{
		"a file that is another disk": {func(files map[string][]byte, _ *vhd.MergePlan) {
			other := *g.specs[0]
			other.uuid = 77
			files[fileName(0)] = other.encode()
		}, vhd.ErrParentMismatch},
		"a missing file": {func(files map[string][]byte, _ *vhd.MergePlan) { delete(files, fileName(1)) }, fs.ErrNotExist},
		"a cut file": {func(files map[string][]byte, _ *vhd.MergePlan) {
			files[fileName(1)] = files[fileName(1)][:5000]
		}, vhd.ErrTruncated},
		"a name outside":      {func(_ map[string][]byte, plan *vhd.MergePlan) { plan.Chain[1] = "../x.vhd" }, vhd.ErrUnsupported},
		"a directory outside": {func(_ map[string][]byte, plan *vhd.MergePlan) { plan.Dir = "../x" }, vhd.ErrUnsupported},
		"a skipped link":      {func(_ map[string][]byte, plan *vhd.MergePlan) { plan.Chain = slices.Delete(plan.Chain, 1, 2) }, vhd.ErrParentMismatch},
		"a shrinking disk": {func(files map[string][]byte, _ *vhd.MergePlan) {
			other := *g.specs[2]
			other.size, other.blocks, other.order = 8192, nil, nil
			files[fileName(2)] = other.encode()
		}, vhd.ErrUnsupported},
		"blocks of another size": {func(files map[string][]byte, _ *vhd.MergePlan) {
			other := *g.specs[2]
			other.blockSize, other.blocks, other.order = 8192, nil, nil
			files[fileName(2)] = other.encode()
		}, vhd.ErrUnsupported},
		"a state about others": {func(files map[string][]byte, _ *vhd.MergePlan) {
			files[".00.vhd.merge.json"] = []byte(`{"child":{"uuid":"` + uuidOf(9).String() + `"},"parent":{"uuid":"` + uuidOf(1).String() + `"},"chain":["00.vhd","01.vhd"],"step":"mergeBlocks"}`)
		}, vhd.ErrMergeState},
		"another merge": {func(files map[string][]byte, _ *vhd.MergePlan) { files[".01.vhd.merge.json"] = nil }, vhd.ErrMergeState},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			files, plan := g.files(), g.plan()
			c.tamper(files, plan)
			d := newCrashDir(files)
			_, err := vhd.Merge(t.Context(), d, plan, nil)
			require.ErrorIs(t, err, c.want)
			require.Equal(t, slices.Sorted(maps.Keys(files)), slices.Sorted(maps.Keys(d.now)))
			for name, data := range files {
				require.True(t, bytes.Equal(data, d.now[name].data), name)
			}
		})
	}
}
