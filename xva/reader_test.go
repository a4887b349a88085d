package xva_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha1"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xva"
)

// described is ova.xml of a machine whose disks have these sizes.
func described(t *testing.T, disks map[string]int64) file {
	t.Helper()
	ova := &xva.OVA{Version: xva.Version{ExportVSN: 2}}
	for id, size := range disks {
		ova.Objects = append(ova.Objects, xva.Object{Class: "VDI", ID: id, Snapshot: map[string]any{"virtual_size": size, "type": "suspend"}})
	}
	text, err := ova.Append(nil)
	require.NoError(t, err)
	return file{"ova.xml", string(text)}
}

// chunk is a chunk and its checksum.
func chunk(name, content string) []file {
	return []file{{name, content}, {name + ".checksum", fmt.Sprintf("%x", sha1.Sum([]byte(content)))}}
}

func join(parts ...[]file) (all []file) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// mib is a chunk full of one letter.
func mib(letter string) string { return strings.Repeat(letter, 1<<20) }

func TestReaderFollowsTheRulesOfTheImporter(t *testing.T) {
	t.Parallel()
	two := described(t, map[string]int64{"Ref:1": 2 << 20, "Ref:2": 10})
	disk1 := join(chunk("Ref:1/00000000", mib("a")), chunk("Ref:1/00000001", mib("b")))
	disk2 := chunk("Ref:2/00000000", "0123456789")
	stub := file{"ova.xml", "<value><struct/></value>"}
	for name, test := range map[string]struct {
		files []file
		opts  *xva.ReaderOptions
		want  error
		where string
	}{
		"complete":                {files: join([]file{two}, disk1, disk2)},
		"last chunk filled up":    {files: join([]file{two}, disk1, chunk("Ref:2/00000000", "0123456789"+strings.Repeat("\x00", 1<<20-10)))},
		"no disks":                {files: []file{stub}},
		"unlisted":                {files: join([]file{stub}, disk1), want: xva.ErrMember, where: "Ref:1/00000000"},
		"unlisted but allowed":    {files: join([]file{stub}, disk1), opts: &xva.ReaderOptions{Unlisted: true}},
		"second disk missing":     {files: join([]file{two}, disk1), want: xva.ErrIncomplete},
		"all disks missing":       {files: []file{two}, want: xva.ErrIncomplete},
		"disk incomplete":         {files: join([]file{two}, disk1[:2], disk2), want: xva.ErrIncomplete, where: "Ref:2/00000000"},
		"last disk incomplete":    {files: join([]file{described(t, map[string]int64{"Ref:1": 3 << 20})}, disk1), want: xva.ErrIncomplete},
		"disks swapped":           {files: join([]file{two}, disk2, disk1), want: xva.ErrOrder, where: "Ref:2/00000000"},
		"disk twice":              {files: join([]file{two}, disk1, disk2, disk1), want: xva.ErrOrder, where: "Ref:1/00000000"},
		"chunk twice":             {files: join([]file{two}, disk1[:2], disk1[:2]), want: xva.ErrOrder, where: "Ref:1/00000000"},
		"chunks swapped":          {files: join([]file{two}, disk1[2:]), want: xva.ErrGap, where: "Ref:1/00000001"},
		"past the end":            {files: join([]file{two}, disk1, chunk("Ref:1/00000002", "x")), want: xva.ErrOrder, where: "Ref:1/00000002"},
		"far past the end":        {files: join([]file{two}, disk1[:2], chunk("Ref:1/00000009", "x")), want: xva.ErrOrder},
		"absurd number":           {files: join([]file{two}, disk1[:2], chunk("Ref:1/99999999999", "x")), want: xva.ErrOrder},
		"checksum missing":        {files: join([]file{two}, disk1[:1], disk1[2:]), want: xva.ErrChecksum, where: "Ref:1/00000000"},
		"checksum of another":     {files: []file{two, disk1[0], {"Ref:1/00000000.checksum", disk1[3].content}}, want: xva.ErrChecksum, where: "Ref:1/00000000"},
		"checksum in upper case":  {files: []file{two, disk1[0], {"Ref:1/00000000.checksum", strings.ToUpper(disk1[1].content)}}, want: xva.ErrChecksum},
		"checksum too long":       {files: []file{two, disk1[0], {"Ref:1/00000000.checksum", disk1[1].content + "0"}}, want: xva.ErrChecksum},
		"checksum alone":          {files: join([]file{two}, disk1[1:2]), want: xva.ErrMember},
		"end instead of checksum": {files: join([]file{two}, disk1[:1]), want: xva.ErrChecksum},
		"another file":            {files: []file{two, {"README", "x"}}, want: xva.ErrMember, where: "README"},
		"short number":            {files: join([]file{two}, chunk("Ref:1/0", mib("a"))), want: xva.ErrMember},
		"signed number":           {files: join([]file{two}, chunk("Ref:1/+0000000", mib("a"))), want: xva.ErrMember},
		"path upwards":            {files: join([]file{two}, chunk("../00000000", mib("a"))), want: xva.ErrMember},
		"ova.xml not first":       {files: join(disk1, []file{two}), want: xva.ErrNotXVA},
		"nothing":                 {want: xva.ErrNotXVA},
		"ova.xml broken":          {files: []file{{"ova.xml", "<value>"}}, want: xva.ErrOVA, where: "ova.xml"},
		"ova.xml without size":    {files: []file{{"ova.xml", strings.Replace(two.content, "virtual_size", "virtual_sizf", 1)}}, want: xva.ErrOVA},
		"ancient version":         {files: []file{{"ova.xml", strings.Replace(two.content, "<name>export_vsn</name><value>2", "<name>export_vsn</name><value>0", 1)}}, want: xva.ErrUnsupported},
		"gap behind a small first disk": {
			files: join([]file{described(t, map[string]int64{"Ref:1": 10, "Ref:2": 3 << 20})}, chunk("Ref:1/00000000", "0123456789"),
				chunk("Ref:2/00000000", mib("a")), chunk("Ref:2/00000002", mib("b"))),
			want: xva.ErrGap, where: "Ref:2/00000002",
		},
	} {
		for _, format := range []tar.Format{tar.FormatUSTAR, tar.FormatGNU} {
			if format == tar.FormatGNU && test.want != nil {
				continue
			}
			_, _, err := read(bytes.NewReader(archive(t, format, test.files...)), test.opts)
			if test.want == nil {
				require.NoError(t, err, name)
				continue
			}
			require.ErrorIs(t, err, test.want, name)
			var where *xva.FormatError
			require.ErrorAs(t, err, &where, name)
			if test.where != "" {
				require.Equal(t, test.where, where.Member, name)
			}
		}
	}
}

