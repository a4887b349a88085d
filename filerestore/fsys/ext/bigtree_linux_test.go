package ext_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// TestABigTreeReadsAsLinuxReadsIt has some 26,000 entries, fewer for the race
// detector: on a volume copied while it was in use, and on the same volume when it was
// no more. With XENBACKUP_BIG its files are as large as they can be on a disk of 4 GiB.
func TestABigTreeReadsAsLinuxReadsIt(t *testing.T) {
	requireLoop(t)
	dir := t.TempDir()
	image, copied := filepath.Join(dir, "image"), filepath.Join(dir, "copy")
	size, written := int64(256<<20), int64(8<<20)
	if os.Getenv("XENBACKUP_BIG") != "" {
		size, written = 4<<30, 1<<30
	}
	crowd := 23_000
	if underRace {
		crowd = 2_500
	}
	mkfs(t, image, size, "-t", "ext4", "-N", "60000", "-J", "size=32")
	at, unmount := mount(t, image, "rw,commit=300")
	populate(t, at, 500, written/5)
	w := tree{t, at}
	w.nested(5000)
	w.deep(300)
	w.holes(written)
	unix.Sync()
	opened := burst(t, at, 3)
	w.crowd(crowd)
	commit(t, at)
	run(t, "cp", "--sparse=always", image, copied)
	require.NoError(t, opened.Close())
	unmount()

	for name, path := range map[string]string{"in use": copied, "clean": image} {
		vol := open(t, path)
		got := read(t, vol)
		require.Greater(t, len(got), 2_000+crowd, name)
		if path == copied {
			require.Len(t, vol.Warnings(), 1)
			require.Equal(t, fsys.Replayed, vol.Warnings()[0].Concern)
			recovered := filepath.Join(dir, "recovered")
			run(t, "cp", "--sparse=always", copied, recovered)
			_, unmount = mount(t, recovered, "rw")
			unmount()
			path = recovered
		} else {
			require.Empty(t, vol.Warnings())
		}
		at, unmount = mount(t, path, "ro")
		if want := kernelManifest(t, at); !reflect.DeepEqual(want, got) { // the difference takes longer
			require.Empty(t, gocmp.Diff(want, got), name)
		}
		unmount()
	}
}

// nested makes files in directories with names of many scripts.
func (w tree) nested(files int) {
	w.t.Helper()
	parts := []string{"caf\u00e9", "cafe\u0301", "\u05e9\u05dc\u05d5\u05dd", "\U0001F4C1", "zero\u200bwidth", "\u96ea", "plain"}
	for i := range files {
		dir := fmt.Sprintf("nested/%s/%s-%d", parts[i%len(parts)], parts[i/len(parts)%len(parts)], i/20%10)
		w.mkdir(dir)
		w.write(fmt.Sprintf("%s/%d", dir, i), bytes.Repeat([]byte{byte(i)}, i%900))
	}
}

// deep makes directories in each other.
func (w tree) deep(levels int) {
	w.t.Helper()
	require.NoError(w.t, os.MkdirAll(w.path("levels"+strings.Repeat("/l", levels)), 0o755))
	w.write("levels"+strings.Repeat("/l", levels)+"/end", []byte("end"))
}

// holes makes files with holes of all sizes, and large ones without.
func (w tree) holes(size int64) {
	w.t.Helper()
	w.pieces("sparse/2.1-GiB", 2255<<20, []int64{0, 1 << 30, 2254 << 20}, []byte("here and there"))
	w.pieces("sparse/128-MiB", 128<<20, nil, nil)
	var offsets []int64
	for i := range int64(3000) {
		offsets = append(offsets, i*8192)
	}
	w.pieces("sparse/3000", 3000*8192, offsets, []byte("x"))
	w.pieces("sequential", size, seq(size, 1<<20), fill(1<<20))
	for i := range 150 { // names of one file
		require.NoError(w.t, os.Link(w.path("size-4097"), w.path(fmt.Sprintf("links/more-%d", i))))
	}
	offsets = seq(size/4, 64<<10)
	rand.New(rand.NewPCG(7, 8)).Shuffle(len(offsets), func(i, j int) { offsets[i], offsets[j] = offsets[j], offsets[i] })
	w.pieces("random", size/4, offsets, fill(64<<10))
}

// crowd makes a directory of many files, with gaps where others were.
func (w tree) crowd(files int) {
	w.t.Helper()
	w.mkdir("crowd")
	for i := range files {
		w.write(fmt.Sprintf("crowd/%d", i), nil)
	}
	for i := 0; i < files; i += 7 {
		require.NoError(w.t, os.Remove(w.path(fmt.Sprintf("crowd/%d", i))))
	}
}
