package vhd_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
)

// at is a place that a FormatError must name.
type at struct {
	structure string
	off       int64
}

// TestHostileStructuresAreRefusedWhereTheyAre is the list of what has made other
// readers crash, hang, swallow all memory or return wrong data. Each is refused
// in bounded memory with an error that says where.
func TestHostileStructuresAreRefusedWhereTheyAre(t *testing.T) {
	be := binary.BigEndian
	end := int64(len(small().encode()) - 512)
	footers := func(f func(footer []byte)) func([]byte) []byte {
		return func(file []byte) []byte { f(file[:512]); f(file[len(file)-512:]); return seal(file) }
	}
	header := func(f func(header []byte)) func([]byte) []byte {
		return func(file []byte) []byte { f(file[512:1536]); return seal(file) }
	}
	entry := func(i int, sector uint32) func([]byte) []byte {
		return func(file []byte) []byte { be.PutUint32(file[1536+4*i:], sector); return file }
	}
	for name, c := range map[string]struct {
		tamper func(file []byte) []byte
		want   error
		at     at
	}{
		"entries: 4 G of them":                    {header(func(h []byte) { be.PutUint32(h[28:], 1<<32-1) }), vhd.ErrTruncated, at{"header", 512}},
		"entries: as many as make the end wrap":   {header(func(h []byte) { be.PutUint32(h[28:], 1<<30) }), vhd.ErrTruncated, at{"header", 512}},
		"entries: fewer than the disk has blocks": {header(func(h []byte) { be.PutUint32(h[28:], 3) }), vhd.ErrBAT, at{"header", 512}},
		"entries: none":                           {header(func(h []byte) { be.PutUint32(h[28:], 0) }), vhd.ErrBAT, at{"header", 512}},
		"block size 0":                            {header(func(h []byte) { be.PutUint32(h[32:], 0) }), vhd.ErrUnsupported, at{"header", 512}},
		"block size 1":                            {header(func(h []byte) { be.PutUint32(h[32:], 1) }), vhd.ErrUnsupported, at{"header", 512}},
		"block size of three sectors":             {header(func(h []byte) { be.PutUint32(h[32:], 3*512) }), vhd.ErrUnsupported, at{"header", 512}},
		"block size 2 GiB":                        {header(func(h []byte) { be.PutUint32(h[32:], 1<<31) }), vhd.ErrUnsupported, at{"header", 512}},
		"block size 32 MiB":                       {header(func(h []byte) { be.PutUint32(h[32:], 32<<20) }), vhd.ErrUnsupported, at{"header", 512}},
		"block larger than the file":              {header(func(h []byte) { be.PutUint32(h[32:], 16<<20) }), vhd.ErrBAT, at{"BAT", 1536}},
		"disk of 2^63 bytes":                      {footers(func(f []byte) { be.PutUint64(f[48:], 1<<63) }), vhd.ErrUnsupported, at{"footer", end}},
		"disk of 2^62 bytes":                      {footers(func(f []byte) { be.PutUint64(f[48:], 1<<62-1) }), vhd.ErrBAT, at{"header", 512}},
		"disk longer than its table":              {footers(func(f []byte) { be.PutUint64(f[48:], 1<<30) }), vhd.ErrBAT, at{"header", 512}},
		"table over the footer copy":              {header(func(h []byte) { be.PutUint64(h[16:], 0) }), vhd.ErrBAT, at{"header", 512}},
		"table inside the header":                 {header(func(h []byte) { be.PutUint64(h[16:], 1024) }), vhd.ErrBAT, at{"header", 512}},
		"table at an odd place":                   {header(func(h []byte) { be.PutUint64(h[16:], 1537) }), vhd.ErrBAT, at{"header", 512}},
		"table far outside":                       {header(func(h []byte) { be.PutUint64(h[16:], 1<<40) }), vhd.ErrTruncated, at{"header", 512}},
		"table that wraps around":                 {header(func(h []byte) { be.PutUint64(h[16:], 1<<64-512) }), vhd.ErrTruncated, at{"header", 512}},
		"table over the footer":                   {header(func(h []byte) { be.PutUint64(h[16:], uint64(end)) }), vhd.ErrTruncated, at{"header", 512}},
		"header far outside":                      {footers(func(f []byte) { be.PutUint64(f[16:], 1<<62) }), vhd.ErrTruncated, at{"footer", end + 512}},
		"header inside the footer copy":           {footers(func(f []byte) { be.PutUint64(f[16:], 100) }), vhd.ErrTruncated, at{"footer", end + 512}},
		"header at the footer":                    {footers(func(f []byte) { be.PutUint64(f[16:], uint64(end)) }), vhd.ErrTruncated, at{"footer", end + 512}},
		"header nowhere, of a dynamic disk":       {footers(func(f []byte) { be.PutUint64(f[16:], 1<<64-1) }), vhd.ErrTruncated, at{"footer", end + 512}},
		"block in the footer copy":                {entry(0, 0), vhd.ErrBAT, at{"BAT", 1536}},
		"block in the header":                     {entry(0, 1), vhd.ErrBAT, at{"BAT", 1536}},
		"block in the table":                      {entry(3, 3), vhd.ErrBAT, at{"BAT", 1536 + 12}},
		"block that ends in the footer":           {entry(0, uint32(end/512)-8), vhd.ErrBAT, at{"BAT", 1536}},
		"block beyond the end":                    {entry(1, 0xfffffffe), vhd.ErrBAT, at{"BAT", 1540}},
		"block shared by two":                     {func(f []byte) []byte { copy(f[1536:1540], f[1540:1544]); return f }, vhd.ErrBAT, at{"BAT", 1540}},
		"block over half of another": {func(f []byte) []byte {
			be.PutUint32(f[1540:], be.Uint32(f[1536:])+4)
			return f
		}, vhd.ErrBAT, at{"BAT", 1540}},
		"two footers that differ":         {func(f []byte) []byte { f[70]++; return seal(f) }, vhd.ErrInconsistent, at{"footer copy", 0}},
		"footer of 511 bytes":             {func(f []byte) []byte { return f[:len(f)-1] }, vhd.ErrTruncated, at{"footer", end - 1}},
		"footer missing":                  {func(f []byte) []byte { return f[:len(f)-512] }, vhd.ErrTruncated, at{"footer", end - 512}},
		"garbage behind the footer":       {func(f []byte) []byte { return append(f, bytes.Repeat([]byte("x"), 512)...) }, vhd.ErrTruncated, at{"footer", end + 512}},
		"checksum of the footer":          {func(f []byte) []byte { f[len(f)-512+66] ^= 1; return f }, vhd.ErrTruncated, at{"footer", end}},
		"checksum of the header":          {func(f []byte) []byte { f[512+38] ^= 1; return f }, vhd.ErrChecksum, at{"header", 512}},
		"poisoned by a resize":            {footers(func(f []byte) { copy(f, "v_poison") }), vhd.ErrUnsupported, at{"footer", end}},
		"bitmaps of tap 0.1":              {footers(func(f []byte) { copy(f[28:], "tap\x00\x00\x00\x00\x01") }), vhd.ErrUnsupported, at{"footer", end}},
		"version 2":                       {footers(func(f []byte) { be.PutUint32(f[12:], 0x20000) }), vhd.ErrVersion, at{"footer", end}},
		"version 2 of the header":         {header(func(h []byte) { be.PutUint32(h[24:], 0x20000) }), vhd.ErrVersion, at{"header", 512}},
		"type 5":                          {footers(func(f []byte) { be.PutUint32(f[60:], 5) }), vhd.ErrUnsupported, at{"footer", end}},
		"fixed, but longer than its file": {footers(func(f []byte) { be.PutUint32(f[60:], 2); be.PutUint64(f[48:], 1<<40) }), vhd.ErrTruncated, at{"footer", end}},
		"not a VHD":                       {func(f []byte) []byte { return bytes.Repeat([]byte{'a'}, len(f)) }, vhd.ErrNotVHD, at{"footer", end}},
		"empty":                           {func([]byte) []byte { return nil }, vhd.ErrTruncated, at{"footer", 0}},
	} {
		t.Run(name, func(t *testing.T) {
			file := c.tamper(small().encode())
			var err error
			allocated := allocatedBy(func() {
				_, err = vhd.Open(bytes.NewReader(file), int64(len(file)), &vhd.OpenOptions{Name: "hostile.vhd"})
			})
			require.ErrorIs(t, err, c.want)
			var where *vhd.FormatError
			require.ErrorAs(t, err, &where)
			require.Equal(t, c.at, at{where.Struct, where.Off}, "%v", err)
			require.Equal(t, "hostile.vhd", where.Name)
			require.Less(t, allocated, uint64(1<<20))
			requireBoundedRecovery(t, file)
		})
	}
}

