package vhd_test

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
)

// readLeaf returns the content of leaf.vhd in the mode Strict.
func readLeaf(tb testing.TB, d *crashDir) []byte {
	tb.Helper()
	chain, err := vhd.OpenDirChain(tb.Context(), d, "leaf.vhd", nil)
	require.NoError(tb, err)
	defer func() { require.NoError(tb, chain.Close()) }()
	return readAll(tb, chain)
}

func TestRepairMendsWhatIsProvenAndLeavesTheRest(t *testing.T) {
	leaf, parent := sound()
	for name, c := range damages() {
		t.Run(name, func(t *testing.T) {
			files := c.files()
			d := newCrashDir(files)
			plan, err := vhd.PlanRepair(t.Context(), d, "leaf.vhd", nil)
			require.NoError(t, err)
			for name, data := range files {
				require.Equal(t, data, d.now[name].data)
			}
			require.NoError(t, plan.Apply(t.Context()))
			if !c.repaired {
				require.Empty(t, plan.Steps)
				require.Equal(t, c.severity > vhd.Note && c.level == vhd.CheckStructure, len(plan.Left) > 0)
				return
			}
			require.NotEmpty(t, plan.Steps)
			require.Empty(t, plan.Left)
			require.True(t, bytes.Equal(model(leaf, parent), readLeaf(t, d)))
		})
	}
}

func TestRepairIsSafeAtEveryOperation(t *testing.T) {
	leaf, parent := sound()
	for name, c := range damages() {
		if !c.repaired {
			continue
		}
		t.Run(name, func(t *testing.T) {
			for n := 1; ; n++ {
				d := newCrashDir(c.files())
				plan, err := vhd.PlanRepair(t.Context(), d, "leaf.vhd", nil)
				require.NoError(t, err)
				d.ops, d.crashAt = 0, n
				if err := plan.Apply(t.Context()); err == nil {
					break
				}
				after := d.restart(uint64(n))
				plan, err = vhd.PlanRepair(t.Context(), after, "leaf.vhd", nil)
				require.NoError(t, err)
				require.Empty(t, plan.Left)
				require.NoError(t, plan.Apply(t.Context()))
				require.True(t, bytes.Equal(model(leaf, parent), readLeaf(t, after)))
			}
		})
	}
}

func TestRepairForgetsLostBlocksOnlyWhenTold(t *testing.T) {
	leaf, parent := sound()
	cut := func(files map[string][]byte) {
		file := files["leaf.vhd"]
		file = file[:len(file)-512-(512+4096)] // the footer and all of block 1, the last
		binary.BigEndian.PutUint32(file[1536+4*2:], uint32(len(file)/512+100))
		files["leaf.vhd"] = file
	}
	d := newCrashDir(damaged{tamper: cut}.files())
	plan, err := vhd.PlanRepair(t.Context(), d, "leaf.vhd", nil)
	require.NoError(t, err)
	require.Empty(t, plan.Steps)
	require.Len(t, plan.Left, 3)

	plan, err = vhd.PlanRepair(t.Context(), d, "leaf.vhd", &vhd.RepairOptions{ForgetLost: true})
	require.NoError(t, err)
	require.Empty(t, plan.Left)
	require.Len(t, plan.Steps, 3)
	require.Equal(t, vhd.FindFooter, plan.Steps[2].Finding.Kind)
	require.NoError(t, plan.Apply(t.Context()))
	delete(leaf.blocks, 1)
	require.True(t, bytes.Equal(model(leaf, parent), readLeaf(t, d)))
}

func TestRepairLeavesToMergeWhatAMergeLeft(t *testing.T) {
	g := mergings["same size"]
	files := g.files()
	files[vhd.MergeStateName(fileName(0))] = g.xoState("mergeBlocks", "0")
	for k := range g.keep + 1 {
		_, err := vhd.PlanRepair(t.Context(), newCrashDir(files), fileName(k), nil)
		require.ErrorIs(t, err, vhd.ErrMergeState)
	}
}

// Blocks that a merge has moved away are not lost, though the table that listed them is.
func TestRepairMakesNoTableAnewWhoseBlocksAMergeHasMoved(t *testing.T) {
	g := dirMergings["same size"]
	for _, state := range [][]byte{g.xoState("mergeBlocks", "0"), []byte("{")} {
		files := g.merged(t)
		files[vhd.MergeStateName(aliasName(0))] = state
		files[dataName(0)+"/footer"] = g.files()[dataName(0)+"/footer"]
		table := files[dataName(g.keep)+"/bat"]
		files[dataName(g.keep)+"/bat"] = nil
		for _, name := range []string{aliasName(g.keep), dataName(g.keep)} {
			_, err := vhd.PlanRepair(t.Context(), newCrashDir(files), name, nil)
			require.ErrorIs(t, err, vhd.ErrMergeState, name)
		}

		files[dataName(g.keep)+"/bat"], files[dataName(0)+"/bat"] = table, nil
		d := newCrashDir(files)
		plan, err := vhd.PlanRepair(t.Context(), d, aliasName(0), nil)
		require.NoError(t, err)
		require.NoError(t, plan.Apply(t.Context()))
		g.again(t, d)
		g.checkDone(t, d)
	}
}

func TestRepairRefusesWhenTheImageHasChanged(t *testing.T) {
	c := damages()["the footer cut off"]
	d := newCrashDir(c.files())
	plan, err := vhd.PlanRepair(t.Context(), d, "leaf.vhd", nil)
	require.NoError(t, err)
	before := c.files()
	before["leaf.vhd"] = append(before["leaf.vhd"], make([]byte, 2048)...)
	d.now["leaf.vhd"].data = slices.Clone(before["leaf.vhd"])
	require.ErrorIs(t, plan.Apply(t.Context()), vhd.ErrChanged)
	require.Equal(t, before["leaf.vhd"], d.now["leaf.vhd"].data)
	require.Equal(t, slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(d.now)))
}
