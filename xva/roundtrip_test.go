package xva_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/xenbackup/xenbackup/xva"
)

func TestWhatIsWrittenIsRead(t *testing.T) {
	t.Parallel()
	disks := map[string]memory{
		"Ref:9":  sparse(5<<20+512, 100, 3<<20),
		"Ref:10": sparse(4 << 20), // nothing but zeros
		"Ref:11": noise(1<<20, 1),
		"Ref:12": noise(1000, 2),
	}
	for _, sum := range []xva.Checksum{xva.SHA1, xva.XXHash} {
		plain := write(t, disks, &xva.WriterOptions{Checksum: sum})
		for _, kind := range []xva.Compression{xva.None, xva.Gzip, xva.Zstd} {
			got, x, err := read(iotest.HalfReader(bytes.NewReader(compress(t, plain, kind))), nil)
			require.NoError(t, err)
			require.Equal(t, kind, x.Compression())
			requireSame(t, disks, got)
			require.Empty(t, cmp.Diff(xva.Stats{Chunks: 7, Bytes: 5<<20 + 1512, Gaps: 5, Checksums: sum}, x.Stats()))
			require.True(t, x.Covered())
		}
	}
}

func TestArchiveIsExactlyWhatHostsWrite(t *testing.T) {
	t.Parallel()
	plain := write(t, map[string]memory{"Ref:7": sparse(3<<20+100, 0)}, nil)
	var names []string
	r := tar.NewReader(bytes.NewReader(plain))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		names = append(names, fmt.Sprint(h.Name, " ", h.Size, " ", h.Mode, " ", h.Typeflag))
		require.Equal(t, tar.FormatUnknown, h.Format) // V7
	}
	require.Equal(t, fmt.Sprint([]string{
		names[0], "Ref:7/00000000 1048576 256 48", "Ref:7/00000000.checksum 40 256 48", "Ref:7/00000003 100 256 48", "Ref:7/00000003.checksum 40 256 48",
	}), fmt.Sprint(names))
	require.Equal(t, "ova.xml\x00", string(plain[:8]))
	require.Equal(t, make([]byte, 1024), plain[len(plain)-1024:])
	require.NotEqual(t, make([]byte, 512), plain[len(plain)-1536:len(plain)-1024])
	require.Equal(t, make([]byte, 512-257), plain[257:512])
}

func TestNoGapsAreWrittenWhenTheFirstDiskIsSmall(t *testing.T) {
	t.Parallel()
	disks := map[string]memory{"Ref:1a": noise(4096, 1), "Ref:2a": sparse(4<<20, 5)}
	got, x, err := read(bytes.NewReader(write(t, disks, nil)), nil)
	require.NoError(t, err)
	requireSame(t, disks, got)
	require.EqualValues(t, 5, x.Stats().Chunks)
	require.Zero(t, x.Stats().Gaps)
}

func TestAnyMachineMakesTheRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		disks := map[string]memory{}
		for i := range rapid.IntRange(0, 2).Draw(t, "disks") {
			size := rapid.Int64Range(1, 5<<19).Draw(t, "size")
			if rapid.Bool().Draw(t, "whole") {
				size = (size + 1<<20 - 1) >> 20 << 20
			}
			at := rapid.SliceOfN(rapid.Int64Range(0, size-1), 0, 2).Draw(t, "data")
			disks[fmt.Sprintf("Ref:%d", 8+i)] = sparse(size, at...)
		}
		opts := &xva.WriterOptions{Checksum: xva.Checksum(rapid.IntRange(0, 1).Draw(t, "checksum"))}
		got, x, err := read(bytes.NewReader(write(t, disks, opts)), nil)
		require.NoError(t, err)
		requireSame(t, disks, got)
		want, err := machine(disks).Disks()
		require.NoError(t, err)
		require.Equal(t, want, x.Disks())
	})
}

// A changed byte either is noticed, or is where nothing depends on it.
func TestNoChangedByteChangesADisk(t *testing.T) {
	t.Parallel()
	disks := map[string]memory{"Ref:1a": noise(700, 1), "Ref:2a": noise(300, 2)}
	good := write(t, disks, nil)
	for i := 0; i < len(good); i += 3 {
		bad := bytes.Clone(good)
		bad[i] ^= 0x11
		got, _, err := read(bytes.NewReader(bad), nil)
		if err != nil {
			var where *xva.FormatError
			require.ErrorAs(t, err, &where, "byte %d", i)
			require.LessOrEqual(t, where.Off, int64(len(good)))
			continue
		}
		require.True(t, bytes.Equal(disks["Ref:2a"], got["Ref:2a"]), "byte %d", i)
	}
}

func TestArchiveCutAnywhereIsNeverComplete(t *testing.T) {
	t.Parallel()
	plain := write(t, map[string]memory{"Ref:1a": noise(700, 1), "Ref:2a": noise(30, 2)}, &xva.WriterOptions{Checksum: xva.XXHash})
	for _, kind := range []xva.Compression{xva.None, xva.Gzip, xva.Zstd} {
		whole := compress(t, plain, kind)
		for n := range len(whole) / stride {
			n *= stride
			_, _, err := read(bytes.NewReader(whole[:n]), nil)
			require.ErrorIs(t, err, xva.ErrTruncated, "%s cut at %d of %d", kind, n, len(whole))
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			var where *xva.FormatError
			require.ErrorAs(t, err, &where)
		}
	}
}

func TestAnErrorOfTheStorageIsNotOneOfTheArchive(t *testing.T) {
	t.Parallel()
	plain := write(t, map[string]memory{"Ref:1a": noise(700, 1)}, nil)
	lost := errors.New("connection lost")
	for _, kind := range []xva.Compression{xva.None, xva.Gzip, xva.Zstd} {
		whole := compress(t, plain, kind)
		for n := 0; n < len(whole); n += 7 {
			_, _, err := read(io.MultiReader(bytes.NewReader(whole[:n]), iotest.ErrReader(lost)), nil)
			require.ErrorIs(t, err, lost, "%s at %d", kind, n)
			require.NotErrorIs(t, err, xva.ErrTruncated)
			require.NotErrorIs(t, err, xva.ErrNotXVA)
		}
	}
}