// allocatedBy returns about how many bytes f allocates.
func allocatedBy(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// requireBoundedRecovery wants what Recover makes of a file to be an error, or
// what the disk held, or an error for what it did not find.
func requireBoundedRecovery(t *testing.T, file []byte) {
	t.Helper()
	image, err := vhd.Open(bytes.NewReader(file), int64(len(file)), &vhd.OpenOptions{Mode: vhd.Recover})
	if err != nil {
		requireTyped(t, err)
		return
	}
	require.NotEmpty(t, image.Findings())
	want := model(small())
	for off := int64(0); off < min(image.Size(), int64(len(want))); off += 512 {
		got := make([]byte, min(512, int64(len(want))-off))
		if _, err := image.ReadAt(got, off); err != nil {
			requireTyped(t, err)
		} else {
			require.True(t, bytes.Equal(want[off:off+int64(len(got))], got), off)
		}
	}
}

func TestOldHiddenFlagWithoutItsChecksumIsAccepted(t *testing.T) {
	file := small().encode()
	for _, footer := range [][]byte{file[:512], file[len(file)-512:]} {
		footer[85] = 1 // as blktap did, the checksum staying as it was
	}
	image := openBytes(t, file, nil)
	require.EqualValues(t, 1, image.Footer().Hidden)
	require.True(t, bytes.Equal(model(small()), readAll(t, image)))
}

func TestSizesThatFillNoSectorReadToTheirLastByte(t *testing.T) {
	for _, size := range []int64{0, 1, 511, 513, 4095, 4097, 12288 + 700} {
		s := &spec{typ: vhd.Dynamic, size: size, blockSize: 4096, uuid: 1, maxEntries: 40}
		if size > 0 {
			data := filled(1, (size-1)/512)
			clear(data[(size-1)%512+1:])
			s.put((size-1)/512, data)
		}
		image := openBytes(t, s.encode(), nil)
		require.Equal(t, size, image.Size())
		require.True(t, bytes.Equal(model(s), readAll(t, image)), size)
		_, err := image.ReadAt(make([]byte, 1), size)
		require.ErrorIs(t, err, io.EOF)
	}
}

func TestSizeThatADiskOnceHadDoesNotCount(t *testing.T) {
	file := small().encode()
	for _, footer := range [][]byte{file[:512], file[len(file)-512:]} {
		binary.BigEndian.PutUint64(footer[40:], 1<<40)
	}
	image := openBytes(t, seal(file), nil)
	require.True(t, bytes.Equal(model(small()), readAll(t, image)))
	require.EqualValues(t, 1<<40, image.Footer().OriginalSize)
}

func TestLocatorsCannotMakeTheReaderAllocateOrFail(t *testing.T) {
	be := binary.BigEndian
	child := &spec{typ: vhd.Differencing, size: 4096, blockSize: 1024, uuid: 2, parent: 1, parentName: "p.vhd"}
	for name, tamper := range map[string]func(entry []byte){
		"4 GiB long":     func(e []byte) { be.PutUint32(e[8:], 1<<32-1) },
		"far outside":    func(e []byte) { be.PutUint64(e[16:], 1<<50) },
		"wrapping":       func(e []byte) { be.PutUint64(e[16:], 1<<64-10) },
		"odd length":     func(e []byte) { be.PutUint32(e[8:], 3) },
		"half a pair":    func(e []byte) { be.PutUint64(e[16:], 0) },
		"unknown code":   func(e []byte) { copy(e, "????") },
		"deprecated":     func(e []byte) { copy(e, "Wi2r") },
		"space of 513":   func(e []byte) { be.PutUint32(e[4:], 513) },
		"space of 4 GiB": func(e []byte) { be.PutUint32(e[4:], 1<<32-1) },
	} {
		t.Run(name, func(t *testing.T) {
			file := withLocator(child.encode(), "W2ru", []byte{0x00, 0xd8, 'a', 0})
			tamper(file[512+576:])
			seal(file)
			allocated := allocatedBy(func() {
				image := openBytes(t, file, nil)
				require.Contains(t, image.Parent().Names, "p.vhd")
			})
			require.Less(t, allocated, uint64(1<<20))
		})
	}
}

// shortReader reads less than it is asked for, and sees nothing wrong in it.
type shortReader struct {
	r     io.ReaderAt
	armed bool
}

func (r *shortReader) ReadAt(p []byte, off int64) (int, error) {
	if r.armed {
		p = p[:len(p)/2]
	}
	return r.r.ReadAt(p, off)
}

func TestShortReadsAreErrorsNeverZeros(t *testing.T) {
	r := &shortReader{r: bytes.NewReader(small().encode())}
	image, err := vhd.Open(r, int64(len(small().encode())), nil)
	require.NoError(t, err)
	r.armed = true
	_, err = image.ReadAt(make([]byte, 4096), 0)
	require.ErrorIs(t, err, vhd.ErrTruncated)
	_, err = vhd.Open(r, int64(len(small().encode())), nil)
	require.ErrorIs(t, err, vhd.ErrTruncated)
}

func TestErrorsOfTheReaderAreToldFromDamage(t *testing.T) {
	broken := errors.New("the cable is out")
	file := small().encode()
	for n := range 6 {
		r := &failingReader{bytes.NewReader(file), n, broken}
		if _, err := vhd.Open(r, int64(len(file)), nil); err != nil {
			require.ErrorIs(t, err, broken)
			require.NotErrorIs(t, err, vhd.ErrTruncated)
		}
	}
}

type failingReader struct {
	r    io.ReaderAt
	left int
	err  error
}

func (r *failingReader) ReadAt(p []byte, off int64) (int, error) {
	if r.left--; r.left < 0 {
		return 0, r.err
	}
	return r.r.ReadAt(p, off)
}

// TestChainsOfSmallBlocksUnderAHugeDiskStaySmall has a parent whose blocks are
// of one sector under a disk of 64 TiB.
func TestChainsOfSmallBlocksUnderAHugeDiskStaySmall(t *testing.T) {
	const size = 64 << 40
	parent := &spec{typ: vhd.Dynamic, size: 4096, blockSize: 512, uuid: 1}
	parent.put(1, filled(1, 1))
	leaf := &spec{typ: vhd.Differencing, size: size, blockSize: 16 << 20, uuid: 2, parent: 1, parentName: "p"}
	files := [][]byte{leaf.encode(), parent.encode()}
	var chain *vhd.Chain
	allocated := allocatedBy(func() { chain = chainOf(t, files) })
	require.Less(t, allocated, uint64(128<<20))
	got := make([]byte, 1024)
	_, err := chain.ReadAt(got, 0)
	require.NoError(t, err)
	require.Equal(t, slices.Concat(make([]byte, 512), filled(1, 1)), got)
	_, err = chain.ReadAt(got, size-1024)
	require.NoError(t, err)
	require.Equal(t, make([]byte, 1024), got)
}
