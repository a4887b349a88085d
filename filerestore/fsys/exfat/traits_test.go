package exfat_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io/fs"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/exfat"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/testvolume"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

var le = binary.LittleEndian

// volume is an image that a test writes to.
type volume struct {
	tb  testing.TB
	raw []byte
}

func load(tb testing.TB, name string) volume {
	tb.Helper()
	return volume{tb, testvolume.Image(tb, name)}
}

func (v volume) open() *exfat.FS { return openBytes(v.tb, v.raw) }

func (v volume) read(name string) error {
	_, err := fs.ReadFile(v.open(), name)
	return err
}

// set returns the entries of a file, in one cluster.
func (v volume) set(name string) []byte {
	v.tb.Helper()
	id, err := v.open().NodeAt(name, false)
	require.NoError(v.tb, err)
	b := v.raw[id.Number*32:]
	return b[:(int(b[1])+1)*32]
}

// seal writes the checksum of a set.
func seal(set []byte) {
	sum := uint16(0)
	for i, c := range set {
		if i != 2 && i != 3 {
			sum = sum>>1 | sum<<15
			sum += uint16(c)
		}
	}
	le.PutUint16(set[2:], sum)
}

// sealBoot writes the checksum of the main boot region.
func (v volume) sealBoot() {
	sum := uint32(0)
	for i, c := range v.raw[:11*512] {
		if i != 106 && i != 107 && i != 112 {
			sum = sum>>1 | sum<<31
			sum += uint32(c)
		}
	}
	for off := 11 * 512; off < 12*512; off += 4 {
		le.PutUint32(v.raw[off:], sum)
	}
}

// after returns the volume from where it has some bytes first.
func (v volume) after(some []byte) []byte {
	v.tb.Helper()
	before, _, ok := bytes.Cut(v.raw, some)
	require.True(v.tb, ok)
	return v.raw[len(before):]
}

func (v volume) table() int { return int(le.Uint32(v.raw[80:])) * 512 }

// rootEnd is where the root directory has no entries yet.
func (v volume) rootEnd() []byte {
	at := int(le.Uint32(v.raw[88:]))*512 + int(le.Uint32(v.raw[96:])-2)<<(9+v.raw[109])
	for v.raw[at] != 0 {
		at += 32
	}
	return v.raw[at:]
}

func damages(tb testing.TB, vol fsys.FS, kind error) (seen, damaged int) {
	tb.Helper()
	for _, err := range fsys.Walk(context.Background(), vol, vol.Root(), nil) {
		seen++
		if err != nil {
			require.ErrorIs(tb, err, kind)
			damaged++
		}
	}
	return seen, damaged
}

func TestLookupsGoByTheTableOfTheVolume(t *testing.T) {
	vol := openImage(t, "512")
	for _, name := range []string{"NAMES/CAF\u00c9.TXT", "names/\u2603 SNOW man \u2603", "Names/mixed.txt"} {
		_, err := vol.Stat(name)
		require.NoError(t, err, name)
	}
	_, err := vol.Stat("names/cafe.txt")
	require.ErrorIs(t, err, fs.ErrNotExist)

	v := load(t, "512")
	entry := v.after([]byte{0x82, 0, 0, 0})
	entry[4]++ // its checksum
	require.Equal(t, fsys.Damaged, v.open().Warnings()[0].Concern)
	_, err = v.open().Stat("NAMES/CAF\u00c9.TXT")
	require.NoError(t, err)
}

func TestTheBackupBootRegionIsUsed(t *testing.T) {
	for name, damage := range map[string]func(b []byte){
		"wiped":    func(b []byte) { clear(b[:512]) },
		"clusters": func(b []byte) { b[92]++ },
		"name":     func(b []byte) { b[4] = 'x' },
		"code":     func(b []byte) { b[5000] = 1 },
	} {
		v := load(t, "512")
		damage(v.raw)
		vol := v.open()
		require.Equal(t, fsys.Damaged, vol.Warnings()[0].Concern, name)
		require.Empty(t, cmp.Diff(testvolume.ManifestOf(t, "512"), testvolume.Read(t, vol)))

		damage(v.raw[12*512:])
		_, err := exfat.Open(t.Context(), bytes.NewReader(v.raw), int64(len(v.raw)), nil)
		testvolume.Typed(t, err)
		require.Error(t, err, name)
	}
}