// A chunk of length 0 has a number, so what follows it lies where the number before it ended.
func TestKeepalivesAdvanceTheNumberAndNotThePlace(t *testing.T) {
	t.Parallel()
	got, x, err := read(bytes.NewReader(archive(t, tar.FormatGNU, join(
		[]file{described(t, map[string]int64{"Ref:1": 4 << 20})},
		chunk("Ref:1/00000000", mib("a")), chunk("Ref:1/00000001", ""), chunk("Ref:1/00000002", ""),
		chunk("Ref:1/00000003", mib("b")), chunk("Ref:1/00000005", mib("c")),
	)...)), nil)
	require.NoError(t, err)
	require.True(t, string(got["Ref:1"]) == mib("a")+mib("b")+mib("\x00")+mib("c"))
	require.Empty(t, cmp.Diff(xva.Stats{Chunks: 3, Bytes: 3 << 20, Gaps: 1, Keepalives: 2}, x.Stats()))
}

func TestChunksOfAnotherSizeAreReadByTheirOwnMeasure(t *testing.T) {
	t.Parallel()
	got, _, err := read(bytes.NewReader(archive(t, tar.FormatGNU, join(
		[]file{described(t, map[string]int64{"Ref:1": 70})},
		chunk("Ref:1/00000000", strings.Repeat("a", 20)), chunk("Ref:1/00000002", strings.Repeat("b", 20)), chunk("Ref:1/00000003", strings.Repeat("c", 10)),
	)...)), nil)
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("a", 20)+strings.Repeat("\x00", 20)+strings.Repeat("b", 20)+strings.Repeat("c", 10), string(got["Ref:1"]))
}

