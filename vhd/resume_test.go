package vhd_test

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
)

// xoState is a state as XO writes it: without our record of what was synced.
func (g *merging) xoState(step, currentBlock string) []byte {
	var names []string
	for k := g.first; k <= g.keep; k++ {
		names = append(names, strconv.Quote(fileName(k)))
	}
	return []byte(`{"child":{"uuid":"` + uuidOf(g.specs[g.keep].uuid).String() + `"},"parent":{"uuid":"` + uuidOf(g.specs[g.first].uuid).String() +
		`"},"chain":[` + strings.Join(names, ",") + `],"currentBlock":` + currentBlock + `,"mergedDataSize":0,"step":"` + step + `","diskSize":0}`)
}

// complete returns the directory as it is after everything but the last step:
// the oldest image is complete, and nothing was renamed or removed.
func (g *merging) complete(tb testing.TB) map[string][]byte {
	tb.Helper()
	d := g.fresh()
	_, err := vhd.Merge(tb.Context(), d, g.plan(), nil)
	require.NoError(tb, err)
	files := g.files()
	files[fileName(g.first)] = d.now[fileName(g.keep)].data
	return files
}

func TestMergeFinishesWhatXOLeaves(t *testing.T) {
	state := vhd.MergeStateName(fileName(0))
	for name, g := range mergings {
		if g.first != 0 {
			continue
		}
		cases := map[string]func(files map[string][]byte){
			"nothing copied": func(files map[string][]byte) {
				files[fileName(0)] = g.files()[fileName(0)]
				files[state] = g.xoState("mergeBlocks", "null")
			},
			"a position without proof": func(files map[string][]byte) {
				files[fileName(0)] = g.files()[fileName(0)]
				files[state] = g.xoState("mergeBlocks", "9999")
			},
			"a torn state": func(files map[string][]byte) {
				files[fileName(0)] = g.files()[fileName(0)]
				files[state] = g.xoState("mergeBlocks", "0")[:40]
			},
			"a torn state of a complete merge": func(files map[string][]byte) { files[state] = nil },
			"the end footer overwritten": func(files map[string][]byte) {
				file := g.files()[fileName(0)]
				files[fileName(0)] = append(file[:len(file)-512], make([]byte, 1536)...)
				files[state] = g.xoState("mergeBlocks", "0")
			},
			"no chain in the state": func(files map[string][]byte) {
				files[fileName(0)] = g.files()[fileName(0)]
				files[state] = []byte(strings.Replace(string(g.xoState("mergeBlocks", "-1")), `"chain"`, `"other"`, 1))
			},
			"cleanup, nothing removed": func(files map[string][]byte) { files[state] = g.xoState("cleanup", "0") },
			"cleanup, the youngest removed": func(files map[string][]byte) {
				files[state] = g.xoState("cleanup", "0")
				delete(files, fileName(g.keep))
			},
			"cleanup, all but the oldest removed": func(files map[string][]byte) {
				files[state] = g.xoState("cleanup", "0")
				for k := 1; k <= g.keep; k++ {
					delete(files, fileName(k))
				}
			},
			"cleanup, renamed": func(files map[string][]byte) {
				files[state] = g.xoState("cleanup", "0")
				files[fileName(g.keep)] = files[fileName(0)]
				for k := range g.keep {
					delete(files, fileName(k))
				}
			},
		}
		for window, make := range cases {
			t.Run(name+"/"+window, func(t *testing.T) {
				files := g.complete(t)
				make(files)
				for n := 1; ; n++ { // and crash again while finishing it
					d := newCrashDir(files)
					if d.crashAt = n; name != "same size" {
						d.crashAt = 0
					}
					result, err := vhd.Merge(t.Context(), d, g.plan(), nil)
					if err == nil {
						require.Equal(t, !strings.HasPrefix(window, "a torn"), result.Resumed)
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

func TestMergeNeverRemovesTheLastCopy(t *testing.T) {
	g := mergings["same size"]
	state := vhd.MergeStateName(fileName(0))
	for window, make := range map[string]func(files map[string][]byte){
		"oldest incomplete, youngest gone": func(files map[string][]byte) {
			files[state] = g.xoState("cleanup", "0")
			delete(files, fileName(g.keep))
		},
		"oldest gone, youngest not replaced": func(files map[string][]byte) {
			files[state] = g.xoState("cleanup", "0")
			delete(files, fileName(0))
		},
		"both gone": func(files map[string][]byte) {
			files[state] = g.xoState("cleanup", "0")
			delete(files, fileName(0))
			delete(files, fileName(g.keep))
		},
		"the youngest is another disk": func(files map[string][]byte) {
			files[state] = g.xoState("mergeBlocks", "0")
			other := *g.specs[g.keep]
			other.uuid = 99
			files[fileName(g.keep)] = other.encode()
		},
	} {
		t.Run(window, func(t *testing.T) {
			files := g.files()
			make(files)
			d := newCrashDir(files)
			_, err := vhd.Merge(t.Context(), d, g.plan(), nil)
			require.ErrorIs(t, err, vhd.ErrMergeState)
			require.Equal(t, slices.Sorted(maps.Keys(files)), slices.Sorted(maps.Keys(d.now)))
			for name, data := range files {
				require.Equal(t, data, d.now[name].data, name)
			}
		})
	}
}

// XO resumes a merge of ours, writes its state with all that it found in it, and the
// power goes before what it wrote is on the disk.
func TestMergeBelievesXONothingThatItOnlyFoundInTheState(t *testing.T) {
	g := mergings["same size"]
	files := g.complete(t)
	oldest, before := files[fileName(0)], len(g.files()[fileName(0)])-512
	first := int64(binary.BigEndian.Uint32(oldest[1536:])) * sector // this one was synced
	kept := bytes.Clone(oldest[first : first+sector+g.specs[0].blockSize])
	clear(oldest[before : len(oldest)-512])
	copy(oldest[first:], kept)
	state := g.xoState("cleanup", "0")
	files[vhd.MergeStateName(fileName(0))] = append(state[:len(state)-1], []byte(`,"syncedBlock":1}`)...)
	d := newCrashDir(files)
	_, err := vhd.Merge(t.Context(), d, g.plan(), nil)
	require.NoError(t, err)
	g.checkDone(t, d)
}

func TestMergeStateIsWhatXOReads(t *testing.T) {
	g := mergings["same size"]
	d := g.fresh()
	d.failAt = 1 << 30
	stop := false
	_, err := vhd.Merge(t.Context(), d, g.plan(), &vhd.MergeOptions{Progress: func(int64, int64) { stop = true }, Lost: func() error {
		if stop {
			return errInjected
		}
		return nil
	}})
	require.ErrorIs(t, err, errInjected)
	require.JSONEq(t, string(g.xoState("mergeBlocks", "0")), string(d.now[".00.vhd.merge.json"].data))
}