func TestVolumesInUseWarn(t *testing.T) {
	for flag, want := range map[byte]fsys.Concern{2: fsys.Dirty, 4: fsys.Damaged} {
		v := load(t, "512")
		v.raw[106] |= flag
		require.Len(t, v.open().Warnings(), 1)
		require.Equal(t, want, v.open().Warnings()[0].Concern)
		require.Empty(t, cmp.Diff(testvolume.ManifestOf(t, "512"), testvolume.Read(t, v.open())))
	}
}

func TestTheSecondTableIsReadWhereItIsActive(t *testing.T) {
	v := load(t, "64k")
	half := int(le.Uint32(v.raw[84:])) / 2
	first := v.raw[v.table():][:half*512]
	require.Greater(t, len(first)/4, int(le.Uint32(v.raw[92:]))+2, "room for two tables")
	copy(v.raw[v.table()+half*512:], first)
	le.PutUint32(v.raw[84:], uint32(half))
	v.raw[110], v.raw[106] = 2, 1
	clear(first)
	v.sealBoot()
	vol := v.open()
	require.Empty(t, cmp.Diff(testvolume.ManifestOf(t, "64k"), testvolume.Read(t, vol)))
	require.Contains(t, vol.Warnings()[0].Text, "bitmap", "there is no second one")
	v.raw[106] = 0
	_, err := exfat.Open(t.Context(), bytes.NewReader(v.raw), int64(len(v.raw)), nil)
	require.ErrorIs(t, err, fsys.ErrCorrupt, "the root has no chain")
}

func TestSetsWithAWrongChecksumAreToldAndPassed(t *testing.T) {
	v := load(t, "512")
	all, none := damages(t, v.open(), nil)
	require.Zero(t, none)
	v.set("sizes/511")[5] ^= 1
	seen, damaged := damages(t, v.open(), fsys.ErrChecksum)
	require.Equal(t, 1, damaged)
	require.Equal(t, all, seen, "the others, and the damage")
}

func TestWhatWasNotWrittenIsZero(t *testing.T) {
	v := load(t, "512")
	set := v.set("sizes/4097")
	le.PutUint64(set[32+8:], 700)
	seal(set)
	vol := v.open()
	got, err := fs.ReadFile(vol, "sizes/4097")
	require.NoError(t, err)
	want := testvolume.Content("sizes/4097", 4097)
	clear(want[700:])
	require.Equal(t, want, got)
	id, err := vol.NodeAt("sizes/4097", false)
	require.NoError(t, err)
	f, err := vol.OpenNode(id)
	require.NoError(t, err)
	var extents []disk.Extent
	for e, err := range f.Extents(t.Context(), 0, f.Size()) {
		require.NoError(t, err)
		extents = append(extents, e)
	}
	require.Equal(t, []disk.Extent{{Off: 0, Len: 700, Kind: disk.Data}, {Off: 700, Len: 3397, Kind: disk.Zero}}, extents)

	le.PutUint64(set[32+8:], 5000)
	seal(set)
	require.ErrorIs(t, v.read("sizes/4097"), fsys.ErrCorrupt)
}

func TestTimesAreThoseOfTheirOffset(t *testing.T) {
	v := load(t, "512")
	set := v.set("sizes/1")
	stat := func() fsys.Info {
		vol := v.open()
		id, err := vol.NodeAt("sizes/1", false)
		require.NoError(t, err)
		info, err := vol.StatNode(id)
		require.NoError(t, err)
		return info
	}
	set[23] = 0x80
	seal(set)
	utc := stat()
	set[20], set[21], set[23], set[5] = 199, 50, 0x80|(0x7F&^21), 0 // -22 quarters
	set[4] |= 1
	seal(set)
	got := stat()
	require.Equal(t, 22*15*time.Minute+500*time.Millisecond, got.Modified.Sub(utc.Modified.Truncate(2*time.Second)))
	require.Equal(t, 990_000_000, got.Created.Nanosecond())
	require.Equal(t, fs.FileMode(0o444), got.Mode)
}

