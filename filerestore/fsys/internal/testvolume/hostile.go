package testvolume

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

const sector = 512

// Patched is an image with other bytes here and there. It counts its reads.
type Patched struct {
	Raw   []byte
	Bytes map[int64]byte
	Reads int
}

// ReadAt implements io.ReaderAt.
func (r *Patched) ReadAt(p []byte, off int64) (int, error) {
	if r.Reads++; r.Reads > 1<<20 {
		return 0, errors.New("too many reads")
	}
	if off >= int64(len(r.Raw)) {
		return 0, io.EOF
	}
	n := copy(p, r.Raw[off:])
	for at, b := range r.Bytes {
		if at >= off && at < off+int64(n) {
			p[at-off] = b
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// metadata returns the sectors that hold something that is not the content of
// a file.
func metadata(raw []byte) []int64 {
	var sectors []int64
	for s := int64(0); s < int64(len(raw))/sector; s++ {
		if b := raw[s*sector:][:sector]; !bytes.Equal(b[4:], b[:sector-4]) {
			sectors = append(sectors, s)
		}
	}
	return sectors
}

// Opener opens a volume.
type Opener func(ctx context.Context, r io.ReaderAt, size int64) (fsys.FS, error)

// Loader returns the content of an image in testdata, as [Image] does.
type Loader func(tb testing.TB, name string) []byte

// Damage flips bytes in the metadata of images, XENBACKUP_ROUNDS times each, else 600
// times in all, and examines what is left.
func Damage(t *testing.T, images []string, load Loader, open Opener) {
	t.Helper()
	rounds := 600 / len(images)
	if n, err := strconv.Atoi(os.Getenv("XENBACKUP_ROUNDS")); err == nil {
		rounds = n
	}
	for _, name := range images {
		t.Run(name, func(t *testing.T) { flip(t, load(t, name), rounds, open) })
	}
}

func flip(t *testing.T, raw []byte, rounds int, open Opener) {
	t.Helper()
	where := metadata(raw)
	for round := range rounds {
		r := rand.New(rand.NewPCG(uint64(round), 7))
		p := &Patched{Raw: raw, Bytes: map[int64]byte{}}
		for range 1 + r.IntN(30) {
			at := where[r.IntN(len(where))]*sector + r.Int64N(sector)
			p.Bytes[at] = raw[at] ^ byte(1+r.IntN(255))
		}
		Examine(t, p, open)
		require.False(t, t.Failed(), "round %d", round)
	}
}

// Fuzz lets a fuzzer choose an image and what is written to its metadata.
func Fuzz(f *testing.F, images []string, load Loader, open Opener) {
	f.Helper()
	raws, wheres := make([][]byte, len(images)), make([][]int64, len(images))
	for i, name := range images {
		raws[i] = load(f, name)
		wheres[i] = metadata(raws[i])
		f.Add(byte(i), []byte{0, 2, 0, 13, 0xff, 0, 5, 1, 26, 2})
		f.Add(byte(i), []byte{0, 0, 0, 106, 2, 0, 40, 1, 26, 2})
	}
	f.Fuzz(func(t *testing.T, which byte, patches []byte) {
		i := int(which) % len(raws)
		Examine(t, patch(raws[i], wheres[i], patches), open)
	})
}

// patch makes an image of what a fuzzer wrote: sector, offset, value.
func patch(raw []byte, where []int64, patches []byte) *Patched {
	p := &Patched{Raw: raw, Bytes: map[int64]byte{}}
	for ; len(patches) >= 5; patches = patches[5:] {
		s := where[(int(patches[0])<<8|int(patches[1]))%len(where)]
		p.Bytes[s*sector+(int64(patches[2])<<8|int64(patches[3]))%sector] = patches[4]
	}
	return p
}

// Examine reads everything there is, and fails on what must never happen.
func Examine(tb testing.TB, r *Patched, open Opener) {
	tb.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	vol, err := open(tb.Context(), r, int64(len(r.Raw)))
	if err != nil {
		Typed(tb, err)
		return
	}
	files := 0
	for item, err := range fsys.Walk(tb.Context(), vol, vol.Root(), &fsys.WalkOptions{MaxEntries: 20000, MaxDepth: 200}) {
		if err != nil {
			Typed(tb, err)
			continue
		}
		if _, err := vol.Xattrs(item.Entry.Node); err != nil {
			Typed(tb, err)
		}
		switch {
		case item.Info.Mode&fs.ModeSymlink != 0:
			if _, err := vol.ReadLinkNode(item.Entry.Node); err != nil {
				Typed(tb, err)
			}
		case item.Info.Mode.IsRegular() && files < 300:
			files++
			taste(tb, vol, item.Entry.Node)
		}
	}
	paths := 0
	_ = fs.WalkDir(vol, ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			Typed(tb, err)
		}
		if _, err := vol.Stat(name); err != nil {
			Typed(tb, err)
		}
		if paths++; paths > 2000 {
			return fs.SkipAll
		}
		return nil
	})
	runtime.ReadMemStats(&after)
	require.Less(tb, after.TotalAlloc-before.TotalAlloc, uint64(512<<20), "memory allocated in all")
}

// taste reads a file from both ends, and its first extents.
func taste(tb testing.TB, vol fsys.Nodes, id fsys.NodeID) {
	tb.Helper()
	f, err := vol.OpenNode(id)
	if err != nil {
		Typed(tb, err)
		return
	}
	p := make([]byte, 8<<10)
	for _, off := range []int64{0, f.Size() / 2, max(0, f.Size()-int64(len(p)))} {
		if _, err := f.ReadAt(p, off); err != nil && !errors.Is(err, io.EOF) {
			Typed(tb, err)
		}
	}
	n := 0
	for _, err := range f.Extents(context.Background(), 0, f.Size()) {
		if err != nil {
			Typed(tb, err)
		}
		if n++; n > 1<<16 { // more than the images have: a bomb
			return
		}
	}
}

// Typed fails on errors of no kind that callers know.
func Typed(tb testing.TB, err error) {
	tb.Helper()
	for _, kind := range []error{
		fsys.ErrCorrupt, fsys.ErrWrongFormat, fsys.ErrUnsupported, fsys.ErrEncrypted, fsys.ErrLimit,
		fsys.ErrNotDir, fsys.ErrNotRegular, fs.ErrNotExist, fs.ErrInvalid,
	} {
		if errors.Is(err, kind) {
			return
		}
	}
	tb.Errorf("an error of no kind: %v", err)
}