func TestOnlyZerosMayFollowTheEnd(t *testing.T) {
	t.Parallel()
	plain := write(t, map[string]memory{"Ref:1a": noise(700, 1)}, nil)
	follow := func(tail []byte) error {
		_, _, err := read(bytes.NewReader(append(bytes.Clone(plain), tail...)), nil)
		return err
	}
	require.NoError(t, follow(make([]byte, 10<<10)))
	require.NoError(t, follow(make([]byte, 1<<20)))
	require.ErrorIs(t, follow(make([]byte, 1<<20+1)), xva.ErrTrailingData)
	require.ErrorIs(t, follow([]byte("HTTP/1.1 500 Internal Error\r\n\r\n")), xva.ErrTrailingData)
}

func TestAServersErrorTextIsNoArchive(t *testing.T) {
	t.Parallel()
	plain := write(t, map[string]memory{"Ref:1a": noise(700, 1)}, nil)
	page := "HTTP/1.1 500 Internal Error\r\n\r\n<html>" + strings.Repeat("x", 2000)
	for n := 0; n < len(plain); n += 64 {
		_, _, err := read(strings.NewReader(string(plain[:n])+page), nil)
		var where *xva.FormatError
		require.ErrorAs(t, err, &where, "at %d", n)
	}
}

// Not parallel: it counts the bytes that the process allocates.
func TestHostileSizesCostNothing(t *testing.T) {
	huge := func(name string, size int64) []byte {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Size: size, Format: tar.FormatGNU}))
		return out.Bytes()
	}
	_, _, err := read(bytes.NewReader(huge("ova.xml", 1<<60)), nil)
	require.ErrorIs(t, err, xva.ErrTooLarge)
	_, _, err = read(bytes.NewReader(huge("ova.xml", xva.MaxOVA)), nil)
	require.ErrorIs(t, err, xva.ErrTruncated)
	ova := archive(t, tar.FormatGNU, described(t, map[string]int64{"Ref:1": 1 << 50}))
	ova = ova[:len(ova)-1024]
	_, _, err = read(bytes.NewReader(append(ova, huge("Ref:1/00000000", 1<<60)...)), nil)
	require.ErrorContains(t, err, "too large")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, err = read(bytes.NewReader(huge("ova.xml", xva.MaxOVA)), nil)
	runtime.ReadMemStats(&after)
	require.ErrorIs(t, err, xva.ErrTruncated)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(3<<20))
}

