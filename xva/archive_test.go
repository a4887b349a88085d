package xva_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xva"
)

func open(t require.TestingT, raw []byte, opts *xva.OpenOptions) *xva.Archive {
	a, err := xva.Open(context.Background(), bytes.NewReader(raw), int64(len(raw)), opts)
	require.NoError(t, err)
	return a
}

func wholeImages(t require.TestingT, a *xva.Archive) map[string]memory {
	all := map[string]memory{}
	for _, m := range a.Images() {
		data := make(memory, m.Size())
		n, err := m.ReadAt(data, 0)
		require.NoError(t, err)
		require.EqualValues(t, m.Size(), n)
		all[m.ID()] = data
	}
	return all
}

func TestArchiveReadsAnywhereWhatReaderReads(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		disks := map[string]memory{}
		for _, id := range []string{"Ref:9", "Ref:10"}[:rapid.IntRange(0, 2).Draw(t, "disks")] {
			size := rapid.Int64Range(1, 5<<20).Draw(t, "size")
			disks[id] = sparse(size, rapid.SliceOfN(rapid.Int64Range(0, size-1), 0, 3).Draw(t, "data")...)
		}
		raw := write(t, disks, &xva.WriterOptions{Checksum: xva.Checksum(rapid.IntRange(0, 1).Draw(t, "checksum"))})
		a := open(t, raw, &xva.OpenOptions{Unverified: rapid.Bool().Draw(t, "unverified")})
		_, x, err := read(bytes.NewReader(raw), nil)
		require.NoError(t, err)
		require.Equal(t, x.Stats(), a.Stats())
		for id, m := range disks {
			size := m.Size()
			for range 4 {
				off := rapid.Int64Range(0, size+10).Draw(t, "off")
				n := rapid.Int64Range(0, size+10).Draw(t, "n")
				got, want := make([]byte, n), make([]byte, n)
				wantN, wantErr := m.ReadAt(want, off)
				if n == 0 {
					continue
				}
				gotN, err := a.Image(id).ReadAt(got, off)
				require.Equal(t, wantErr, err)
				require.Equal(t, wantN, gotN)
				require.True(t, bytes.Equal(want, got))
			}
			requireExtents(t, a.Image(id), m)
		}
		requireSame(t, disks, wholeImages(t, a))
	})
}

// requireExtents checks that extents cover a disk, are maximal, and are zero only where the disk is.
func requireExtents(t require.TestingT, src disk.Source, want memory) {
	var last disk.Extent
	for e, err := range src.Extents(context.Background(), 0, src.Size()+1) {
		require.NoError(t, err)
		require.Equal(t, last.End(), e.Off)
		require.Positive(t, e.Len)
		if last.Len > 0 {
			require.NotEqual(t, last.Kind, e.Kind)
		}
		if e.Kind == disk.Zero {
			require.Empty(t, bytes.Trim(want[e.Off:e.End()], "\x00"))
		}
		last = e
	}
	require.Equal(t, want.Size(), last.End())
}

func TestArchiveFollowsTheNumbersOfKeepalives(t *testing.T) {
	t.Parallel()
	raw := archive(t, tar.FormatGNU, join(
		[]file{described(t, map[string]int64{"Ref:1": 4<<20 + 5})},
		chunk("Ref:1/00000000", mib("a")), chunk("Ref:1/00000001", ""), chunk("Ref:1/00000002", mib("b")),
		chunk("Ref:1/00000004", mib("c")), chunk("Ref:1/00000005", "filled up"),
	)...)
	a := open(t, raw, nil)
	require.EqualValues(t, 1, a.Stats().Keepalives)
	want := memory(mib("a") + mib("b") + mib("\x00") + mib("c") + "fille")
	require.True(t, bytes.Equal(want, wholeImages(t, a)["Ref:1"]))
	requireExtents(t, a.Image("Ref:1"), want)
	require.Nil(t, a.Image("Ref:2"))
}

func TestArchiveOpensWithoutReadingData(t *testing.T) {
	t.Parallel()
	raw := write(t, map[string]memory{"Ref:1a": noise(20<<20, 1), "Ref:2a": noise(300, 2), "Ref:3a": noise(1<<20+1, 3)}, &xva.WriterOptions{Checksum: xva.XXHash})
	counter := &counting{r: bytes.NewReader(raw)}
	_, err := xva.Open(t.Context(), counter, int64(len(raw)), nil)
	require.NoError(t, err)
	require.Less(t, counter.bytes.Load(), int64(len(raw)/100))
	require.Less(t, counter.calls.Load(), int64(50))
}

// counting counts what is read, and fails on reads that a wish asks for.
type counting struct {
	r            io.ReaderAt
	calls, bytes atomic.Int64
	fail         func(off int64) error
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	c.calls.Add(1)
	c.bytes.Add(int64(len(p)))
	if c.fail != nil {
		if err := c.fail(off); err != nil {
			return 0, err
		}
	}
	return c.r.ReadAt(p, off)
}

