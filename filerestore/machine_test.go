package filerestore_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore"
	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// The machine of testdata/make.sh: a has a GPT with the ext4 boot and a physical volume,
// b is a physical volume of the same group vg0, which has root (in three pieces), home,
// and data (striped); c is of another machine, with a group of the same name.

var kept sync.Map // name: []byte, never written to

// unpacked is the content of an image in testdata.
func unpacked(name string) ([]byte, error) {
	if raw, ok := kept.Load(name); ok {
		return raw.([]byte), nil
	}
	packed, err := os.ReadFile(filepath.Join("testdata", name+".img.zst"))
	if err != nil {
		return nil, err
	}
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	raw, err := r.DecodeAll(packed, nil)
	kept.Store(name, raw)
	return raw, err
}

func unpack(tb testing.TB, name string) []byte {
	tb.Helper()
	raw, err := unpacked(name)
	require.NoError(tb, err)
	return raw
}

func machine(tb testing.TB, names ...string) []filerestore.Disk {
	tb.Helper()
	var disks []filerestore.Disk
	for _, name := range names {
		raw := unpack(tb, name)
		disks = append(disks, filerestore.Disk{ID: name, R: bytes.NewReader(raw), Size: int64(len(raw))})
	}
	return disks
}

func open(tb testing.TB, disks []filerestore.Disk, opts *filerestore.Options) *filerestore.Session {
	tb.Helper()
	s, err := filerestore.Open(tb.Context(), disks, opts)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	return s
}

func tree(s *filerestore.Session) (list []string) {
	for v := range s.All() {
		list = append(list, v.ID+" "+v.Type)
	}
	return list
}

// sums is what sha256sum said of the files of a volume when they were put there. Newlines
// in names are '?' in it.
func sums(tb testing.TB, name string) map[string]string {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".sha256"))
	require.NoError(tb, err)
	m := map[string]string{}
	for line := range strings.Lines(string(text)) {
		sum, file, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ./")
		require.True(tb, ok, line)
		m[file] = sum
	}
	return m
}

func sumsOfVolume(tb testing.TB, files fsys.FS) map[string]string {
	tb.Helper()
	m := map[string]string{}
	for item, err := range fsys.Walk(tb.Context(), files, files.Root(), nil) {
		require.NoError(tb, err)
		if !item.Info.Mode.IsRegular() {
			continue
		}
		f, err := files.OpenNode(item.Entry.Node)
		require.NoError(tb, err)
		h := sha256.New()
		_, err = io.Copy(h, f)
		require.NoError(tb, err)
		m[strings.ReplaceAll(item.Path, "\n", "?")] = hex.EncodeToString(h.Sum(nil))
	}
	return m
}

func TestVolumesOfAMachineAreFoundAndReadWhole(t *testing.T) {
	s := open(t, machine(t, "a", "b", "c"), nil)
	var ids []string
	group := map[string]string{} // UUID of a group by its number of volumes
	for v := range s.All() {
		ids = append(ids, v.ID)
		if v.Kind == filerestore.KindGroup {
			group[v.UUID] = map[int]string{1: "other", 3: ""}[len(v.Children)]
		}
	}
	for uuid, name := range group {
		for i := range ids {
			ids[i] = strings.Replace(ids[i], "@"+uuid, name, 1)
		}
	}
	require.ElementsMatch(t, []string{
		"a", "a/p1", "a/p2", "b", "c", "lvm:vg0", "lvm:vg0/data", "lvm:vg0/home", "lvm:vg0/root", "lvm:vg0other", "lvm:vg0other/root",
	}, ids)
	for _, name := range []string{"boot", "root", "home", "data", "other"} {
		files, err := s.OpenVolume(t.Context(), name) // by label
		require.NoError(t, err)
		require.Empty(t, files.Warnings())
		require.Empty(t, cmp.Diff(sums(t, name), sumsOfVolume(t, files)), name)
	}
}

func TestIDsDoNotDependOnTheOrderOfDisks(t *testing.T) {
	ab, ba := open(t, machine(t, "a", "b"), nil), open(t, machine(t, "b", "a"), nil)
	require.ElementsMatch(t, tree(ab), tree(ba))
	require.Contains(t, tree(ab), "lvm:vg0/root ext4")
	require.Contains(t, tree(ab), "a/p2 LVM2_member")
	require.Contains(t, tree(ab), "b LVM2_member")
}

