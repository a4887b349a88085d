package vhd_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
)

// xoState is a state as XO writes it for directories.
func (g *dirMerging) xoState(step, currentBlock string) []byte {
	state := string(g.merging.xoState(step, currentBlock))
	return []byte(strings.ReplaceAll(state, `.vhd"`, `.alias.vhd"`))
}

// merged returns the directory as it is when everything is in the oldest image,
// and nothing was renamed or removed but the blocks.
func (g *dirMerging) merged(tb testing.TB) map[string][]byte {
	tb.Helper()
	d := g.fresh()
	_, err := vhd.Merge(tb.Context(), d, g.plan(), nil)
	require.NoError(tb, err)
	files := g.files()
	for name := range files {
		k := strings.Index(name, "/blocks/")
		if k > 0 && name[:k] == dataName(g.keep) { // moved
			delete(files, name)
		}
	}
	for name, f := range d.now {
		if strings.HasPrefix(name, dataName(g.first)+"/") {
			files[name] = f.data
		}
	}
	return files
}

func TestMergeOfDirectoriesFinishesWhatXOLeaves(t *testing.T) {
	for name, g := range dirMergings {
		if g.first != 0 || slices.Contains(g.filters, "file") {
			continue
		}
		state := vhd.MergeStateName(aliasName(0))
		youngest, oldest := aliasName(g.keep), aliasName(0)
		data := func(files map[string][]byte, k int) {
			maps.DeleteFunc(files, func(name string, _ []byte) bool { return strings.HasPrefix(name, dataName(k)+"/") })
		}
		cleanup := func(files map[string][]byte) { files[state] = g.xoState("cleanup", "0") }
		windows := map[string]func(files map[string][]byte){
			"all blocks moved, table and footer not written": func(files map[string][]byte) {
				files[state] = g.xoState("mergeBlocks", "0")
				for _, part := range []string{"bat", "footer", "header"} {
					files[dataName(0)+"/"+part] = g.files()[dataName(0)+"/"+part]
				}
			},
			"the table written, the footer not": func(files map[string][]byte) {
				files[state] = g.xoState("mergeBlocks", "3")
				files[dataName(0)+"/footer"] = g.files()[dataName(0)+"/footer"]
			},
			"a torn state":             func(files map[string][]byte) { files[state] = g.xoState("mergeBlocks", "3")[:50] },
			"cleanup, nothing removed": cleanup,
			"cleanup, data of the youngest cut": func(files map[string][]byte) {
				cleanup(files)
				delete(files, dataName(g.keep)+"/header")
			},
			"cleanup, data of the youngest gone": func(files map[string][]byte) { cleanup(files); data(files, g.keep) },
			"cleanup, the youngest gone": func(files map[string][]byte) {
				cleanup(files)
				data(files, g.keep)
				delete(files, youngest)
			},
			"cleanup, all but the oldest gone": func(files map[string][]byte) {
				cleanup(files)
				for k := 1; k <= g.keep; k++ {
					data(files, k)
					delete(files, aliasName(k))
				}
			},
			"cleanup, the new alias empty": func(files map[string][]byte) {
				cleanup(files)
				for k := 1; k <= g.keep; k++ {
					data(files, k)
					delete(files, aliasName(k))
				}
				files[youngest] = nil
			},
			"cleanup, two aliases": func(files map[string][]byte) {
				cleanup(files)
				for k := 1; k < g.keep; k++ {
					data(files, k)
					delete(files, aliasName(k))
				}
				data(files, g.keep)
				files[youngest] = files[oldest]
			},
			"cleanup, only the state left": func(files map[string][]byte) {
				cleanup(files)
				for k := 1; k < g.keep; k++ {
					data(files, k)
					delete(files, aliasName(k))
				}
				data(files, g.keep)
				files[youngest] = files[oldest]
				delete(files, oldest)
			},
		}
		for window, make := range windows {
			t.Run(name+"/"+window, func(t *testing.T) {
				files := g.merged(t)
				make(files)
				for n := 1; ; n++ { // and crash again while finishing it
					d := newCrashDir(files)
					if d.crashAt = n; name != "same size" {
						d.crashAt = 0
					}
					result, err := vhd.Merge(t.Context(), d, g.plan(), nil)
					if err == nil {
						d.crashAt = 0
						require.Equal(t, window != "a torn state", result.Resumed)
						g.checkDone(t, d)
						break
					}
					require.ErrorIs(t, err, errPower)
					after := d.restart(uint64(n))
					g.again(t, after)
					g.checkDone(t, after)
				}
			})
		}
	}
}

func TestMergeOfDirectoriesRefusesWhatItCannotProveAndChangesNothing(t *testing.T) {
	g := dirMergings["same size"]
	state := vhd.MergeStateName(aliasName(0))
	var block string // of the youngest
	for name := range g.files() {
		if strings.HasPrefix(name, dataName(g.keep)+"/blocks/") {
			block = name
		}
	}
	cases := map[string]struct {
		tamper func(files map[string][]byte, plan *vhd.MergePlan)
		want   error
	}{
		"a block that is missing": {func(files map[string][]byte, _ *vhd.MergePlan) { delete(files, block) }, vhd.ErrIncomplete},
		"a block that is missing in both": {func(files map[string][]byte, _ *vhd.MergePlan) {
			files[state] = g.xoState("mergeBlocks", "0")
			for name := range files {
				if strings.HasSuffix(name, strings.TrimPrefix(block, dataName(g.keep))) {
					delete(files, name)
				}
			}
		}, vhd.ErrIncomplete},
		"an alias and a file": {func(files map[string][]byte, plan *vhd.MergePlan) { plan.Chain[1] = "01.vhd" }, vhd.ErrUnsupported},
		"an alias that leads out": {func(files map[string][]byte, _ *vhd.MergePlan) {
			files[aliasName(1)] = []byte("../other/01.vhd")
		}, vhd.ErrOutside},
		"an alias of an alias": {func(files map[string][]byte, _ *vhd.MergePlan) {
			files[aliasName(1)] = []byte(aliasName(2))
		}, vhd.ErrNotVHD},
		"two aliases of one directory": {func(files map[string][]byte, _ *vhd.MergePlan) {
			files[aliasName(0)] = files[aliasName(g.keep)]
		}, vhd.ErrCycle},
		"an unknown filter": {func(files map[string][]byte, _ *vhd.MergePlan) {
			files[dataName(1)+"/chunk-filters.json"] = []byte(`["rot13"]`)
		}, vhd.ErrUnsupported},
		"cleanup, the oldest incomplete, the youngest gone": {func(files map[string][]byte, _ *vhd.MergePlan) {
			files[state] = g.xoState("cleanup", "0")
			delete(files, aliasName(g.keep))
		}, vhd.ErrMergeState},
		"cleanup, both gone": {func(files map[string][]byte, _ *vhd.MergePlan) {
			files[state] = g.xoState("cleanup", "0")
			delete(files, aliasName(0))
			delete(files, aliasName(g.keep))
		}, vhd.ErrMergeState},
		"cleanup, a block of the complete one missing": {func(files map[string][]byte, _ *vhd.MergePlan) {
			clear(files)
			maps.Copy(files, g.merged(t))
			files[state] = g.xoState("cleanup", "0")
			delete(files, aliasName(g.keep))
			delete(files, strings.Replace(block, dataName(g.keep), dataName(0), 1))
		}, vhd.ErrIncomplete},
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
				require.Equal(t, data, d.now[name].data, name)
			}
		})
	}
}