func TestEntriesOfVendorsAreSkipped(t *testing.T) {
	v := load(t, "64k")
	all, _ := damages(t, v.open(), nil)
	end := v.rootEnd()
	end[0] = 0xA0                              // benign: an id of the volume
	set := end[32:][:4*32]                     // a file whose set has an entry of a vendor
	set[0], set[1], set[4] = 0x85, 3, 0x20     //
	set[32], set[32+1], set[32+3] = 0xC0, 1, 1 //
	set[64], set[64+2], set[96] = 0xC1, 'v', 0xE0
	seal(set)
	seen, damaged := damages(t, v.open(), nil)
	require.Equal(t, [2]int{all + 1, 0}, [2]int{seen, damaged})
	require.NoError(t, v.read("V"))
	require.Empty(t, v.open().Warnings())

	set[96] = 0xC7 // who does not know it must not use the file
	seal(set)
	_, damaged = damages(t, v.open(), fsys.ErrUnsupported)
	require.Equal(t, 1, damaged)

	end[0] = 0x87
	vol := v.open()
	damages(t, vol, fsys.ErrUnsupported)
	require.Equal(t, fsys.Skipped, vol.Warnings()[0].Concern)
}

func TestClustersThatTheBitmapCallsFreeAreWarnedOf(t *testing.T) {
	v := load(t, "512")
	entry := v.after(append([]byte{0x81}, make([]byte, 19)...))
	heap := int(le.Uint32(v.raw[88:])) * 512
	bitmap := v.raw[heap+int(le.Uint32(entry[20:])-2)*512:]
	set := v.set("sizes/4097")
	last := int(le.Uint32(set[32+20:])) - 2 + 8
	bitmap[last/8] &^= 1 << (last % 8)
	vol := v.open()
	require.Empty(t, vol.Warnings())
	for range 2 {
		_, err := fs.ReadFile(vol, "sizes/4097")
		require.NoError(t, err)
	}
	require.Len(t, vol.Warnings(), 1)
	require.Equal(t, fsys.Damaged, vol.Warnings()[0].Concern)
}

func TestDamagedChainsEndInErrors(t *testing.T) {
	for name, next := range map[string]uint32{"free": 0, "reserved": 1, "bad": 0xFFFFFFF7, "outside": 0x0ABCDEF0, "short": 0xFFFFFFFF, "circle": 0} {
		v := load(t, "pieces")
		set := v.set("in pieces")
		require.Zero(t, set[32+1]&2, "it has a chain")
		c := le.Uint32(set[32+20:])
		second := le.Uint32(v.raw[v.table()+int(c)*4:])
		if name == "circle" {
			next = c
		}
		le.PutUint32(v.raw[v.table()+int(second)*4:], next)
		require.ErrorIs(t, v.read("in pieces"), fsys.ErrCorrupt, name)
	}
}

func TestClaimsOfHugeSizesAreRefused(t *testing.T) {
	v := load(t, "512")
	set := v.set("sizes/4097")
	for _, size := range []uint64{1 << 40, 1 << 62, 1<<64 - 1} {
		for _, valid := range []uint64{0, size} {
			le.PutUint64(set[32+8:], valid)
			le.PutUint64(set[32+24:], size)
			seal(set)
			require.ErrorIs(t, v.read("sizes/4097"), fsys.ErrCorrupt)
		}
	}
}

func TestDirectoriesInTwoPlacesAreDamage(t *testing.T) {
	v := load(t, "512")
	first := le.Uint32(v.set("deep")[32+20:])
	set := v.set("deep/d/d")
	le.PutUint32(set[32+20:], first)
	seal(set)
	vol := v.open()
	seen, damaged := 0, 0
	require.NoError(t, fs.WalkDir(vol, "deep", func(_ string, _ fs.DirEntry, err error) error {
		if seen++; err != nil {
			require.ErrorIs(t, err, fsys.ErrCorrupt)
			damaged++
		}
		return nil
	}))
	require.Equal(t, 1, damaged)
	require.Less(t, seen, 6)
	_, damaged = damages(t, v.open(), fsys.ErrCorrupt)
	require.Equal(t, 1, damaged)
}

func TestParentsAreFoundByAnotherProcess(t *testing.T) {
	vol := openImage(t, "512")
	id, err := vol.NodeAt("deep/d/d/d/d", false)
	require.NoError(t, err)
	up, err := vol.NodeAt("deep/d/d/d", false)
	require.NoError(t, err)
	again := openImage(t, "512")
	got, err := again.Parent(id)
	require.NoError(t, err)
	require.Equal(t, up, got)
	for _, number := range []uint64{0, 2, 1 << 50, 1<<64 - 1} {
		_, err = again.StatNode(fsys.NodeID{Number: number})
		require.ErrorIs(t, err, fs.ErrNotExist)
	}
}