func TestAWrongChecksumIsFoundByAnyReadOfItsChunk(t *testing.T) {
	t.Parallel()
	disks := map[string]memory{"Ref:1a": noise(3<<20, 1)}
	raw := write(t, disks, nil)
	text, err := machine(disks).Append(nil)
	require.NoError(t, err)
	second := int64(512+(len(text)+511)/512*512) + 1<<20 + 1536
	raw[second+512+7] ^= 1
	_, _, err = read(bytes.NewReader(raw), nil)
	require.ErrorIs(t, err, xva.ErrChecksum)
	m := open(t, raw, nil).Image("Ref:1a")
	for _, r := range [][2]int64{{1 << 20, 1}, {2<<20 - 1, 10}, {0, 3 << 20}, {1 << 20, 1 << 20}} {
		_, err := m.ReadAt(make([]byte, r[1]), r[0])
		require.ErrorIs(t, err, xva.ErrChecksum)
		var where *xva.FormatError
		require.ErrorAs(t, err, &where)
		require.Equal(t, second, where.Off)
	}
	_, err = m.ReadAt(make([]byte, 1<<20), 0)
	require.NoError(t, err)
	_, err = m.ReadAt(make([]byte, 1<<20), 2<<20)
	require.NoError(t, err)
	_, err = open(t, raw, &xva.OpenOptions{Unverified: true}).Image("Ref:1a").ReadAt(make([]byte, 3<<20), 0)
	require.NoError(t, err)
}

func TestArchiveRefusesWhatReaderRefuses(t *testing.T) {
	t.Parallel()
	raw := write(t, map[string]memory{"Ref:1a": noise(700, 1), "Ref:2a": noise(30, 2)}, &xva.WriterOptions{Checksum: xva.XXHash})
	for n := range len(raw) / stride {
		n *= stride
		_, err := xva.Open(t.Context(), bytes.NewReader(raw[:n]), int64(n), nil)
		require.ErrorIs(t, err, xva.ErrTruncated, "cut at %d", n)
		_, err = xva.Open(t.Context(), bytes.NewReader(raw[:n]), int64(len(raw)), nil) // shorter than was said
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "cut at %d", n)
	}
	for i := 0; i < len(raw); i += 3 * stride {
		bad := bytes.Clone(raw)
		bad[i] ^= 0x11
		_, x, readErr := read(bytes.NewReader(bad), nil)
		if errors.Is(readErr, xva.ErrChecksum) {
			continue // of content; the length of a checksum's member is the exception
		}
		a, err := xva.Open(t.Context(), bytes.NewReader(bad), int64(len(bad)), nil)
		if readErr != nil {
			require.Error(t, err, "byte %d", i)
			require.Equal(t, readErr.Error(), err.Error(), "byte %d", i)
			continue
		}
		require.NoError(t, err, "byte %d", i)
		require.Empty(t, cmp.Diff(x.Stats(), a.Stats()))
	}
	for _, kind := range []xva.Compression{xva.Gzip, xva.Zstd} {
		z := compress(t, raw, kind)
		_, err := xva.Open(t.Context(), bytes.NewReader(z), int64(len(z)), nil)
		require.ErrorIs(t, err, xva.ErrCompressed)
	}
}

func TestArchiveReturnsErrorsOfTheStorage(t *testing.T) {
	t.Parallel()
	raw := write(t, map[string]memory{"Ref:1a": noise(6<<20, 1)}, nil)
	lost := errors.New("lost")
	for at := int64(0); at < int64(len(raw)); at += 300 << 10 {
		r := &counting{r: bytes.NewReader(raw), fail: func(off int64) error {
			if off >= at {
				return lost
			}
			return nil
		}}
		_, err := xva.Open(t.Context(), r, int64(len(raw)), nil)
		require.ErrorIs(t, err, lost)
		require.NotErrorIs(t, err, xva.ErrTruncated)
		require.NotErrorIs(t, err, xva.ErrNotXVA)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(lost)
	_, err := xva.Open(ctx, bytes.NewReader(raw), int64(len(raw)), nil)
	require.ErrorIs(t, err, lost)
}

func TestImageServesManyReadersAtOnce(t *testing.T) {
	t.Parallel()
	want := noise(4<<20, 1)
	a := open(t, write(t, map[string]memory{"Ref:1a": want}, nil), nil)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			buf := make([]byte, 300<<10)
			for off := int64(i) * 1000; off+int64(len(buf)) < want.Size(); off += int64(len(buf)) {
				if _, err := a.Image("Ref:1a").ReadAt(buf, off); err != nil || !bytes.Equal(buf, want[off:off+int64(len(buf))]) {
					t.Error(off, err)
				}
			}
		})
	}
	all.Wait()
}

func TestArchivesThatXenOrchestraKeptGiveRandomAccess(t *testing.T) {
	t.Parallel()
	repo := testenv.Golden(t)
	for path, backup := range repo.Backups {
		if backup.Mode != "full" {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(repo.Dir, strings.TrimSuffix(path, ".json")+".xva"))
		require.NoError(t, err)
		if xva.Sniff(raw) == xva.None {
			requireSame(t, byTar(t, raw), wholeImages(t, open(t, raw, &xva.OpenOptions{Unlisted: true})))
		}
	}
}
