package lvm_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/lvm"
)

func sum(b []byte) uint32 { return ^crc32.Update(^uint32(0xF597A6CF), crc32.IEEETable, b) }

// physical makes a physical volume of 4 MiB with a metadata area of 128 KiB in which the
// text begins near the end, so that it goes around. Each extent, of 64 KiB from 1 MiB on, is
// filled with a letter: 'A' and so on for the first one.
func physical(uuid, text string, first byte) []byte {
	b := make([]byte, 4<<20)
	for i := range 48 {
		extent := b[1<<20+i<<16:][:64<<10]
		extent[0] = first + byte(i)
		for n := 1; n < len(extent); n *= 2 {
			copy(extent[n:], extent[:n])
		}
	}
	describe(b, uuid, text)
	return b
}

// describe writes label and metadata.
func describe(b []byte, uuid, text string) {
	const start, length = 4096, 128 << 10
	le := binary.LittleEndian
	clear(b[:start+length])
	label := b[512:1024]
	copy(label, "LABELONE")
	le.PutUint64(label[8:], 1)
	le.PutUint32(label[20:], 32)
	copy(label[24:], "LVM2 001")
	copy(label[32:], uuid)
	le.PutUint64(label[64:], uint64(len(b)))
	le.PutUint64(label[72:], 1<<20)
	le.PutUint64(label[104:], start)
	le.PutUint64(label[112:], length)
	le.PutUint32(label[16:], sum(label[20:]))
	area := b[start:][:length]
	text += "\x00"
	at := length - 100
	n := copy(area[at:], text)
	copy(area[512:], text[n:])
	h := area[:512]
	copy(h[4:], " LVM2 x[5A%r0N*>")
	le.PutUint32(h[20:], 1)
	le.PutUint64(h[24:], start)
	le.PutUint64(h[32:], length)
	le.PutUint64(h[40:], uint64(at))
	le.PutUint64(h[48:], uint64(len(text)))
	le.PutUint32(h[56:], sum([]byte(text)))
	le.PutUint32(h, sum(h[4:]))
}

func uuid(c string) string { return strings.Repeat(c, 32) }

// group is the metadata of a group with two physical volumes, a and b.
func group(seqno int, volumes string) string {
	return fmt.Sprintf(`vg { # of a test
	id = "vg-id" seqno = %d extent_size = 128 flags = []
	physical_volumes {
		pv0 { id = "%s" pe_start = 2048 pe_count = 40 flags = [] }
		pv1 { id = "%s" pe_start = 2048 pe_count = 40 flags = [] }
	}
	logical_volumes { %s }
}
version = 1
creation_time = 1.5`, seqno, uuid("a"), uuid("b"), volumes)
}

// volume is one of one segment.
func volume(name, status string, extents int, segment string) string {
	return fmt.Sprintf(`%s { id = "%s-id" status = [%s] segment_count = 1 segment1 { start_extent = 0 extent_count = %d %s } }`, name, name, status, extents, segment)
}

const visible = `"READ", "WRITE", "VISIBLE"`

func assemble(tb testing.TB, images ...[]byte) []*lvm.Group {
	tb.Helper()
	var pvs []*lvm.PV
	for i, b := range images {
		pv, err := lvm.ReadPV(bytes.NewReader(b), int64(len(b)))
		require.NoError(tb, err)
		pv.Name = fmt.Sprint("disk ", i)
		pvs = append(pvs, pv)
	}
	return lvm.Assemble(pvs)
}

// letters is the content of a volume, a letter for each extent.
func letters(tb testing.TB, v *lvm.Volume) string {
	tb.Helper()
	raw := make([]byte, v.Size)
	n, err := v.ReadAt(raw, 0)
	require.NoError(tb, err)
	require.Len(tb, raw, n)
	var b strings.Builder
	for ; len(raw) > 0; raw = raw[64<<10:] {
		require.Equal(tb, bytes.Repeat(raw[:1], 64<<10), raw[:64<<10])
		b.WriteByte(raw[0])
	}
	return b.String()
}

func find(tb testing.TB, g *lvm.Group, name string) *lvm.Volume {
	tb.Helper()
	for _, v := range g.Volumes {
		if v.Name == name {
			return v
		}
	}
	tb.Fatalf("no volume %s", name)
	return nil
}

