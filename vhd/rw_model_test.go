package vhd_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// overlay is a stack of images, the youngest last, of which the last is written; and
// beside it the slow truth: a slice of bytes per image.
type overlay struct {
	files  []*memFile
	layout []vhd.Layout
	disk   *vhd.RW
	truth  [][]byte // of the stack up to image k
	names  []string
	made   int // images so far
}

func (o *overlay) last() int { return len(o.files) - 1 }

// chain opens the stack up to image k as a reader would.
func (o *overlay) chain(t require.TestingT, k int) *vhd.Chain {
	open := func(k int) *vhd.Image {
		data := o.files[k].data
		image, err := vhd.Open(bytes.NewReader(data), int64(len(data)), nil)
		require.NoError(t, err, "image %d", k)
		return image
	}
	next := k
	chain, err := vhd.OpenChain(context.Background(), open(k), func(context.Context, *vhd.Image, vhd.ParentRef) (*vhd.Image, error) {
		next--
		return open(next), nil
	}, nil)
	require.NoError(t, err)
	return chain
}

func (o *overlay) check(t require.TestingT, k int) {
	chain := o.chain(t, k)
	require.EqualValues(t, len(o.truth[k]), chain.Size())
	got := make([]byte, chain.Size())
	_, err := chain.ReadAt(got, 0)
	require.NoError(t, err)
	if !bytes.Equal(o.truth[k], got) { // to look for the place takes longer than all else
		require.Fail(t, "wrong data", "the stack up to image %d, first at %d", k, firstDifference(o.truth[k], got))
	}
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// push adds an image: the first, or a snapshot's child.
func (o *overlay) push(t require.TestingT, typ vhd.DiskType, size, blockSize int64, profile vhd.Profile) {
	n := len(o.files)
	o.made++
	l := vhd.Layout{Type: typ, Size: size, UUID: uuidOf(byte(o.made)), BlockSize: blockSize, Profile: profile}
	content := make([]byte, size)
	if n > 0 {
		l.ParentUUID, l.ParentName = o.layout[n-1].UUID, o.names[n-1]
		copy(content, o.truth[n-1])
	}
	f := &memFile{}
	w, err := vhd.Create(f, l)
	require.NoError(t, err)
	o.files, o.layout, o.truth, o.disk = append(o.files, f), append(o.layout, l), append(o.truth, content), w
	o.names = append(o.names, fileName(o.made))
}

func TestWritesReadAsAnOverlayOfSlices(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.Int64Range(1, 1200)
		blocks := rapid.SampledFrom([]int64{512 << 10, 1 << 20})
		profiles := rapid.SampledFrom([]vhd.Profile{vhd.Repository, vhd.Host})
		o := &overlay{}
		o.push(t, rapid.SampledFrom([]vhd.DiskType{vhd.Fixed, vhd.Dynamic}).Draw(t, "type"), sizes.Draw(t, "sectors")*sector, blocks.Draw(t, "block"), profiles.Draw(t, "profile"))
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) { o.write(t) },
			"sync":  func(t *rapid.T) { require.NoError(t, o.disk.Sync()) },
			"reopen": func(t *rapid.T) {
				require.NoError(t, o.disk.Close())
				f := o.files[o.last()]
				w, err := vhd.OpenRW(f, int64(len(f.data)), nil)
				require.NoError(t, err)
				o.disk = w
			},
			"snapshot": func(t *rapid.T) {
				if len(o.files) == 4 {
					t.Skip("deep enough")
				}
				require.NoError(t, o.disk.Close())
				o.push(t, vhd.Differencing, int64(len(o.truth[o.last()])), blocks.Draw(t, "block"), profiles.Draw(t, "profile"))
			},
			"merge": func(t *rapid.T) { o.merge(t) },
			"grow": func(t *rapid.T) {
				more := rapid.Int64Range(0, 1500).Draw(t, "more") * sector
				old := o.truth[o.last()]
				if len(old) > 1<<20 {
					t.Skip("large enough")
				}
				require.NoError(t, o.disk.Resize(int64(len(old))+more))
				o.truth[o.last()] = append(slices.Clone(old), make([]byte, more)...)
			},
		})
		if rapid.IntRange(0, 3).Draw(t, "flatten") == 0 {
			o.flatten(t)
		}
		require.NoError(t, o.disk.Close())
		for k := range o.files {
			o.check(t, k)
		}
		o.cut(t)
	})
}

