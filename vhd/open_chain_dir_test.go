package vhd_test

import (
	"bytes"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
)

// aliasFamily returns the files of four images a, b, c and d in XO's directory flavour,
// each the parent of the next, and what they must read as.
func aliasFamily(tb testing.TB) (files map[string][]byte, want map[string][]byte) {
	tb.Helper()
	files, want = map[string][]byte{}, map[string][]byte{}
	var stack []*spec
	for k, name := range []string{"a", "b", "c", "d"} {
		s := &spec{typ: vhd.Differencing, size: 16384, blockSize: 4096, uuid: byte(k + 1), parent: byte(k)}
		if k == 0 {
			s.typ = vhd.Dynamic
		} else {
			s.parentName = string(rune('a'+k-1)) + ".alias.vhd"
		}
		for i := range 4 {
			if i == k || i == (k+1)%4 {
				for n := range int64(8) {
					s.put(int64(i)*8+n, filled(s.uuid, n))
				}
			}
		}
		for file, data := range asDirectory(tb, s, vhd.FilterBrotli) {
			if rest, ok := strings.CutPrefix(file, "d.vhd/"); ok {
				files["data/"+name+".vhd/"+rest] = data
			}
		}
		files[name+".alias.vhd"] = []byte("data/" + name + ".vhd")
		stack = append([]*spec{s}, stack...)
		want[name] = model(stack...)
	}
	return files, want
}

const halfMerged = `{"child":{"uuid":"03030303-0303-0303-0303-030303030303"},"parent":{"uuid":"01010101-0101-0101-0101-010101010101"},` +
	`"chain":["a.alias.vhd","b.alias.vhd","c.alias.vhd"],"currentBlock":0,"mergedDataSize":0,"step":"mergeBlocks","diskSize":0}`

// mergedUpTo moves the first n blocks of b and c into a, as XO does.
func mergedUpTo(files map[string][]byte, n int) map[string][]byte {
	files = maps.Clone(files)
	files[".a.alias.vhd.merge.json"] = []byte(halfMerged)
	for i := range n {
		for _, from := range []string{"c", "b"} { // the youngest that has it
			name := "data/" + from + ".vhd/blocks/0/" + string(rune('0'+i))
			if data, ok := files[name]; ok {
				delete(files, name)
				files["data/a.vhd/blocks/0/"+string(rune('0'+i))] = data
				break
			}
		}
	}
	return files
}

func requireReads(t *testing.T, files map[string][]byte, name string, want []byte) {
	t.Helper()
	chain, err := vhd.OpenDirChain(t.Context(), newCrashDir(files), name+".alias.vhd", nil)
	require.NoError(t, err, name)
	require.True(t, bytes.Equal(want, readAll(t, chain)), name)
	require.NoError(t, chain.Confirm())
	require.NoError(t, chain.Close())
}

func TestBlocksThatAMergeHasMovedAreFound(t *testing.T) {
	whole, want := aliasFamily(t)
	for n := range 5 {
		files := mergedUpTo(whole, n)
		requireReads(t, files, "c", want["c"])
		requireReads(t, files, "d", want["d"])
	}
}

func TestBlocksThatAMergeOfOldVersionsHasMovedAreFound(t *testing.T) {
	files, want := aliasFamily(t)
	block := "data/c.vhd/blocks/0/2"
	files["data/b.vhd/blocks/0/2"] = files[block]
	delete(files, block)
	// They merge two images at a time, and name the uuids alone.
	files[".b.alias.vhd.merge.json"] = []byte(`{"child":{"uuid":"03030303-0303-0303-0303-030303030303"},` +
		`"parent":{"uuid":"02020202-0202-0202-0202-020202020202"},"currentBlock":null,"step":"mergeBlocks"}`)
	requireReads(t, files, "c", want["c"])
	requireReads(t, files, "d", want["d"])
	files[".b.alias.vhd.merge.json"] = []byte(`{"child":{"uu`) // torn
	requireReads(t, files, "c", want["c"])
}

func TestBlocksThatMoveWhileAChainIsOpenAreFound(t *testing.T) {
	whole, want := aliasFamily(t)
	dir := newCrashDir(whole)
	chain, err := vhd.OpenDirChain(t.Context(), dir, "d.alias.vhd", nil)
	require.NoError(t, err)
	got := make([]byte, 4096)
	_, err = chain.ReadAt(got, 0)
	require.NoError(t, err)
	require.NoError(t, dir.WriteFile(t.Context(), ".a.alias.vhd.merge.json", []byte(halfMerged)))
	require.NoError(t, dir.Rename(t.Context(), "data/c.vhd/blocks/0/2", "data/a.vhd/blocks/0/2"))
	require.True(t, bytes.Equal(want["d"], readAll(t, chain)))
}

func TestBlocksThatAreGoneWithAFinishedMergeSayThatTheImageChanged(t *testing.T) {
	whole, _ := aliasFamily(t)
	dir := newCrashDir(whole)
	image, err := vhd.OpenDirectory(t.Context(), dir, "c.alias.vhd")
	require.NoError(t, err)
	require.NoError(t, dir.Remove(t.Context(), "data/c.vhd/blocks/0/2"))
	_, err = image.ReadAt(make([]byte, 4096), 2*4096)
	require.ErrorIs(t, err, vhd.ErrIncomplete, "nothing says where it went")
	require.NoError(t, dir.WriteFile(t.Context(), "c.alias.vhd", []byte("data/a.vhd")))
	_, err = image.ReadAt(make([]byte, 4096), 2*4096)
	require.ErrorIs(t, err, vhd.ErrChanged)
}

// TestChainsOpenInEveryStepOfTheCleanup removes what the end of a merge removes,
// piece by piece.
func TestChainsOpenInEveryStepOfTheCleanup(t *testing.T) {
	whole, want := aliasFamily(t)
	files := mergedUpTo(whole, 4)
	merged := &spec{typ: vhd.Dynamic, size: 16384, blockSize: 4096, uuid: 3}
	for i := range int64(4) {
		merged.put(i*8, filled(9, 0)) // only the table counts here
	}
	for file, data := range asDirectory(t, merged, vhd.FilterBrotli) {
		if rest, ok := strings.CutPrefix(file, "d.vhd/"); ok && !strings.HasPrefix(rest, "blocks/") {
			files["data/a.vhd/"+rest] = data
		}
	}
	check := func() {
		t.Helper()
		requireReads(t, files, "c", want["c"])
		requireReads(t, files, "d", want["d"])
	}
	check() // complete, and has the uuid of c
	files[".a.alias.vhd.merge.json"] = []byte(strings.Replace(halfMerged, "mergeBlocks", "cleanup", 1))
	check()
	for _, gone := range []string{"b.alias.vhd", "data/b.vhd/header", "data/b.vhd/footer", "c.alias.vhd", "data/c.vhd/bat", "data/c.vhd/footer"} {
		delete(files, gone)
		check()
	}
	files["c.alias.vhd"] = nil // torn
	check()
	files["c.alias.vhd"] = []byte("data/a.vhd")
	check()
	delete(files, "a.alias.vhd")
	check()
	delete(files, ".a.alias.vhd.merge.json")
	check()
}
