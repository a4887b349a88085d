package ext_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/ext"
)

// hostile are the images that are damaged: most have no checksums, which
// would find nearly all of it.
var hostile = []string{"ext2", "ext3", "ext4-inline-plain", "ext4-crc16", "ext4-blockmap", "dirty-none", "dirty-v1", "ext4-1k-inline", "dirty-v3"}

const sector = 512

// patched is an image with other bytes here and there. It counts its reads.
type patched struct {
	raw   []byte
	bytes map[int64]byte
	reads int
}

func (r *patched) ReadAt(p []byte, off int64) (int, error) {
	if r.reads++; r.reads > 1<<20 {
		return 0, errors.New("too many reads")
	}
	if off >= int64(len(r.raw)) {
		return 0, io.EOF
	}
	n := copy(p, r.raw[off:])
	for at, b := range r.bytes {
		if at >= off && at < off+int64(n) {
			p[at-off] = b
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// metadata returns the sectors that hold something and are not the content of
// a file, roughly: those of the first megabytes.
func metadata(raw []byte) []int64 {
	sectors := map[int64]bool{}
	for s := int64(0); s < int64(len(raw))/sector; s++ {
		if b := raw[s*sector:][:sector]; !bytes.Equal(b, make([]byte, sector)) && !uniform(b) {
			sectors[s] = true
		}
	}
	return slices.Sorted(maps.Keys(sectors))
}

// uniform tells of the content that the files of the images have.
func uniform(b []byte) bool {
	for i := 4; i < len(b); i++ {
		if b[i] != b[i-4] {
			return false
		}
	}
	return true
}

// examine reads everything there is, and fails on what must never happen.
func examine(tb testing.TB, r *patched) {
	tb.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	vol, err := ext.Open(tb.Context(), r, int64(len(r.raw)), &ext.Options{CacheSize: 1 << 20})
	if err != nil {
		typed(tb, err)
		return
	}
	files := 0
	for item, err := range fsys.Walk(tb.Context(), vol, vol.Root(), &fsys.WalkOptions{MaxEntries: 20000, MaxDepth: 200}) {
		if err != nil {
			typed(tb, err)
			continue
		}
		if _, err := vol.Xattrs(item.Entry.Node); err != nil {
			typed(tb, err)
		}
		switch {
		case item.Info.Mode&fs.ModeSymlink != 0:
			if _, err := vol.ReadLinkNode(item.Entry.Node); err != nil {
				typed(tb, err)
			}
		case item.Info.Mode.IsRegular() && files < 300:
			files++
			taste(tb, vol, item.Entry.Node)
		}
	}
	paths := 0
	_ = fs.WalkDir(vol, ".", func(_ string, _ fs.DirEntry, err error) error {
		if err != nil {
			typed(tb, err)
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
		typed(tb, err)
		return
	}
	p := make([]byte, 8<<10)
	for _, off := range []int64{0, f.Size() / 2, max(0, f.Size()-int64(len(p)))} {
		if _, err := f.ReadAt(p, off); err != nil && !errors.Is(err, io.EOF) {
			typed(tb, err)
		}
	}
	n := 0
	for _, err := range f.Extents(context.Background(), 0, f.Size()) {
		if err != nil {
			typed(tb, err)
		}
		if n++; n > 1000 {
			return
		}
	}
}

func typed(tb testing.TB, err error) {
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

// TestDamagedImagesEndInTypedErrors flips bytes in metadata: XENBACKUP_ROUNDS
// times per image, else 600 times in all.
func TestDamagedImagesEndInTypedErrors(t *testing.T) {
	rounds := 600 / len(hostile)
	if n, err := strconv.Atoi(os.Getenv("XENBACKUP_ROUNDS")); err == nil {
		rounds = n
	}
	for _, name := range hostile {
		t.Run(name, func(t *testing.T) {
			raw := image(t, name)
			where := metadata(raw)
			for round := range rounds {
				r := rand.New(rand.NewPCG(uint64(round), 7))
				p := &patched{raw: raw, bytes: map[int64]byte{}}
				for range 1 + r.IntN(30) {
					at := where[r.IntN(len(where))]*sector + r.Int64N(sector)
					p.bytes[at] = raw[at] ^ byte(1+r.IntN(255))
				}
				examine(t, p)
				require.False(t, t.Failed(), "round %d", round)
			}
		})
	}
}

func FuzzExt(f *testing.F) {
	var raws [][]byte
	var wheres [][]int64
	for i, name := range hostile {
		raws = append(raws, image(f, name))
		wheres = append(wheres, metadata(raws[i]))
		f.Add(byte(i), []byte{0, 2, 0, 1, 0xff})
	}
	f.Fuzz(func(t *testing.T, which byte, patches []byte) {
		i := int(which) % len(raws)
		p := &patched{raw: raws[i], bytes: map[int64]byte{}}
		for ; len(patches) >= 5; patches = patches[5:] { // sector, offset, value
			s := wheres[i][(int(patches[0])<<8|int(patches[1]))%len(wheres[i])]
			p.bytes[s*sector+(int64(patches[2])<<8|int64(patches[3]))%sector] = patches[4]
		}
		examine(t, p)
	})
}

func TestCutShortImagesAreRefusedOrWarnedOf(t *testing.T) {
	raw := image(t, "ext4")
	for _, n := range []int{0, 1, 1023, 1024, 2047} {
		_, err := ext.Open(t.Context(), bytes.NewReader(raw[:n]), int64(n), nil)
		require.ErrorIs(t, err, fsys.ErrWrongFormat)
	}
	half := raw[:len(raw)/2]
	vol, err := ext.Open(t.Context(), bytes.NewReader(half), int64(len(half)), nil)
	require.NoError(t, err)
	require.Equal(t, fsys.Damaged, vol.Warnings()[0].Concern)
	for _, err := range fsys.Walk(t.Context(), vol, vol.Root(), nil) {
		if err != nil {
			typed(t, err)
		}
	}
}