func TestSegmentsOfAllKindsReadOrSayWhyNot(t *testing.T) {
	text := group(2, strings.Join([]string{
		volume("leg0", `"READ"`, 2, `type = "striped" stripe_count = 1 stripes = ["pv0", 4]`),
		volume("leg1", `"READ"`, 2, `type = "striped" stripe_count = 1 stripes = ["pv1", 4]`),
		volume("meta0", `"READ"`, 1, `type = "striped" stripe_count = 1 stripes = ["pv0", 6]`),
		volume("meta1", `"READ"`, 1, `type = "striped" stripe_count = 1 stripes = ["pv1", 6]`),
		volume("raid", visible, 2, `type = "raid1" device_count = 2 raids = ["meta0", "leg0", "meta1", "leg1"]`),
		volume("mirror", visible, 2, `type = "mirror" mirror_count = 2 mirrors = ["leg1", 0, "leg0", 0]`),
		volume("striped", visible, 4, `type = "striped" stripe_size = 128 stripes = ["pv0", 0, "pv1", 0]`),
		volume("origin", visible, 1, `type = "striped" stripes = ["pv0", 8]`),
		volume("snap", visible, 1, `type = "striped" stripes = ["pv0", 9]`),
		volume("snapshot0", `"READ", "VISIBLE"`, 1, `type = "snapshot" chunk_size = 8 origin = "origin" cow_store = "snap"`),
		volume("thin", visible, 1, `type = "thin" thin_pool = "pool" transaction_id = 0 device_id = 1`),
		volume("pool", visible, 1, `type = "thin-pool" metadata = "leg0" pool = "leg1"`),
		volume("raid5", visible, 2, `type = "raid5_ls" raids = ["meta0", "leg0", "meta1", "leg1"]`),
		volume("zero", visible, 1, `type = "zero"`),
		`two { id = "two" status = ["VISIBLE"] segment_count = 2
			segment1 { start_extent = 0 extent_count = 1 type = "striped" stripes = ["pv1", 9] }
			segment2 { start_extent = 1 extent_count = 2 type = "striped" stripes = ["pv0", 0] } }`,
	}, "\n"))
	old := group(1, volume("gone", visible, 1, `type = "zero"`))
	groups := assemble(t, physical(uuid("a"), old, 'A'), physical(uuid("b"), text, 'a'))
	require.Len(t, groups, 1)
	g := groups[0]
	require.Equal(t, "vg", g.Name)
	require.EqualValues(t, 80*64<<10, g.Size)
	for name, want := range map[string]string{
		"raid": "EF", "mirror": "ef", "striped": "AaBb", "origin": "I", "zero": "\x00", "two": "jAB",
	} {
		require.Equal(t, want, letters(t, find(t, g, name)), name)
	}
	for _, name := range []string{"snap", "thin", "pool", "raid5"} {
		v := find(t, g, name)
		require.ErrorIs(t, v.Err, fsys.ErrUnsupported, name)
		_, err := v.ReadAt(make([]byte, 1), 0)
		require.ErrorIs(t, err, fsys.ErrUnsupported)
	}
	for _, v := range g.Volumes {
		require.NotContains(t, []string{"leg0", "meta0", "snapshot0", "gone"}, v.Name)
	}
	_, err := find(t, g, "two").ReadAt(make([]byte, 10), 3*64<<10-5)
	require.ErrorIs(t, err, io.EOF)

	g = assemble(t, physical(uuid("b"), text, 'a'))[0] // the other one is missing
	require.Len(t, g.Missing, 1)
	require.Equal(t, "ef", letters(t, find(t, g, "raid")))
	require.Equal(t, "ef", letters(t, find(t, g, "mirror")))
	for _, name := range []string{"striped", "two", "origin"} {
		require.ErrorIs(t, find(t, g, name).Err, lvm.ErrMissing)
	}
}

func TestVolumesMadeOfThemselvesAreCorrupt(t *testing.T) {
	list := []string{
		volume("a", visible, 1, `type = "striped" stripes = ["b", 0]`),
		volume("b", visible, 1, `type = "striped" stripes = ["a", 0]`),
		volume("self", visible, 1, `type = "raid1" raids = ["self", "self"]`),
		volume("beyond", visible, 2, `type = "striped" stripes = ["pv0", 39]`),
		volume("negative", visible, 2, `type = "striped" stripes = ["pv0", -1]`),
		volume("huge", visible, 1, `extent_count = 9223372036854775807 type = "striped" stripes = ["pv0", 0]`),
		volume("none", visible, 0, `type = "striped" stripes = ["pv0", 0]`),
		volume("odd", visible, 3, `type = "striped" stripe_size = 128 stripes = ["pv0", 0, "pv0", 3]`),
		volume("stripe", visible, 2, `type = "striped" stripe_size = 0 stripes = ["pv0", 0, "pv0", 3]`),
		volume("unknown", visible, 2, `type = "striped" stripes = ["pv9", 0]`),
		volume("empty", visible, 2, ``),
	}
	for i := range 50 { // each in the next: deeper than anybody needs
		list = append(list, volume(fmt.Sprintf("chain%02d", 50-i), visible, 1, fmt.Sprintf(`type = "striped" stripes = ["chain%02d", 0]`, 49-i)))
	}
	list = append(list, volume("chain00", visible, 1, `type = "zero"`))
	g := assemble(t, physical(uuid("a"), group(1, strings.Join(list, "\n")), 'A'))[0]
	for _, v := range g.Volumes {
		if v.Name < "chain09" && strings.HasPrefix(v.Name, "chain") {
			require.NoError(t, v.Err, v.Name)
			continue
		}
		require.Error(t, v.Err, v.Name)
		require.True(t, errors.Is(v.Err, fsys.ErrCorrupt) || errors.Is(v.Err, fsys.ErrUnsupported) || errors.Is(v.Err, fsys.ErrLimit), v.Err)
	}
}

