package xva_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/xva"
)

// The full backups that Xen Orchestra kept: GNU headers, a stub for ova.xml, plain and gzip.
func TestArchivesThatXenOrchestraKeptAreReadWhole(t *testing.T) {
	t.Parallel()
	repo := testenv.Golden(t)
	seen := 0
	for path, backup := range repo.Backups {
		if backup.Mode != "full" {
			continue
		}
		seen++
		raw, err := os.ReadFile(filepath.Join(repo.Dir, strings.TrimSuffix(path, ".json")+".xva"))
		require.NoError(t, err)
		require.EqualValues(t, backup.XVA.Size, len(raw))
		got, x, err := read(bytes.NewReader(raw), &xva.ReaderOptions{Unlisted: true})
		require.NoError(t, err)
		require.Empty(t, x.OVA().Objects)
		requireSame(t, byTar(t, raw), got)

		_, _, err = read(bytes.NewReader(raw), nil) // no pool would import it
		require.ErrorIs(t, err, xva.ErrMember)
		var where *xva.FormatError
		require.ErrorAs(t, err, &where)
		require.Equal(t, "Ref:42/00000000", where.Member)
		require.EqualValues(t, 1024, where.Off)
		for _, n := range []int{0, 1, 1023, 1024, len(raw) / 2, len(raw) - 513, len(raw) - 1} {
			_, _, err = read(bytes.NewReader(raw[:n]), &xva.ReaderOptions{Unlisted: true})
			require.ErrorIs(t, err, xva.ErrTruncated, "cut at %d", n)
		}
	}
	require.Equal(t, 2, seen)
}

// byTar puts disks together with the standard library's reader.
func byTar(t *testing.T, raw []byte) map[string]memory {
	t.Helper()
	disks := map[string]memory{}
	var plain io.Reader = bytes.NewReader(raw)
	if xva.Sniff(raw) == xva.Gzip {
		var err error
		plain, err = gzip.NewReader(plain)
		require.NoError(t, err)
	}
	r := tar.NewReader(plain)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return disks
		}
		require.NoError(t, err)
		id, number, ok := strings.Cut(h.Name, "/")
		if !ok || strings.Contains(number, ".") {
			continue
		}
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		off := len(data) * int(number[len(number)-1]-'0')
		disks[id] = append(disks[id], make(memory, off+len(data)-len(disks[id]))...)
		copy(disks[id][off:], data)
	}
}

func TestXvaImgExportsWhatIsWritten(t *testing.T) {
	t.Parallel()
	xvaImg, gnuTar := testenv.Require(t, "xva-img"), testenv.Require(t, "tar")
	want := map[string]memory{"Ref:10": sparse(6<<20, 5, 3<<20, 6<<20-100), "Ref:9": noise(2<<20, 1)}
	dir := t.TempDir()
	file := filepath.Join(dir, "vm.xva")
	require.NoError(t, os.WriteFile(file, write(t, want, nil), 0o600))
	run(t, dir, gnuTar, "-xf", file, "--force-local")
	for id, disk := range want {
		run(t, dir, xvaImg, "disk-export", id+"/", id+".raw")
		got, err := os.ReadFile(filepath.Join(dir, id+".raw"))
		require.NoError(t, err)
		require.True(t, bytes.Equal(disk, got), id)
	}
}

// xva-img drops what is left of a disk after its last whole MiB, and zeros at the end; such disks cannot come from it.
func TestWhatXvaImgPackagesIsRead(t *testing.T) {
	t.Parallel()
	xvaImg := testenv.Require(t, "xva-img")
	want := map[string]memory{"Ref:10": sparse(6<<20, 5, 3<<20, 6<<20-100), "Ref:9": noise(2<<20, 1)}
	dir := filepath.Join(t.TempDir(), "vm")
	args := []string{"package", "vm.xva", "./ova.xml"}
	require.NoError(t, os.Mkdir(dir, 0o700))
	ova, err := machine(want).Append(nil)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ova.xml"), ova, 0o600))
	for _, id := range []string{"Ref:10", "Ref:9"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, id), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "raw"), want[id], 0o600))
		run(t, dir, xvaImg, "disk-import", id+"/", "raw")
		args = append(args, "./"+id)
	}
	run(t, dir, xvaImg, args...)
	raw, err := os.ReadFile(filepath.Join(dir, "vm.xva"))
	require.NoError(t, err)
	got, x, err := read(bytes.NewReader(raw), nil)
	require.NoError(t, err)
	requireSame(t, want, got)
	require.EqualValues(t, 3, x.Stats().Gaps)
}

// Every kind of archive that is written is listed whole, and without a complaint, by GNU tar and by libarchive.
func TestTarProgramsListEveryArchiveThatIsWritten(t *testing.T) {
	t.Parallel()
	gnuTar, bsdTar := testenv.Require(t, "tar"), testenv.Require(t, "bsdtar")
	testenv.Require(t, "zstd") // GNU tar runs it
	dir := t.TempDir()
	for name, disks := range map[string]map[string]memory{
		"no disk":      {},
		"small first":  {"Ref:1a": noise(700, 1), "Ref:2a": sparse(4<<20, 5)},
		"gaps":         {"Ref:1a": sparse(4<<20+512, 5, 3<<20), "Ref:2a": noise(1<<20, 2)},
		"ragged bytes": {"Ref:1a": noise(1<<20+1, 1), strings.Repeat("x", 70): noise(3, 2)},
	} {
		for _, sum := range []xva.Checksum{xva.SHA1, xva.XXHash} {
			plain := write(t, disks, &xva.WriterOptions{Checksum: sum})
			want := listed(t, plain)
			kinds := []xva.Compression{xva.None}
			if name == "small first" {
				kinds = append(kinds, xva.Gzip, xva.Zstd)
			}
			for _, kind := range kinds {
				file := filepath.Join(dir, "vm.xva")
				require.NoError(t, os.WriteFile(file, compress(t, plain, kind), 0o600))
				for _, program := range [][]string{{gnuTar, "--force-local", "-tf"}, {bsdTar, "-tf"}} {
					cmd := exec.CommandContext(t.Context(), program[0], append(program[1:], file)...)
					out, err := cmd.CombinedOutput()
					require.NoError(t, err, "%s, %s: %s", name, kind, out)
					require.Equal(t, want, strings.Fields(string(out)), "%s, %s, %s", name, kind, program[0])
				}
			}
		}
	}
}

// listed returns the names of the members by the standard library's reader.
func listed(t *testing.T, plain []byte) (names []string) {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(plain))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		require.NoError(t, err)
		names = append(names, h.Name)
	}
}

func run(t *testing.T, dir, program string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}
