package vhd_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
)

// small is an image with partly filled blocks out of order.
func small() *spec {
	s := &spec{typ: vhd.Dynamic, size: 4096*3 + 700, blockSize: 4096, uuid: 1, order: []int{0, 3, 1}}
	for _, n := range []int64{0, 1, 2, 3, 4, 5, 6, 7, 9, 24, 25} {
		s.put(n, filled(1, n))
	}
	return s
}

// typed are the errors that damage may give.
var typed = []error{
	vhd.ErrNotVHD, vhd.ErrChecksum, vhd.ErrVersion, vhd.ErrTruncated, vhd.ErrInconsistent, vhd.ErrBAT,
	vhd.ErrUnsupported, vhd.ErrIncomplete, vhd.ErrTrailingData, vhd.ErrParentNeeded, vhd.ErrFilter,
}

func requireTyped(tb testing.TB, err error) {
	tb.Helper()
	for _, want := range typed {
		if errors.Is(err, want) {
			return
		}
	}
	tb.Fatalf("untyped error: %v", err)
}

func TestOpenRefusesAFileCutAtEveryLength(t *testing.T) {
	file := small().encode()
	want := model(small())
	for n := range file {
		_, err := vhd.Open(bytes.NewReader(file[:n]), int64(n), &vhd.OpenOptions{Name: "cut.vhd"})
		require.Error(t, err, n)
		requireTyped(t, err)
		image, err := vhd.Open(bytes.NewReader(file[:n]), int64(n), &vhd.OpenOptions{Mode: vhd.Recover})
		if err != nil {
			requireTyped(t, err)
			continue
		}
		require.NotEmpty(t, image.Findings())
		got := make([]byte, image.Size())
		if _, err := image.ReadAt(got, 0); err != nil {
			requireTyped(t, err)
		} else {
			require.True(t, bytes.Equal(want, got), n)
		}
	}
}

// shrinking answers as if the file had been cut after it was opened.
type shrinking struct {
	r    io.ReaderAt
	size int64
}

func (s *shrinking) ReadAt(p []byte, off int64) (int, error) {
	return io.NewSectionReader(s.r, 0, s.size).ReadAt(p, off)
}

func TestReadOfAFileThatShrankIsNeverZeros(t *testing.T) {
	file := small().encode()
	want := model(small())
	for n := range file {
		r := &shrinking{bytes.NewReader(file), int64(len(file))}
		image, err := vhd.Open(r, int64(len(file)), nil)
		require.NoError(t, err)
		r.size = int64(n)
		got := make([]byte, image.Size())
		if _, err := image.ReadAt(got, 0); err != nil {
			require.ErrorIs(t, err, vhd.ErrTruncated)
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		} else {
			require.True(t, bytes.Equal(want, got), n)
		}
	}
}

// readStream reads a whole stream and returns the disk.
func readStream(r io.Reader) ([]byte, error) {
	s, err := vhd.NewStreamReader(r)
	if err != nil {
		return nil, err
	}
	disk := make([]byte, min(s.Size(), 8<<20))
	buf := make([]byte, s.BlockSize())
	for {
		index, _, err := s.Next(buf)
		if errors.Is(err, io.EOF) {
			return disk, s.Close()
		}
		if err != nil {
			return nil, err
		}
		if at := int64(index) * s.BlockSize(); at < int64(len(disk)) {
			copy(disk[at:], buf)
		}
	}
}

func TestStreamReaderRefusesAStreamCutAtEveryLength(t *testing.T) {
	file := small().encode()
	disk, err := readStream(bytes.NewReader(file))
	require.NoError(t, err)
	require.True(t, bytes.Equal(model(small()), disk))
	for n := range file {
		_, err := readStream(bytes.NewReader(file[:n]))
		require.ErrorIs(t, err, vhd.ErrTruncated, n)
	}
}

func TestStreamReaderRefusesWhatFollowsTheLastBlock(t *testing.T) {
	file := small().encode()
	html := []byte("<html><body>Internal error</body></html>")
	_, err := readStream(bytes.NewReader(append(bytes.Clone(file), html...)))
	require.ErrorIs(t, err, vhd.ErrTrailingData)
	page := append(bytes.Clone(file[:len(file)-512]), bytes.Repeat(html, 20)...)
	_, err = readStream(bytes.NewReader(page))
	require.ErrorIs(t, err, vhd.ErrTrailingData)
	_, err = readStream(bytes.NewReader(append(bytes.Clone(file), 0)))
	require.ErrorIs(t, err, vhd.ErrTrailingData)
}

func TestStreamReaderWantsEveryBlockRead(t *testing.T) {
	s, err := vhd.NewStreamReader(bytes.NewReader(small().encode()))
	require.NoError(t, err)
	require.Equal(t, []uint32{0, 1, 3}, s.Blocks())
	_, _, err = s.Next(make([]byte, s.BlockSize()))
	require.NoError(t, err)
	require.ErrorIs(t, s.Close(), vhd.ErrIncomplete)
}