func TestLabelsAndTextsAreProven(t *testing.T) {
	whole := physical(uuid("a"), group(1, ""), 'A')
	_, err := lvm.ReadPV(bytes.NewReader(whole[:4096]), 512)
	require.ErrorIs(t, err, lvm.ErrNone)
	damaged := bytes.Clone(whole)
	damaged[512+40]++
	_, err = lvm.ReadPV(bytes.NewReader(damaged), int64(len(damaged)))
	require.ErrorIs(t, err, fsys.ErrChecksum)
	for _, at := range []int{4096 + 60, 4096 + 128<<10 - 50, 4096 + 512 + 10} { // header, text, its other half
		damaged = bytes.Clone(whole)
		damaged[at]++
		require.Empty(t, assemble(t, damaged), at)
	}
	for _, text := range []string{"vg {", "vg { id = [[", `vg { id = "x`, "}", strings.Repeat("a {", 100), "= 1", `vg { id = 99999999999999999999 }`} {
		require.Empty(t, assemble(t, physical(uuid("a"), text, 'A')), text)
	}
}

// machine is a disk that testdata/make.sh of package filerestore made.
func machine(tb testing.TB, name string) []byte {
	tb.Helper()
	packed, err := os.ReadFile(filepath.Join("..", "testdata", name+".img.zst"))
	require.NoError(tb, err)
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	require.NoError(tb, err)
	defer r.Close()
	raw, err := r.DecodeAll(packed, nil)
	require.NoError(tb, err)
	return raw
}

// check reads a hostile physical volume.
func check(tb testing.TB, b []byte) {
	tb.Helper()
	pv, err := lvm.ReadPV(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		if !errors.Is(err, lvm.ErrNone) && !errors.Is(err, fsys.ErrCorrupt) {
			tb.Fatalf("an error of no kind: %v", err)
		}
		return
	}
	p := make([]byte, 1000)
	for _, g := range lvm.Assemble([]*lvm.PV{pv}) {
		for _, v := range g.Volumes {
			for _, off := range []int64{0, v.Size / 2, v.Size - 500} {
				if n, err := v.ReadAt(p, max(0, off)); n < len(p) && err == nil {
					tb.Fatal("a short read without an error")
				}
			}
		}
	}
}

// alter changes some bytes of a text and puts it into a physical volume, so that no
// checksum finds it.
func alter(disk []byte, text string, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 2))
	b := []byte(text)
	for range 1 + r.IntN(6) {
		at := r.IntN(len(b))
		switch r.IntN(3) {
		case 0:
			b[at] = byte(r.IntN(256))
		case 1:
			b[at] = "0123456789[]{}=\",-"[r.IntN(18)]
		case 2:
			from := r.IntN(len(b))
			copy(b[at:], b[from:min(len(b), from+20)])
		}
	}
	describe(disk, uuid("a"), string(b))
}

func TestAlteredMetadataEndsInTypedErrors(t *testing.T) {
	raw := machine(t, "b")
	at := bytes.Index(raw, []byte("vg0 {\n"))
	require.Positive(t, at)
	text := string(raw[at : at+bytes.IndexByte(raw[at:], 0)])
	_, id, ok := strings.Cut(text, "pv1 {")
	require.True(t, ok)
	_, id, ok = strings.Cut(id, `id = "`)
	require.True(t, ok)
	id = id[:38]
	text = strings.Replace(text, id, uuid("a"), 1)
	disk := physical(uuid("a"), text, 'A')
	require.NotEmpty(t, assemble(t, disk))
	for round := range uint64(600) {
		alter(disk, text, round)
		check(t, disk)
	}
}

func FuzzMetadata(f *testing.F) {
	f.Add(group(1, volume("a", visible, 1, `type = "striped" stripes = ["pv0", 0]`)))
	f.Add(group(1, volume("a", visible, 2, `type = "raid1" raids = ["a", "a"]`)))
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) < 100<<10 {
			check(t, physical(uuid("a"), text, 'A'))
		}
	})
}

func ExampleAssemble() {
	disk := physical(uuid("a"), group(1, volume("root", visible, 3, `type = "striped" stripes = ["pv0", 2]`)), 'A')
	pv, err := lvm.ReadPV(bytes.NewReader(disk), int64(len(disk)))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, g := range lvm.Assemble([]*lvm.PV{pv}) {
		fmt.Println(g.Name, "lacks", len(g.Missing))
		for _, v := range g.Volumes {
			p := make([]byte, 3)
			_, err := v.ReadAt(p, 64<<10-1)
			fmt.Printf("%s %d bytes: %s %v\n", v.Name, v.Size, p, err)
		}
	}
	// Output:
	// vg lacks 1
	// root 196608 bytes: CDD <nil>
}