// Not parallel: it counts the bytes that the process allocates.
func TestBombsAreDefused(t *testing.T) {
	plain := write(t, map[string]memory{"Ref:1a": noise(700, 1)}, nil)
	huge := func(name string, size int64) []byte {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Size: size, Format: tar.FormatGNU}))
		return out.Bytes()
	}
	ova := archive(t, tar.FormatGNU, described(t, map[string]int64{"Ref:1": 1 << 50}))
	ova = ova[:len(ova)-1024]
	for name, test := range map[string]struct {
		head   []byte
		zeros  int // behind it
		member string
		want   error
	}{
		"zeros alone":             {nil, 2 << 20, "", xva.ErrNotXVA},
		"zeros behind the end":    {plain, 2 << 20, "", xva.ErrTrailingData},
		"description of zeros":    {huge("ova.xml", xva.MaxOVA), 9 << 20, "ova.xml", xva.ErrOVA},
		"description of any size": {huge("ova.xml", 1<<60), 2 << 20, "ova.xml", xva.ErrTooLarge},
		"chunk of zeros":          {slices.Concat(ova, huge("Ref:1/00000000", 4<<20)), 5 << 20, "Ref:1/00000000", xva.ErrChecksum},
		"chunk of any size":       {slices.Concat(ova, huge("Ref:1/00000000", 1<<60)), 2 << 20, "Ref:1/00000000", xva.ErrTooLarge},
		"checksum of any size":    {slices.Concat(ova, huge("Ref:1/00000000", 0), huge("Ref:1/00000000.checksum", 1<<60)), 2 << 20, "Ref:1/00000000.checksum", xva.ErrChecksum},
		"long names":              {slices.Concat(ova, archive(t, tar.FormatGNU, file{strings.Repeat("x", 200_000), ""})), 2 << 20, "././@LongLink", xva.ErrMember},
	} {
		for _, kind := range []xva.Compression{xva.None, xva.Gzip, xva.Zstd} {
			bomb := compress(t, append(bytes.Clone(test.head), make([]byte, test.zeros)...), kind)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := readOnly(bomb)
			runtime.ReadMemStats(&after)
			require.ErrorIs(t, err, test.want, "%s, %s", name, kind)
			var where *xva.FormatError
			require.ErrorAs(t, err, &where)
			require.Equal(t, test.member, where.Member, "%s, %s", name, kind)
			require.LessOrEqual(t, where.Off, int64(len(test.head)))
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(24<<20), "%s, %s", name, kind)
		}
	}
	for _, window := range []int{32 << 20} {
		var wide bytes.Buffer
		w, err := zstd.NewWriter(&wide, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1))
		require.NoError(t, err)
		_, err = w.Write(plain)
		require.NoError(t, err)
		require.NoError(t, w.Flush())
		require.NoError(t, w.Close())
		_, _, err = read(&wide, nil)
		require.ErrorIs(t, err, xva.ErrTooLarge)
	}
}

// readOnly reads a whole archive and keeps nothing of it.
func readOnly(raw []byte) (x *xva.Reader, err error) {
	if x, err = xva.NewReader(bytes.NewReader(raw), nil); err != nil {
		return nil, err
	}
	defer func() { _ = x.Close() }()
	for err == nil {
		_, err = x.Next()
	}
	return x, err
}

// endless repeats keepalives, n of them.
type endless struct {
	n, i int
	left []byte
}

func (e *endless) Read(p []byte) (int, error) {
	if len(e.left) == 0 {
		if e.i == e.n {
			return 0, io.EOF
		}
		e.i++
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		for _, f := range chunk(fmt.Sprintf("Ref:1/%08d", e.i), "") {
			_ = w.WriteHeader(&tar.Header{Name: f.name, Size: int64(len(f.content)), Format: tar.FormatUSTAR})
			_, _ = io.WriteString(w, f.content)
		}
		_ = w.Flush()
		e.left = out.Bytes()
	}
	n := copy(p, e.left)
	e.left = e.left[n:]
	return n, nil
}

func TestManyMembersAreReadInConstantMemory(t *testing.T) {
	t.Parallel()
	head := archive(t, tar.FormatGNU, join([]file{described(t, map[string]int64{"Ref:1": 2 << 20})}, chunk("Ref:1/00000000", mib("a")))...)
	const members = 5_000
	_, x, err := read(io.MultiReader(bytes.NewReader(head[:len(head)-1024]), &endless{n: members}), nil)
	require.ErrorIs(t, err, xva.ErrTruncated)
	require.EqualValues(t, members, x.Stats().Keepalives)
}

func TestReaderStaysClosed(t *testing.T) {
	t.Parallel()
	x, err := xva.NewReader(bytes.NewReader(write(t, map[string]memory{"Ref:1a": noise(700, 1)}, nil)), nil)
	require.NoError(t, err)
	require.NoError(t, x.Close())
	require.NoError(t, x.Close())
	_, err = x.Next()
	require.ErrorIs(t, err, io.ErrClosedPipe)
}
