package vhd_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/xenbackup/xenbackup/vhd"
)

// Compressors are large.
var (
	gzipWriters   = sync.Pool{New: func() any { z, _ := gzip.NewWriterLevel(nil, 1); return z }}
	brotliWriters = sync.Pool{New: func() any { return brotli.NewWriterLevel(nil, 0) }}
)

func compress(tb testing.TB, filter vhd.ChunkFilter, data []byte) []byte {
	tb.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch filter {
	case vhd.FilterGzip:
		z := gzipWriters.Get().(*gzip.Writer)
		defer gzipWriters.Put(z)
		z.Reset(&b)
		w = z
	case vhd.FilterBrotli:
		z := brotliWriters.Get().(*brotli.Writer)
		defer brotliWriters.Put(z)
		z.Reset(&b)
		w = z
	default:
		return data
	}
	_, err := w.Write(data)
	require.NoError(tb, err)
	require.NoError(tb, w.Close())
	return b.Bytes()
}

// asDirectory returns the files of s in XO's directory flavour: d.vhd, and
// d.alias.vhd that leads to it.
func asDirectory(tb testing.TB, s *spec, filter vhd.ChunkFilter) map[string][]byte {
	tb.Helper()
	entries := max(s.maxEntries, int((s.size+s.blockSize-1)/s.blockSize))
	table := make([]byte, entries)
	files := map[string][]byte{"d.alias.vhd": []byte("d.vhd")}
	for i, blk := range s.blocks {
		table[i/8] |= 0x80 >> (i % 8)
		bits := make([]byte, ((s.blockSize/sector+7)/8+511)/512*512)
		data := make([]byte, s.blockSize)
		for n, sec := range blk {
			bits[n/8] |= 0x80 >> (n % 8)
			copy(data[n*sector:], sec)
		}
		files[fmt.Sprintf("d.vhd/blocks/%d/%d", i/1000, i%1000)] = compress(tb, filter, append(bits, data...))
	}
	files["d.vhd/header"] = compress(tb, filter, s.header(entries))
	files["d.vhd/footer"] = compress(tb, filter, s.footer())
	files["d.vhd/bat"] = compress(tb, filter, table)
	if filter != vhd.FilterNone {
		files["d.vhd/chunk-filters.json"] = []byte(`["` + filter + `"]`)
	}
	return files
}

var filters = []vhd.ChunkFilter{vhd.FilterNone, vhd.FilterGzip, vhd.FilterBrotli}

func TestDirectoriesReadLikeAnOverlayOfByteSlices(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		stack := drawStack(rt)
		if root := stack[len(stack)-1]; root.typ == vhd.Fixed {
			root.typ = vhd.Dynamic
		}
		images := make([]*vhd.Image, len(stack))
		for k, s := range stack {
			filter := rapid.SampledFrom(filters).Draw(rt, "filter")
			image, err := vhd.OpenDirectory(t.Context(), newCrashDir(asDirectory(t, s, filter)), "d.alias.vhd")
			require.NoError(rt, err)
			require.Equal(rt, len(s.blocks), image.Allocated())
			images[k] = image
		}
		next := 0
		open := func(context.Context, *vhd.Image, vhd.ParentRef) (*vhd.Image, error) { next++; return images[next], nil }
		chain, err := vhd.OpenChain(t.Context(), images[0], open, nil)
		require.NoError(rt, err)
		want := model(stack...)
		require.True(rt, bytes.Equal(want, readAll(t, chain)))
		checkExtents(t, rt, chain, want)
		for range 5 {
			off := rapid.Int64Range(0, chain.Size()).Draw(rt, "off")
			buf := make([]byte, min(rapid.Int64Range(0, 9000).Draw(rt, "n"), chain.Size()-off))
			if len(buf) > 0 {
				_, err = chain.ReadAt(buf, off)
				require.NoError(rt, err)
				require.True(rt, bytes.Equal(want[off:off+int64(len(buf))], buf))
			}
		}
		require.NoError(rt, chain.Confirm())
		require.NoError(rt, chain.Close())
	})
}