func (o *overlay) write(t *rapid.T) {
	truth := o.truth[o.last()]
	align := 1
	if o.disk.Footer().Type == vhd.Differencing {
		align = sector
	}
	off := rapid.IntRange(0, len(truth)/align-1).Draw(t, "off") * align
	n := rapid.SampledFrom([]int{1, 511, sector, 3 * sector, 4096, 100_000, 512<<10 + sector}).Draw(t, "n")
	n = min(len(truth)-off, max(n/align, 1)*align)
	data := truth[off : off+n]
	if owner := rapid.Byte().Draw(t, "byte"); owner < 20 {
		clear(data)
	} else {
		for i := 0; i < n; i += sector { // each sector another
			copy(data[i:], bytes.Repeat([]byte{owner + byte(i/sector)}, sector))
		}
	}
	got, err := o.disk.WriteAt(data, int64(off))
	require.NoError(t, err)
	require.Equal(t, n, got)
	back := make([]byte, n)
	_, err = o.disk.ReadAt(back, int64(off))
	if !errors.Is(err, vhd.ErrParentNeeded) {
		require.NoError(t, err)
	}
	require.True(t, bytes.Equal(data, back))
}

func (o *overlay) flatten(t *rapid.T) {
	require.NoError(t, o.disk.Sync())
	var src disk.Source = o.chain(t, o.last())
	raw, image := &memFile{}, &memFile{}
	opts := &vhd.CopyOptions{Workers: rapid.IntRange(1, 3).Draw(t, "workers")}
	_, err := vhd.FlattenRaw(context.Background(), raw, src, opts)
	require.NoError(t, err)
	require.True(t, bytes.Equal(o.truth[o.last()], raw.data))
	l := vhd.Layout{Type: rapid.SampledFrom([]vhd.DiskType{vhd.Fixed, vhd.Dynamic}).Draw(t, "type"), UUID: uuidOf(9), BlockSize: 512 << 10}
	result, err := vhd.Flatten(context.Background(), image, src, l, opts)
	require.NoError(t, err)
	require.EqualValues(t, len(image.data), result.Size)
	flat, err := vhd.Open(image, result.Size, nil)
	require.NoError(t, err)
	got := make([]byte, flat.Size())
	_, err = flat.ReadAt(got, 0)
	require.NoError(t, err)
	require.True(t, bytes.Equal(raw.data, got))
}

// merge brings a row of images into the oldest of them, or nothing is changed.
func (o *overlay) merge(t *rapid.T) {
	if len(o.files) < 2 {
		t.Skip("nothing to merge")
	}
	oldest := rapid.IntRange(0, o.last()-1).Draw(t, "oldest")
	youngest := rapid.IntRange(oldest+1, o.last()).Draw(t, "youngest")
	require.NoError(t, o.disk.Close())
	before := map[string][]byte{}
	for k, name := range o.names {
		before[name] = o.files[k].data
	}
	d := newCrashDir(before)
	result, err := vhd.Merge(context.Background(), d, &vhd.MergePlan{Chain: o.names[oldest : youngest+1]}, nil)
	if err == nil {
		require.Equal(t, o.names[youngest], result.Kept)
		require.Len(t, d.now, len(before)-(youngest-oldest))
		o.files = slices.Replace(o.files, oldest, youngest+1, &memFile{data: d.now[result.Kept].data})
		o.layout, o.truth = slices.Delete(o.layout, oldest, youngest), slices.Delete(o.truth, oldest, youngest)
		o.names = slices.Delete(slices.Clone(o.names), oldest, youngest)
	} else {
		require.ErrorIs(t, err, vhd.ErrUnsupported)
		blocks := map[int64]bool{}
		for _, l := range o.layout[oldest : youngest+1] {
			blocks[l.BlockSize] = true
		}
		require.True(t, len(blocks) > 1 || o.layout[oldest].Type == vhd.Fixed, "%v", err)
		for name, data := range before {
			require.True(t, bytes.Equal(data, d.now[name].data), "%s was changed by a merge that was refused", name)
		}
	}
	f := o.files[o.last()]
	o.disk, err = vhd.OpenRW(f, int64(len(f.data)), nil)
	require.NoError(t, err)
}

// cut takes the end off the youngest image: what is left reads right, or not at all.
func (o *overlay) cut(t *rapid.T) {
	f := o.files[o.last()]
	n := rapid.OneOf(rapid.IntRange(0, len(f.data)), rapid.IntRange(max(0, len(f.data)-2000), len(f.data))).Draw(t, "left")
	data := f.data[:n]
	for _, mode := range []vhd.Mode{vhd.Strict, vhd.Recover} {
		image, err := vhd.Open(bytes.NewReader(data), int64(n), &vhd.OpenOptions{Mode: mode})
		if err != nil {
			continue
		}
		next := o.last()
		chain, err := vhd.OpenChain(context.Background(), image, func(context.Context, *vhd.Image, vhd.ParentRef) (*vhd.Image, error) {
			next--
			return vhd.Open(bytes.NewReader(o.files[next].data), int64(len(o.files[next].data)), nil)
		}, nil)
		if err != nil {
			continue
		}
		got := make([]byte, chain.Size())
		if _, err := chain.ReadAt(got, 0); err == nil {
			require.True(t, bytes.Equal(o.truth[o.last()], got), "cut to %d of %d bytes, it reads wrong", n, len(f.data))
		}
	}
}
