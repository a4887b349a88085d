package xva_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xva"
)

func newReader(t require.TestingT, raw []byte) *xva.Reader {
	r, err := xva.NewReader(bytes.NewReader(raw), nil)
	require.NoError(t, err)
	return r
}

// disksOf are some that have gaps, zeros that are there, and ends of every kind.
func disksOf(t *rapid.T) map[string]memory {
	disks := map[string]memory{}
	for _, id := range []string{"Ref:9", "Ref:10", "Ref:8"}[:rapid.IntRange(0, 3).Draw(t, "disks")] {
		size := rapid.Int64Range(1, 5<<20).Draw(t, "size")
		disks[id] = sparse(size, rapid.SliceOfN(rapid.Int64Range(0, size-1), 0, 3).Draw(t, "data")...)
	}
	return disks
}

func TestEveryWayToReadAnArchiveGivesTheSameDisks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := disksOf(t)
		raw := write(t, want, nil)

		got := map[string]memory{}
		for c, err := range newReader(t, raw).Chunks(context.Background()) {
			require.NoError(t, err)
			got[c.Disk.ID] = append(got[c.Disk.ID], make(memory, c.Off-int64(len(got[c.Disk.ID])))...)
			got[c.Disk.ID] = append(got[c.Disk.ID], c.Data...)
		}
		requireSame(t, want, got)

		blocks, err := newReader(t, raw).Blocks(context.Background())
		require.NoError(t, err)
		require.Len(t, blocks, len(want))

		raws, images := newReader(t, raw), newReader(t, raw)
		for {
			d, err := raws.NextDisk()
			e, err2 := images.NextDisk()
			require.Equal(t, err, err2)
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			id := d.Disk().ID
			require.Equal(t, id, e.Disk().ID)
			if rapid.Bool().Draw(t, "skipped") {
				delete(want, id)
				continue
			}
			content, err := io.ReadAll(iotest.HalfReader(d))
			require.NoError(t, err)
			require.True(t, bytes.Equal(want[id], content))
			require.Equal(t, requireBlocks(t, e, want[id]), blocks[id])
			delete(want, id)
		}
		require.Empty(t, want)
	})
}

// requireBlocks reads a disk in blocks and returns which they were.
func requireBlocks(t require.TestingT, d *xva.DiskReader, want memory) (blocks []uint32) {
	got := make(memory, len(want))
	for {
		buf := noise(disk.BlockSize, 9)
		index, n, err := d.NextBlock(buf)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.NotEmpty(t, bytes.Trim(buf[:n], "\x00"))
		require.Empty(t, bytes.Trim(buf[n:], "\x00"))
		copy(got[int64(index)*disk.BlockSize:], buf[:n])
		blocks = append(blocks, index)
	}
	require.True(t, bytes.Equal(want, got))
	return blocks
}