// seal makes the checksums of a tampered file right again.
func seal(file []byte) []byte {
	be := binary.BigEndian
	for _, s := range []struct{ off, n, sum int }{{0, 512, 64}, {512, 1024, 36}, {len(file) - 512, 512, 64}} {
		b := file[s.off : s.off+s.n]
		be.PutUint32(b[s.sum:], 0)
		be.PutUint32(b[s.sum:], complement(b))
	}
	return file
}

func TestHostileFieldsAreTypedErrors(t *testing.T) {
	be := binary.BigEndian
	both := func(f func(footer []byte)) func([]byte) {
		return func(file []byte) { f(file[:512]); f(file[len(file)-512:]) }
	}
	cases := map[string]struct {
		tamper func(file []byte)
		want   error
	}{
		"max table entries of 4 G": {func(f []byte) { be.PutUint32(f[512+28:], 1<<32-1) }, vhd.ErrTruncated},
		"too few table entries":    {func(f []byte) { be.PutUint32(f[512+28:], 2) }, vhd.ErrBAT},
		"block size 0":             {func(f []byte) { be.PutUint32(f[512+32:], 0) }, vhd.ErrUnsupported},
		"block size 3 sectors":     {func(f []byte) { be.PutUint32(f[512+32:], 1536) }, vhd.ErrUnsupported},
		"block size 2 GiB":         {func(f []byte) { be.PutUint32(f[512+32:], 1<<31) }, vhd.ErrUnsupported},
		"table in the footer":      {func(f []byte) { be.PutUint64(f[512+16:], 0) }, vhd.ErrBAT},
		"table not at a sector":    {func(f []byte) { be.PutUint64(f[512+16:], 1537) }, vhd.ErrBAT},
		"table far outside":        {func(f []byte) { be.PutUint64(f[512+16:], 1<<63+512) }, vhd.ErrTruncated},
		"size of 2^62":             {both(func(f []byte) { be.PutUint64(f[48:], 1<<61) }), vhd.ErrBAT},
		"size of 2^63":             {both(func(f []byte) { be.PutUint64(f[48:], 1<<63) }), vhd.ErrUnsupported},
		"header far outside":       {both(func(f []byte) { be.PutUint64(f[16:], 1<<63) }), vhd.ErrTruncated},
		"type 6":                   {both(func(f []byte) { be.PutUint32(f[60:], 6) }), vhd.ErrUnsupported},
		"version 2":                {both(func(f []byte) { be.PutUint32(f[12:], 0x20000) }), vhd.ErrVersion},
		"poisoned":                 {both(func(f []byte) { copy(f, "v_poison") }), vhd.ErrUnsupported},
		"block in the header":      {func(f []byte) { be.PutUint32(f[1536:], 1) }, vhd.ErrBAT},
		"block beyond the end":     {func(f []byte) { be.PutUint32(f[1536:], 1<<31) }, vhd.ErrBAT},
		"block over the footer":    {func(f []byte) { be.PutUint32(f[1536:], uint32(len(f)/512)-8) }, vhd.ErrBAT},
		"shared block":             {func(f []byte) { copy(f[1536:1540], f[1540:1544]) }, vhd.ErrBAT},
		"other front footer":       {func(f []byte) { f[70]++ }, vhd.ErrInconsistent},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			file := small().encode()
			c.tamper(file)
			seal(file)
			_, err := vhd.Open(bytes.NewReader(file), int64(len(file)), nil)
			require.ErrorIs(t, err, c.want)
			if image, err := vhd.Open(bytes.NewReader(file), int64(len(file)), &vhd.OpenOptions{Mode: vhd.Recover}); err == nil {
				require.NotEmpty(t, image.Findings())
				_, _ = image.ReadAt(make([]byte, image.Size()), 0)
			}
			if _, err := readStream(bytes.NewReader(file)); err != nil {
				requireTyped(t, err)
			}
		})
	}
}

func TestRecoverTakesTheCopyThatIsWhole(t *testing.T) {
	want := model(small())
	file := small().encode()
	for name, tamper := range map[string]func(f []byte) []byte{
		"front damaged":      func(f []byte) []byte { f[3] = 0; return f },
		"end damaged":        func(f []byte) []byte { f[len(f)-500] ^= 1; return f },
		"end missing":        func(f []byte) []byte { return f[:len(f)-512] },
		"end of 511 bytes":   func(f []byte) []byte { return f[:len(f)-1] },
		"garbage at end":     func(f []byte) []byte { return append(f, "garbage"...) },
		"copies that differ": func(f []byte) []byte { f[70]++; return seal(f) },
	} {
		t.Run(name, func(t *testing.T) {
			damaged := tamper(bytes.Clone(file))
			_, err := vhd.Open(bytes.NewReader(damaged), int64(len(damaged)), nil)
			require.Error(t, err)
			requireTyped(t, err)
			image := openBytes(t, damaged, &vhd.OpenOptions{Mode: vhd.Recover})
			require.Len(t, image.Findings(), 1)
			require.True(t, bytes.Equal(want, readAll(t, image)))
			require.Equal(t, uuidOf(1), image.UUID())
		})
	}
}
