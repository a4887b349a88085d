package vhd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
)

// watchedDir is a crashDir that calls before each change of its entries; an error
// of it is that of the change.
type watchedDir struct {
	*crashDir
	before func() error
}

func (d *watchedDir) WriteFile(ctx context.Context, name string, data []byte) error {
	if err := d.before(); err != nil {
		return err
	}
	return d.crashDir.WriteFile(ctx, name, data)
}

func (d *watchedDir) Rename(ctx context.Context, oldname, newname string) error {
	if err := d.before(); err != nil {
		return err
	}
	return d.crashDir.Rename(ctx, oldname, newname)
}

func (d *watchedDir) Remove(ctx context.Context, name string) error {
	if err := d.before(); err != nil {
		return err
	}
	return d.crashDir.Remove(ctx, name)
}

// right wants the content of image k, or that the reader is told that it changed.
func (g *dirMerging) right(tb testing.TB, chain *vhd.Chain, k int, what string) {
	tb.Helper()
	got := make([]byte, chain.Size())
	_, err := chain.ReadAt(got, 0)
	if err == nil && !bytes.Equal(g.want(k), got) {
		err = chain.Confirm()
		require.Error(tb, err, "%s: reads wrong", what)
	}
	if err != nil {
		require.ErrorIs(tb, err, vhd.ErrChanged, what)
	}
	require.NoError(tb, chain.Close(), what)
}

// A reader may be opened at any moment of a merge, and read at any later one.
func TestReadersOfDirectoriesAreRightOrToldBetweenAnyTwoStepsOfAMerge(t *testing.T) {
	for name, g := range dirMergings {
		t.Run(name, func(t *testing.T) {
			steps := 0
			_, err := vhd.Merge(t.Context(), &watchedDir{g.fresh(), func() error { steps++; return nil }}, g.plan(), nil)
			require.NoError(t, err)

			d, step := g.fresh(), 0
			readers := make([][]*vhd.Chain, steps+1) // by the step at which they will read
			look := func() error {
				for _, chain := range readers[step] {
					g.right(t, chain, g.keep+step%2, fmt.Sprintf("step %d of %d", step, steps))
				}
				for later := step; later <= steps; later++ {
					k := g.keep + later%2
					chain, err := vhd.OpenDirChain(t.Context(), d, aliasName(k), nil)
					require.NoError(t, err)
					if later == step {
						g.right(t, chain, k, "at once")
						continue
					}
					readers[later] = append(readers[later], chain)
				}
				step++
				return nil
			}
			_, err = vhd.Merge(t.Context(), &watchedDir{d, look}, g.plan(), nil)
			require.NoError(t, err)
			require.Equal(t, steps, step)
			require.NoError(t, look())
		})
	}
}

// pacedDir calls before each thing that a reader asks for.
type pacedDir struct {
	*crashDir
	before func()
}

func (d *pacedDir) Open(ctx context.Context, name string) (vhd.DirFile, error) {
	d.before()
	return d.crashDir.Open(ctx, name)
}

func (d *pacedDir) ReadFile(ctx context.Context, name string) ([]byte, error) {
	d.before()
	return d.crashDir.ReadFile(ctx, name)
}

func (d *pacedDir) List(ctx context.Context, name string) ([]string, error) {
	d.before()
	return d.crashDir.List(ctx, name)
}

// A merge may come as far as it likes between any two things that a reader asks
// for while it opens a chain and reads it, and be finished between two others.
func TestMergeBetweenAnyTwoReadsIsNoHarmToReadersOfDirectories(t *testing.T) {
	errStop := errors.New("killed")
	for name, g := range dirMergings {
		t.Run(name, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(1, 1))
			steps := 0
			_, err := vhd.Merge(t.Context(), &watchedDir{g.fresh(), func() error { steps++; return nil }}, g.plan(), nil)
			require.NoError(t, err)
			for asked, first := 1, 0; asked > first; first++ {
				asked = 0
				d := g.fresh()
				stop, second := rnd.IntN(steps+1), first+1+rnd.IntN(12)
				merge := func(stop int) {
					step := 0
					dir := &watchedDir{d, func() error {
						if step++; step > stop {
							return errStop
						}
						return nil
					}}
					_, oldestErr := d.file(aliasName(g.first))
					_, stateErr := d.file(vhd.MergeStateName(aliasName(g.first)))
					if oldestErr != nil && stateErr != nil {
						return // it is over
					}
					if _, err := vhd.Merge(t.Context(), dir, g.plan(), nil); err != nil {
						require.ErrorIs(t, err, errStop)
					}
				}
				k := g.keep + first%2
				reader := &pacedDir{d, func() {
					switch asked {
					case first:
						merge(stop)
					case second:
						merge(1 << 30)
					}
					asked++
				}}
				chain, err := vhd.OpenDirChain(t.Context(), reader, aliasName(k), nil)
				require.NoError(t, err)
				g.right(t, chain, k, fmt.Sprintf("%d steps before request %d, the rest before %d", stop, first, second))
			}
		})
	}
}
