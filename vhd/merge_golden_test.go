package vhd_test

import (
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/vhd"
)

// interruption is a directory of disks in which XO was killed while it merged.
type interruption struct {
	dir   vhd.Dir
	base  string
	disks []goldenDisk // of the points that are left
	chain []string
}

// interruptions returns those of the golden repository by flavour.
func interruptions(tb testing.TB) map[string]*interruption {
	tb.Helper()
	repo := testenv.GoldenInterrupted(tb)
	dir := vhd.OSDir(openRoot(tb, repo.Dir))
	found := map[string]*interruption{}
	for _, base := range repo.InterruptedMerges {
		x := &interruption{dir: dir, base: strings.TrimPrefix(base, "/")}
		for _, d := range allGoldenDisks(tb, repo) {
			if path.Dir(d.path) == x.base {
				x.disks = append(x.disks, d)
			}
		}
		require.NotEmpty(tb, x.disks)
		names, err := dir.List(tb.Context(), x.base)
		require.NoError(tb, err)
		at := slices.IndexFunc(names, func(name string) bool { return strings.HasSuffix(name, ".merge.json") })
		state, err := vhd.ReadMergeState(tb.Context(), dir, path.Join(x.base, names[at]))
		require.NoError(tb, err)
		x.chain = state.Chain
		flavour := "files"
		if strings.HasSuffix(state.Chain[0], ".alias.vhd") {
			flavour = "directories"
		}
		found[flavour] = x
	}
	require.Len(tb, found, 2)
	return found
}

// check reads every disk that a point needs, also in the middle of a merge.
func (x *interruption) check(tb testing.TB) {
	tb.Helper()
	for _, d := range x.disks {
		state, err := vhd.ReadMergeState(tb.Context(), x.dir, path.Join(x.base, vhd.MergeStateName(x.chain[0])))
		opts := &vhd.ChainOptions{}
		if err == nil {
			opts.AcceptParent = state.AcceptParent
		}
		chain, err := vhd.OpenDirChain(tb.Context(), x.dir, d.path, opts)
		require.NoError(tb, err, d.path)
		require.Equal(tb, d.want.Size, chain.Size(), d.path)
		require.Equal(tb, d.want.SHA256, digest(tb, chain), d.path)
		require.NoError(tb, chain.Close())
	}
}

// TestMergesThatXOBeganAreFinished works on what XO's backups 0.74.2 left when it was killed.
func TestMergesThatXOBeganAreFinished(t *testing.T) {
	for flavour, x := range interruptions(t) {
		t.Run(flavour, func(t *testing.T) {
			x.check(t)
			result, err := vhd.Merge(t.Context(), x.dir, &vhd.MergePlan{Dir: x.base, Chain: x.chain}, nil)
			require.NoError(t, err)
			require.True(t, result.Resumed)
			require.Positive(t, result.Size)
			x.check(t)
			names, err := x.dir.List(t.Context(), x.base)
			require.NoError(t, err)
			require.NotContains(t, names, x.chain[0])
			require.NotContains(t, names, vhd.MergeStateName(x.chain[0]))
			if flavour == "directories" {
				data, err := x.dir.List(t.Context(), path.Join(x.base, "data"))
				require.NoError(t, err)
				require.Len(t, data, len(x.disks))
			}
		})
	}
}