// An archive becomes sparse raw files, VHDs, and VHD streams, whether it is read as a stream or at random.
func TestArchiveBecomesRawFilesAndVHDs(t *testing.T) {
	t.Parallel()
	want := map[string]memory{"Ref:10": sparse(6<<20+512, 5, 4<<20), "Ref:9": noise(1<<20+512, 1), "Ref:8": sparse(3 << 20)}
	raw := write(t, want, nil)
	dir := t.TempDir()
	for _, kind := range []xva.Compression{xva.None, xva.Gzip, xva.Zstd} {
		packed := compress(t, raw, kind)
		files := map[string]*os.File{}
		err := newReader(t, packed).CopyTo(t.Context(), func(d xva.Disk) (io.WriterAt, error) {
			f, err := os.Create(filepath.Join(dir, d.ID+".raw"))
			require.NoError(t, err)
			files[d.ID] = f
			return f, f.Truncate(d.Size)
		})
		require.NoError(t, err)
		images := map[string]*vhd.RW{}
		err = newReader(t, packed).CopyTo(t.Context(), func(d xva.Disk) (io.WriterAt, error) {
			f, err := os.Create(filepath.Join(dir, d.ID+".vhd"))
			require.NoError(t, err)
			t.Cleanup(func() { _ = f.Close() })
			w, err := vhd.Create(f, vhd.Layout{Type: vhd.Dynamic, Size: d.Size, UUID: vhd.UUID{1}})
			images[d.ID] = w
			return w, err
		})
		require.NoError(t, err)
		for id, m := range want {
			content, err := os.ReadFile(files[id].Name())
			require.NoError(t, err)
			require.NoError(t, files[id].Close())
			require.True(t, bytes.Equal(m, content), id)
			require.NoError(t, images[id].Close())
			requireDisk(t, m, images[id])
		}
		require.Zero(t, images["Ref:8"].Allocated())
		require.Equal(t, 2, images["Ref:10"].Allocated())
	}

	a := open(t, raw, nil)
	for id, m := range want {
		blocks, err := vhd.DataBlocks(t.Context(), a.Image(id))
		require.NoError(t, err)
		for _, profile := range []vhd.Profile{vhd.Repository, vhd.Host} {
			export, err := vhd.NewExport(t.Context(), a.Image(id), vhd.Layout{Type: vhd.Dynamic, Size: m.Size(), UUID: vhd.UUID{1}, Blocks: blocks, Profile: profile})
			require.NoError(t, err)
			var out bytes.Buffer
			_, err = io.Copy(&out, export)
			require.NoError(t, err)
			image, err := vhd.Open(bytes.NewReader(out.Bytes()), int64(out.Len()), nil)
			require.NoError(t, err)
			requireDisk(t, m, image)
		}
	}
}

func requireDisk(t *testing.T, want memory, src disk.Source) {
	t.Helper()
	got := make(memory, src.Size())
	_, err := src.ReadAt(got, 0)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
}

// What is compressed is read twice: first for the blocks and the proof, then to send it.
func TestCompressedArchiveBecomesVHDStreams(t *testing.T) {
	t.Parallel()
	want := map[string]memory{"Ref:10": sparse(7<<20, 5, 6<<20), "Ref:9": noise(2<<20+512, 1)}
	packed := compress(t, write(t, want, nil), xva.Zstd)
	blocks, err := newReader(t, packed).Blocks(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string][]uint32{"Ref:10": {0, 3}, "Ref:9": {0, 1}}, blocks)
	r := newReader(t, packed)
	for range want {
		d, err := r.NextDisk()
		require.NoError(t, err)
		m := want[d.Disk().ID]
		var out bytes.Buffer
		w, err := vhd.NewStreamWriter(&out, vhd.Layout{Type: vhd.Dynamic, Size: m.Size(), UUID: vhd.UUID{1}, Blocks: blocks[d.Disk().ID], Profile: vhd.Host})
		require.NoError(t, err)
		buf := make([]byte, disk.BlockSize)
		for range blocks[d.Disk().ID] {
			index, n, err := d.NextBlock(buf)
			require.NoError(t, err)
			require.NoError(t, w.WriteBlock(index, buf[:n]))
		}
		require.NoError(t, w.Close())
		image, err := vhd.Open(bytes.NewReader(out.Bytes()), int64(out.Len()), nil)
		require.NoError(t, err)
		requireDisk(t, m, image)
	}
	_, err = r.NextDisk()
	require.ErrorIs(t, err, io.EOF)
}

// A chain of VHDs becomes an archive, and that becomes a VHD again.
func TestChainOfVHDsBecomesAnArchive(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	base, child := noise(disk.BlockSize, 1), noise(disk.BlockSize, 2)
	image := func(l vhd.Layout, block []byte) *vhd.Image {
		var out bytes.Buffer
		w, err := vhd.NewStreamWriter(&out, l)
		require.NoError(t, err)
		for _, i := range l.Blocks {
			require.NoError(t, w.WriteBlock(i, block))
		}
		require.NoError(t, w.Close())
		m, err := vhd.Open(bytes.NewReader(out.Bytes()), int64(out.Len()), nil)
		require.NoError(t, err)
		return m
	}
	parent := image(vhd.Layout{Type: vhd.Dynamic, Size: size, UUID: vhd.UUID{1}, Blocks: []uint32{0, 3}}, base)
	leaf := image(vhd.Layout{Type: vhd.Differencing, Size: size, UUID: vhd.UUID{2}, ParentUUID: vhd.UUID{1}, ParentName: "p.vhd", Blocks: []uint32{0}}, child)
	chain, err := vhd.OpenChain(t.Context(), leaf, func(context.Context, *vhd.Image, vhd.ParentRef) (*vhd.Image, error) { return parent, nil }, nil)
	require.NoError(t, err)

	want := memory(bytes.Join([][]byte{child, make([]byte, 2*disk.BlockSize), base}, nil))
	ova := machine(map[string]memory{"Ref:7": want})
	disks := map[string]disk.Source{"Ref:7": chain}
	length, err := xva.Size(t.Context(), ova, disks, nil)
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, xva.Write(t.Context(), &out, ova, disks, nil))
	require.EqualValues(t, length, out.Len())
	requireSame(t, map[string]memory{"Ref:7": want}, wholeImages(t, open(t, out.Bytes(), nil)))
}