func TestOfAPartialGroupWhatIsWholeIsRead(t *testing.T) {
	s := open(t, machine(t, "a"), nil)
	home, err := s.OpenVolume(t.Context(), "lvm:vg0/home")
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(sums(t, "home"), sumsOfVolume(t, home)))
	for _, name := range []string{"root", "data"} {
		_, err := s.OpenVolume(t.Context(), "lvm:vg0/"+name)
		require.ErrorIs(t, err, filerestore.ErrMissing)
		e, ok := errors.AsType[*filerestore.VolumeError](err)
		require.True(t, ok)
		require.Equal(t, "lvm:vg0/"+name, e.Volume)
	}
	group, err := s.Volume("lvm:vg0")
	require.NoError(t, err)
	require.Len(t, group.Warnings, 1)
}

func TestACopyOfADiskBesideItIsHarmless(t *testing.T) {
	disks := append(machine(t, "a", "b"), machine(t, "b")...)
	disks[2].ID = "copy"
	s := open(t, disks, nil)
	files, err := s.OpenVolume(t.Context(), "lvm:vg0/root")
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(sums(t, "root"), sumsOfVolume(t, files)))
	group, err := s.Volume("lvm:vg0")
	require.NoError(t, err)
	require.Contains(t, group.Warnings[0].Text, "copy")
}

func TestVolumesWithoutFilesSayWhyNot(t *testing.T) {
	for name, want := range map[string]error{
		"luks1": fsys.ErrEncrypted, "luks2": fsys.ErrEncrypted, "swap": filerestore.ErrNoFiles,
		"xfs": fsys.ErrUnsupported, "btrfs": fsys.ErrUnsupported, "f2fs": fsys.ErrUnsupported, "ntfs": fsys.ErrUnsupported,
	} {
		raw := unpack(t, "../probe/testdata/"+name)
		s := open(t, []filerestore.Disk{{R: bytes.NewReader(raw), Size: int64(len(raw))}}, nil)
		v, err := s.Volume("disk0")
		require.NoError(t, err)
		if _, err := filerestoreReader(v); err { // one that was added since
			continue
		}
		_, err = v.Open(t.Context())
		require.ErrorIs(t, err, want, name)
		require.False(t, v.HasFiles())
	}
	s := open(t, machine(t, "a"), nil)
	_, err := s.OpenVolume(t.Context(), "a")
	require.ErrorIs(t, err, filerestore.ErrNoFiles)
	_, err = s.OpenVolume(t.Context(), "b")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = open(t, machine(t, "a", "b"), nil).OpenVolume(t.Context(), "")
	require.ErrorIs(t, err, filerestore.ErrAmbiguous)
	require.NoError(t, s.Close())
	_, err = s.OpenVolume(t.Context(), "a/p1")
	require.ErrorIs(t, err, filerestore.ErrClosed)
}

// filerestoreReader tells whether there is a reader for a volume.
func filerestoreReader(v *filerestore.Volume) (filerestore.Reader, bool) {
	for _, r := range filerestore.Readers() {
		if strings.HasPrefix(v.Type, r.Family) {
			return r, true
		}
	}
	return filerestore.Reader{}, false
}

func TestADiskThatCannotBeReadLeavesTheOthers(t *testing.T) {
	broken := errors.New("broken")
	disks := append(machine(t, "a"), filerestore.Disk{ID: "dead", Err: broken}, filerestore.Disk{ID: "dying", R: failing{broken}, Size: 1 << 20})
	s := open(t, disks, nil)
	for _, id := range []string{"dead", "dying"} {
		_, err := s.OpenVolume(t.Context(), id)
		require.ErrorIs(t, err, broken)
	}
	_, err := s.OpenVolume(t.Context(), "a/p1")
	require.NoError(t, err)
	_, err = filerestore.Open(t.Context(), append(disks, disks[0]), nil)
	require.ErrorIs(t, err, fs.ErrInvalid)
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

func TestFATAndExFATVolumesAreReadToo(t *testing.T) {
	s := open(t, machine(t, "fat", "exfat"), nil)
	require.Equal(t, []string{"fat vfat", "exfat exfat"}, tree(s))
	b, report := archive(t, s, filerestore.Tar, []filerestore.Selection{{Volume: "FATLABEL"}}, nil)
	require.True(t, report.Complete(), report)
	list := members(t, b)
	require.Equal(t, []string{"hello.txt"}, names(list))
	require.Equal(t, "on fat\n", list[0].content)
	files, err := s.OpenVolume(t.Context(), "exfat")
	require.NoError(t, err)
	require.Equal(t, "exlabel", files.Volume().Label)
}