func TestDirectoryIsReadByManyAtOnce(t *testing.T) {
	s := &spec{typ: vhd.Dynamic, size: 24 << 20, blockSize: 2 << 20, uuid: 1} // more than the cache holds
	for i := range int64(12) {
		s.put(i*4096+i, filled(1, i))
	}
	base := t.TempDir()
	for name, data := range asDirectory(t, s, vhd.FilterGzip) {
		full := filepath.Join(base, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(full), 0o700))
		require.NoError(t, os.WriteFile(full, data, 0o600))
	}
	image, err := vhd.OpenDirectory(t.Context(), vhd.OSDir(openRoot(t, base)), "d.alias.vhd")
	require.NoError(t, err)
	var wg sync.WaitGroup
	for g := range int64(3) {
		wg.Go(func() {
			buf := make([]byte, 512)
			for n := range int64(16) {
				i := (n*(2*g+1) + g) % 12
				if _, err := image.ReadAt(buf, (i*4096+i)*512); err != nil || !bytes.Equal(buf, filled(1, i)) {
					t.Errorf("block %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestHostileDirectoriesAreRefusedInBoundedMemory(t *testing.T) {
	be := binary.BigEndian
	for _, filter := range filters {
		bomb := compress(t, filter, make([]byte, 16<<20))
		for name, c := range map[string]struct {
			tamper func(files map[string][]byte)
			want   error
		}{
			"footer of another size": {func(f map[string][]byte) { f["d.vhd/footer"] = compress(t, filter, make([]byte, 511)) }, vhd.ErrTruncated},
			"footer too long":        {func(f map[string][]byte) { f["d.vhd/footer"] = compress(t, filter, make([]byte, 513)) }, vhd.ErrTrailingData},
			"header missing":         {func(f map[string][]byte) { delete(f, "d.vhd/header") }, nil},
			"header that is a bomb":  {func(f map[string][]byte) { f["d.vhd/header"] = bomb }, vhd.ErrTrailingData},
			"table that is a bomb":   {func(f map[string][]byte) { f["d.vhd/bat"] = bomb }, vhd.ErrTrailingData},
			"table too short":        {func(f map[string][]byte) { f["d.vhd/bat"] = compress(t, filter, nil) }, vhd.ErrTruncated},
			"block missing":          {func(f map[string][]byte) { delete(f, "d.vhd/blocks/0/1") }, vhd.ErrIncomplete},
			"block cut": {func(f map[string][]byte) {
				f["d.vhd/blocks/0/1"] = compress(t, filter, bytes.Repeat([]byte{0xff}, 4000))
			}, vhd.ErrTruncated},
			"block of zeros": {func(f map[string][]byte) { f["d.vhd/blocks/0/1"] = compress(t, filter, make([]byte, 4608)) }, vhd.ErrIncomplete},
			"block empty":    {func(f map[string][]byte) { f["d.vhd/blocks/0/1"] = nil }, vhd.ErrTruncated},
			"unknown filter": {func(f map[string][]byte) { f["d.vhd/chunk-filters.json"] = []byte(`["rot13"]`) }, vhd.ErrUnsupported},
			"filters torn":   {func(f map[string][]byte) { f["d.vhd/chunk-filters.json"] = []byte(`["gz`) }, vhd.ErrFilter},
			"4 G entries": {func(f map[string][]byte) {
				h := small().header(4)
				be.PutUint32(h[28:], 1<<32-1)
				be.PutUint32(h[36:], 0)
				be.PutUint32(h[36:], complement(h))
				f["d.vhd/header"] = compress(t, filter, h)
			}, nil},
			"entries missing": {func(f map[string][]byte) { f["d.vhd/header"] = compress(t, filter, small().header(2)) }, vhd.ErrBAT},
			"fixed": {func(f map[string][]byte) {
				s := small()
				s.typ = vhd.Fixed
				f["d.vhd/footer"] = compress(t, filter, s.footer())
			}, vhd.ErrUnsupported},
		} {
			t.Run(string(filter)+" "+name, func(t *testing.T) {
				files := asDirectory(t, small(), filter)
				c.tamper(files)
				var err error
				allocated := allocatedBy(func() {
					var image *vhd.Image
					image, err = vhd.OpenDirectory(t.Context(), newCrashDir(files), "d.alias.vhd")
					if err == nil {
						_, err = image.ReadAt(make([]byte, image.Size()), 0)
					}
				})
				require.Less(t, allocated, uint64(64<<20), "copies of the files included")
				if c.want != nil {
					require.ErrorIs(t, err, c.want)
					var where *vhd.FormatError
					require.ErrorAs(t, err, &where)
				}
			})
		}
	}
}

func TestDamagedBlocksOfADirectoryAreErrors(t *testing.T) {
	s := &spec{typ: vhd.Dynamic, size: 1024, blockSize: 512, uuid: 1}
	s.put(0, filled(1, 0))
	s.put(1, bytes.Repeat([]byte("ab"), 256))
	want := model(s)
	for _, filter := range []vhd.ChunkFilter{vhd.FilterGzip, vhd.FilterBrotli} {
		whole := asDirectory(t, s, filter)["d.vhd/blocks/0/1"]
		for n := range whole {
			files := asDirectory(t, s, filter)
			files["d.vhd/blocks/0/1"] = whole[:n]
			image, err := vhd.OpenDirectory(t.Context(), newCrashDir(files), "d.alias.vhd")
			require.NoError(t, err)
			got := make([]byte, 512)
			if _, err = image.ReadAt(got, 512); err == nil {
				require.True(t, bytes.Equal(want[512:], got), "cut at %d of %d", n, len(whole))
			} else {
				requireTyped(t, err)
			}
		}
	}
}

func TestAliasesLeadToDisksInsideTheDirectoryAlone(t *testing.T) {
	for content, want := range map[string]error{
		"d.vhd":                            nil,
		"./d.vhd\n":                        nil,
		"x/../d.vhd":                       nil,
		"file.vhd":                         nil,
		"":                                 vhd.ErrNotVHD,
		"../d.vhd":                         vhd.ErrOutside,
		"/d.vhd":                           vhd.ErrOutside,
		"d.alias.vhd":                      vhd.ErrNotVHD,
		"d":                                vhd.ErrNotVHD,
		"d.vhd\x00.vhd":                    vhd.ErrNotVHD,
		strings.Repeat("a", 1100) + ".vhd": vhd.ErrNotVHD,
	} {
		files := asDirectory(t, small(), vhd.FilterBrotli)
		files["d.alias.vhd"] = []byte(content)
		files["file.vhd"] = small().encode()
		image, err := vhd.OpenDirectory(t.Context(), newCrashDir(files), "d.alias.vhd")
		if want != nil {
			require.ErrorIs(t, err, want, "%.20q", content)
			continue
		}
		require.NoError(t, err, content)
		require.True(t, bytes.Equal(model(small()), readAll(t, image)))
		require.NoError(t, image.Close())
	}
	_, err := vhd.OpenDirectory(t.Context(), newCrashDir(nil), "../d.vhd")
	require.ErrorIs(t, err, vhd.ErrOutside)
}