func TestErrorsEndEveryReadingAhead(t *testing.T) {
	t.Parallel()
	lost := errors.New("lost")
	disks := map[string]memory{"Ref:1a": noise(4<<20, 1), "Ref:2a": noise(10, 1)}
	raw := write(t, disks, nil)
	discard := func(xva.Disk) (io.WriterAt, error) { return nil, nil }

	for n := 0; n < len(raw); n += 900 << 10 {
		r, err := xva.NewReader(io.MultiReader(bytes.NewReader(raw[:n]), iotest.ErrReader(lost)), nil)
		if err == nil {
			err = r.CopyTo(t.Context(), discard)
		}
		require.ErrorIs(t, err, lost)
		r, err = xva.NewReader(bytes.NewReader(raw[:n]), nil)
		if err == nil {
			_, err = r.Blocks(t.Context())
		}
		require.ErrorIs(t, err, xva.ErrTruncated)
	}

	bad := bytes.Clone(raw)
	bad[3<<20] ^= 1
	r := newReader(t, bad)
	require.ErrorIs(t, r.CopyTo(t.Context(), discard), xva.ErrChecksum)
	_, err := r.Next()
	require.ErrorIs(t, err, xva.ErrChecksum)

	full := errors.New("full")
	r = newReader(t, raw)
	require.ErrorIs(t, r.CopyTo(t.Context(), func(xva.Disk) (io.WriterAt, error) { return nil, full }), full)
	_, err = r.Next()
	require.Error(t, err)
	r = newReader(t, raw)
	require.ErrorIs(t, r.CopyTo(t.Context(), func(xva.Disk) (io.WriterAt, error) { return &failing{full}, nil }), full)
	r = newReader(t, raw)
	require.ErrorIs(t, r.CopyTo(t.Context(), func(xva.Disk) (io.WriterAt, error) { return &failing{io.EOF}, nil }), io.EOF)

	r = newReader(t, raw)
	for c, err := range r.Chunks(t.Context()) {
		require.NoError(t, err)
		require.Zero(t, c.Off)
		break
	}
	_, err = r.Next()
	require.ErrorContains(t, err, "given up")

	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(lost)
	require.ErrorIs(t, newReader(t, raw).CopyTo(ctx, discard), lost)
}

type failing struct{ err error }

func (f *failing) WriteAt([]byte, int64) (int, error) { return 0, f.err }

// Blocks of zeros that an exporter sent all the same are not written, and are no blocks.
func TestZerosThatAreThereAreLeftOut(t *testing.T) {
	t.Parallel()
	raw := archive(t, tar.FormatGNU, join(
		[]file{described(t, map[string]int64{"Ref:1": 4 << 20})},
		chunk("Ref:1/00000000", mib("\x00")), chunk("Ref:1/00000001", mib("\x00")), chunk("Ref:1/00000002", mib("\x00")), chunk("Ref:1/00000003", mib("x")),
	)...)
	blocks, err := newReader(t, raw).Blocks(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string][]uint32{"Ref:1": {1}}, blocks)
	var written int64
	err = newReader(t, raw).CopyTo(t.Context(), func(xva.Disk) (io.WriterAt, error) { return (*tally)(&written), nil })
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, written)
}

type tally int64

func (c *tally) WriteAt(p []byte, _ int64) (int, error) {
	*c += tally(len(p))
	return len(p), nil
}
