package fat_test

import (
	"bytes"
	"encoding/binary"
	"io/fs"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/fat"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/testvolume"
	"github.com/xenbackup/xenbackup/filerestore/probe"
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

func (v volume) open() *fat.FS { return openBytes(v.tb, v.raw) }

// entry returns the short entry of a file.
func (v volume) entry(name string) []byte {
	v.tb.Helper()
	id, err := v.open().NodeAt(name, false)
	require.NoError(v.tb, err)
	return v.raw[id.Number*32:][:32]
}

func (v volume) first(name string) uint32 {
	e := v.entry(name)
	return uint32(le.Uint16(e[26:])) | uint32(le.Uint16(e[20:]))<<16
}

// table returns the offset of copy i of the table.
func (v volume) table(i int) int {
	size := int(le.Uint16(v.raw[22:]))
	if size == 0 {
		size = int(le.Uint32(v.raw[36:]))
	}
	return (int(le.Uint16(v.raw[14:])) + i*size) * int(le.Uint16(v.raw[11:]))
}

// link writes an entry of both copies of the table of FAT32.
func (v volume) link(c, next uint32) {
	for i := range 2 {
		le.PutUint32(v.raw[v.table(i)+int(c)*4:], next)
	}
}

func (v volume) read(name string) error {
	_, err := fs.ReadFile(v.open(), name)
	return err
}

func TestLookupsIgnoreCaseAndKnowShortNames(t *testing.T) {
	vol := openImage(t, "fat32")
	want, err := vol.NodeAt("names/13 letters ok", false)
	require.NoError(t, err)
	for _, name := range []string{"NAMES/13 LETTERS OK", "names/13LETT~1", "Names/13lett~1"} {
		got, err := vol.NodeAt(name, false)
		require.NoError(t, err, name)
		require.Equal(t, want, got)
	}
	_, err = vol.Stat("NAMES/CAF\u00c9.TXT")
	require.NoError(t, err)
	_, err = vol.Stat("names/cafe.txt")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = vol.Stat("names/x~1.txt")
	require.NoError(t, err)
}

func TestLongNamesThatBelongToNoEntryAreIgnored(t *testing.T) {
	v := load(t, "fat32")
	e := v.entry("names/13 letters ok")
	alias := string(bytes.TrimRight(e[:11], " "))
	copy(e, "OTHER      ") // the checksum does not fit any more
	list, err := fs.ReadDir(v.open(), "names")
	require.NoError(t, err)
	require.Len(t, list, len(testvolume.Names)+1)
	_, err = v.open().Stat("names/13 letters ok")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = v.open().Stat("names/" + alias)
	require.ErrorIs(t, err, fs.ErrNotExist)
	info, err := v.open().Stat("names/OTHER")
	require.NoError(t, err)
	require.Equal(t, "OTHER", info.Name())

	e[0] = 0xE5 // deleted
	_, err = v.open().Stat("names/OTHER")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestShortNamesAreDecoded(t *testing.T) {
	v := load(t, "fat32")
	e := v.entry("names/13 letters ok")
	copy(e, "\x05\x8E\x9Bx    \x81T ")
	e[12] = 0x10
	_, err := v.open().Stat("names/\u03c3\u00c4\u00a2x.\u00fct")
	require.NoError(t, err)
	cyrillic := make([]rune, 128)
	for i := range cyrillic {
		cyrillic[i] = rune(0x410 + i)
	}
	vol, err := fat.Open(t.Context(), bytes.NewReader(v.raw), int64(len(v.raw)), &fat.Options{CodePage: string(cyrillic)})
	require.NoError(t, err)
	_, err = vol.Stat("names/" + string([]rune{0x410 + 0x65, 0x410 + 0x0E, 0x410 + 0x1B, 'x', '.', 0x431, 't'}))
	require.NoError(t, err)
	_, err = fat.Open(t.Context(), bytes.NewReader(v.raw), int64(len(v.raw)), &fat.Options{CodePage: "abc"})
	require.ErrorContains(t, err, "128")
}

func TestTimesAreThoseOfTheZone(t *testing.T) {
	zone := time.FixedZone("", 2*3600)
	v := load(t, "fat32")
	e := v.entry("sizes/1")
	e[13] = 150
	le.PutUint16(e[18:], 0) // never accessed
	vol, err := fat.Open(t.Context(), bytes.NewReader(v.raw), int64(len(v.raw)), &fat.Options{Location: zone})
	require.NoError(t, err)
	want, got := stat(t, v.open(), "sizes/1"), stat(t, vol, "sizes/1")
	require.Equal(t, 2*time.Hour, want.Modified.Sub(got.Modified))
	require.Equal(t, 500_000_000, got.Created.Nanosecond())
	require.True(t, got.Accessed.IsZero())
}

func stat(tb testing.TB, vol *fat.FS, name string) fsys.Info {
	tb.Helper()
	id, err := vol.NodeAt(name, false)
	require.NoError(tb, err)
	info, err := vol.StatNode(id)
	require.NoError(tb, err)
	return info
}

func TestAttributesBecomePermissions(t *testing.T) {
	v := load(t, "fat32")
	v.entry("sizes/1")[11] = 0x01 | 0x02
	v.entry("many")[11] |= 0x01
	require.Equal(t, fs.FileMode(0o444), stat(t, v.open(), "sizes/1").Mode)
	require.Equal(t, uint32(3), stat(t, v.open(), "sizes/1").Attributes)
	require.Equal(t, fs.FileMode(0o644), stat(t, v.open(), "sizes/511").Mode)
	require.Equal(t, fs.ModeDir|0o755, stat(t, v.open(), "many").Mode)
}

func TestVolumesInUseWarn(t *testing.T) {
	for name, c := range map[string]struct {
		image string
		at    func(v volume) int
		value byte
		want  fsys.Concern
	}{
		"FAT16, table":         {"fat16", func(v volume) int { return v.table(0) + 3 }, 0x7F, fsys.Dirty},
		"FAT16, errors":        {"fat16", func(v volume) int { return v.table(0) + 3 }, 0xBF, fsys.Damaged},
		"FAT32, table":         {"fat32", func(v volume) int { return v.table(0) + 7 }, 0x07, fsys.Dirty},
		"FAT32, errors":        {"fat32", func(v volume) int { return v.table(0) + 7 }, 0x0B, fsys.Damaged},
		"FAT12, boot sector":   {"fat12", func(volume) int { return 37 }, 1, fsys.Dirty},
		"FAT32, boot sector":   {"fat32", func(volume) int { return 65 }, 1, fsys.Dirty},
		"FAT32, errors (boot)": {"fat32", func(volume) int { return 65 }, 2, fsys.Damaged},
	} {
		v := load(t, c.image)
		v.raw[c.at(v)] = c.value
		warnings := v.open().Warnings()
		if len(warnings) > 1 { // the copy of the table differs now
			require.Contains(t, warnings[0].Text+warnings[1].Text, "differ", name)
			warnings = warnings[1:]
		}
		require.Len(t, warnings, 1, name)
		require.Equal(t, c.want, warnings[0].Concern, name)
		require.NoError(t, v.read("sizes/4096"), name)
	}
}

func TestTheActiveTableIsRead(t *testing.T) {
	v := load(t, "fat32-pieces")
	c := v.first("in pieces")
	le.PutUint32(v.raw[v.table(0)+int(c)*4:], 0)
	require.ErrorIs(t, v.read("in pieces"), fsys.ErrCorrupt)
	require.Equal(t, fsys.Damaged, v.open().Warnings()[0].Concern, "copies differ")
	v.raw[40] = 0x81 // the second, and no copies
	require.NoError(t, v.read("in pieces"))
	require.Empty(t, v.open().Warnings())
	v.raw[40], v.raw[6*512+40] = 0x82, 0x82 // in the backup too
	_, err := fat.Open(t.Context(), bytes.NewReader(v.raw), int64(len(v.raw)), nil)
	require.ErrorIs(t, err, fsys.ErrCorrupt)
}

func TestDamagedBootSectorsAreReadFromTheirBackup(t *testing.T) {
	for _, name := range []string{"fat32", "fat32-pieces"} {
		v := load(t, name)
		want := testvolume.Read(t, v.open())
		clear(v.raw[:512])
		vol := openBytes(t, v.raw)
		require.Len(t, vol.Warnings(), 1)
		require.Equal(t, fsys.Damaged, vol.Warnings()[0].Concern)
		require.Contains(t, vol.Warnings()[0].Text, "backup")
		require.Equal(t, want, testvolume.Read(t, vol))
		c, err := probe.Detect(bytes.NewReader(v.raw), int64(len(v.raw)))
		require.NoError(t, err)
		require.Equal(t, "vfat", c.Type)
		clear(v.raw[6*512:][:512])
		_, err = fat.Open(t.Context(), bytes.NewReader(v.raw), int64(len(v.raw)), nil)
		require.ErrorIs(t, err, fsys.ErrWrongFormat)
	}
}

func TestDamagedChainsEndInErrors(t *testing.T) {
	for name, next := range map[string]uint32{"free": 0, "reserved": 1, "bad": 0x0FFFFFF7, "outside": 0x0ABCDEF0, "short": 0x0FFFFFFF, "circle": 0} {
		v := load(t, "fat32-pieces")
		c := v.first("in pieces")
		second := le.Uint32(v.raw[v.table(0)+int(c)*4:])
		if name == "circle" {
			next = c
		}
		v.link(second, next)
		err := v.read("in pieces")
		require.ErrorIs(t, err, fsys.ErrCorrupt, name)
		file, err := v.open().Open("in pieces")
		require.NoError(t, err)
		_, err = file.Read(make([]byte, 512))
		require.NoError(t, err, "%s: what is before the damage", name)
	}
}

func TestFreeSpaceIsNotBelieved(t *testing.T) {
	v := load(t, "fat32")
	copy(v.raw[512:1024], bytes.Repeat([]byte{0xAA}, 512))
	require.Empty(t, cmp.Diff(testvolume.ManifestOf(t, "fat32"), manifest(t, v.open())))
}

func TestDirectoriesInTwoPlacesAreDamage(t *testing.T) {
	v := load(t, "fat32")
	deep := v.entry("deep/d/d")
	le.PutUint16(deep[26:], uint16(v.first("deep"))) // its own grandparent
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
	damaged = 0
	for _, err := range fsys.Walk(t.Context(), v.open(), vol.Root(), nil) {
		if err != nil {
			require.ErrorIs(t, err, fsys.ErrCorrupt)
			damaged++
		}
	}
	require.Equal(t, 1, damaged)
}

func TestADirectoryMayNotRunIntoAnother(t *testing.T) {
	v := load(t, "fat32")
	v.link(v.first("many"), v.first("names"))
	damaged := 0
	vol := v.open()
	for _, err := range fsys.Walk(t.Context(), vol, vol.Root(), nil) {
		if err != nil {
			require.ErrorIs(t, err, fsys.ErrCorrupt)
			damaged++
		}
	}
	require.Equal(t, 1, damaged)
}

func TestParentsAreFoundByAnotherProcess(t *testing.T) {
	vol := openImage(t, "fat32")
	id, err := vol.NodeAt("deep/d/d/d/d", false)
	require.NoError(t, err)
	up, err := vol.NodeAt("deep/d/d/d", false)
	require.NoError(t, err)
	again := openImage(t, "fat32")
	got, err := again.Parent(id)
	require.NoError(t, err)
	require.Equal(t, up, got)
	_, err = again.Parent(fsys.NodeID{Number: 1 << 50})
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = again.StatNode(fsys.NodeID{Number: 2})
	require.ErrorIs(t, err, fs.ErrNotExist)
	root, err := again.Parent(again.Root())
	require.NoError(t, err)
	require.Equal(t, again.Root(), root)
}

func TestPagesOfADirectoryMakeItWhole(t *testing.T) {
	vol := openImage(t, "fat16")
	dir, err := vol.NodeAt("many", false)
	require.NoError(t, err)
	all := map[string]bool{}
	for cursor := ""; ; {
		page, next, err := vol.ReadDirPage(dir, cursor, 7)
		require.NoError(t, err)
		require.LessOrEqual(t, len(page), 7)
		for _, e := range page {
			require.False(t, all[e.Name])
			all[e.Name] = true
		}
		if next == "" {
			break
		}
		cursor = next
	}
	require.Len(t, all, 250)
	for _, cursor := range []string{"x", "-32", "33", "9223372036854775776"} {
		page, _, err := vol.ReadDirPage(dir, cursor, 0)
		require.Empty(t, page)
		if err != nil {
			testvolume.Typed(t, err)
		}
	}
}
