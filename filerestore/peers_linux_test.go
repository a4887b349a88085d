package filerestore_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/xenbackup/xenbackup/filerestore"
	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/internal/testenv"
)

// run runs a program, which must succeed, and returns what it said.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), testenv.Require(t, name), args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
	return string(out)
}

// described is what a directory has on Linux, name by name.
func described(t *testing.T, dir string, withTimes bool) map[string]string {
	t.Helper()
	m := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		var s unix.Stat_t
		if err := unix.Lstat(path, &s); err != nil {
			return err
		}
		text := []string{fmt.Sprintf("%o %d:%d", s.Mode, s.Uid, s.Gid)}
		switch s.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text = append(text, fmt.Sprintf("%d links, %d bytes, hash %x", s.Nlink, len(content), sum(content)))
			if strings.HasSuffix(path, "/sparse") {
				text = append(text, fmt.Sprintf(", holes %t", s.Blocks*512 < s.Size))
			}
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text = append(text, "-> "+target)
		case unix.S_IFCHR, unix.S_IFBLK:
			text = append(text, fmt.Sprintf("device %d:%d", unix.Major(s.Rdev), unix.Minor(s.Rdev)))
		}
		if withTimes && s.Mode&unix.S_IFMT != unix.S_IFLNK {
			text = append(text, fmt.Sprintf("%d.%09d", s.Mtim.Sec, s.Mtim.Nsec))
		}
		for _, name := range []string{"user.comment", "system.posix_acl_access", "system.posix_acl_default"} {
			value := make([]byte, 1000)
			if n, err := unix.Lgetxattr(path, name, value); err == nil {
				text = append(text, fmt.Sprintf("%s=%x", name, value[:n]))
			}
		}
		name, err := filepath.Rel(dir, path)
		m[name] = strings.Join(text, " ")
		return err
	}))
	return m
}

func sum(b []byte) (n uint64) {
	for _, c := range b {
		n = n*1099511628211 + uint64(c) + 1
	}
	return n
}

// requireRoot skips where owners and devices cannot be restored.
func requireRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		testenv.Missing(t, "restoring owners needs root")
	}
}

// mounted is the truth: what Linux shows of a volume of the machine.
func mounted(t *testing.T, s *filerestore.Session, volume string) map[string]string {
	t.Helper()
	requireRoot(t)
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		testenv.Missing(t, "no loop devices: %v", err)
	}
	v, err := s.Volume(volume)
	require.NoError(t, err)
	raw := make([]byte, v.Size)
	_, err = v.Source().ReadAt(raw, 0)
	require.NoError(t, err)
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	require.NoError(t, os.WriteFile(image, raw, 0o600))
	run(t, "mount", "-o", "loop,ro", image, dir)
	defer func() { require.NoError(t, exec.Command("umount", dir).Run()) }() //nolint:noctx // also when the test's context has ended
	return described(t, dir, true)
}

func TestRestoredFilesAreAsLinuxShowsThem(t *testing.T) {
	s := open(t, machine(t, "a", "b"), nil)
	want := mounted(t, s, "lvm:vg0/root")
	root := []filerestore.Selection{{Volume: "root"}}
	for name, unpack := range map[string]func(archive, dir string){
		"tar":    func(a, dir string) { run(t, "tar", "--acls", "--xattrs", "--numeric-owner", "-xpf", a, "-C", dir) },
		"bsdtar": func(a, dir string) { run(t, "bsdtar", "--numeric-owner", "-Pxpf", a, "-C", dir) }, // -P: C:con is a name
	} {
		t.Run(name, func(t *testing.T) {
			b, report := archive(t, s, filerestore.TarZstd, root, nil)
			require.True(t, report.Complete(), report)
			a, dir := filepath.Join(t.TempDir(), "archive.tar.zst"), t.TempDir()
			require.NoError(t, os.WriteFile(a, b.Bytes(), 0o600))
			unpack(a, dir)
			require.Empty(t, cmp.Diff(want, described(t, dir, true)))
		})
	}
	t.Run("extract", func(t *testing.T) {
		dir := t.TempDir()
		into, err := os.OpenRoot(dir)
		require.NoError(t, err)
		defer into.Close()
		report, err := s.Extract(t.Context(), into, root, &filerestore.ExtractOptions{Owners: true})
		require.NoError(t, err)
		require.EqualValues(t, 2, report.SkipCount, report)
		got := described(t, dir, true)
		require.NotContains(t, got, "etc/null")
		for _, name := range []string{"etc/null", "etc/pipe"} {
			got[name] = want[name]
		}
		require.Empty(t, cmp.Diff(want, got))
	})
	t.Run("unzip", func(t *testing.T) {
		b, _ := archive(t, s, filerestore.Zip, root, nil)
		a, dir := filepath.Join(t.TempDir(), "archive.zip"), t.TempDir()
		require.NoError(t, os.WriteFile(a, b.Bytes(), 0o600))
		run(t, "unzip", "-q", "-X", a, "-d", dir)
		got := described(t, dir, false)
		for name, text := range want {
			name = strings.NewReplacer("\n", "%0A", "\\", "%5C", "\xff", "%FF").Replace(name)
			if strings.HasPrefix(text, "100") {
				require.Contains(t, got, name)
				require.Equal(t, field(text, "hash"), field(got[name], "hash"), name)
			}
		}
		require.Contains(t, got["etc/deep/link"], "-> ../hostname")
	})
}

func field(text, name string) string {
	_, rest, _ := strings.Cut(text, name+" ")
	value, _, _ := strings.Cut(strings.NewReplacer(",", " ").Replace(rest), " ")
	return value
}

// hostileTree is a volume that wants out of where it is unpacked.
func hostileTree(outside string) *made {
	m := newMade()
	m.file(m.dir(1, ".."), "escaped-1", "x")
	m.file(1, "../escaped-2", "x")
	m.file(1, "/"+outside+"/escaped-3", "x")
	m.file(1, outside+"/escaped-4", "x")
	m.file(1, "C:\\escaped-5", "x")
	m.file(1, "..\\escaped-6", "x")
	m.file(1, "nul\x00byte", "x")
	m.file(1, "tab\tnewline\nescape\x1b[31m", "x")
	m.file(1, "bad\xff\xfeutf8", "x")
	m.symlink("way", outside) // a link, and a directory of the same name
	m.file(m.dir(1, "way"), "escaped-7", "x")
	m.file(m.dir(1, "up"), "escaped-8", "x")
	m.symlink("up", "../../../../../.."+outside)
	m.symlink("..%2Fescaped-2", outside)
	m.symlink("file", outside+"/escaped-9")
	m.file(1, "file", "x")
	m.file(1, strings.Repeat("n", 255), "x")
	m.file(1, "CON", "x")
	m.file(1, "trailing.", "x")
	m.dir(1, ".")
	at := uint64(1)
	for range 60 {
		at = m.dir(at, "deep")
	}
	m.file(at, strings.Repeat("é", 120), "x")
	return m
}

func TestNothingIsUnpackedOutside(t *testing.T) {
	outside, inside := t.TempDir(), t.TempDir()
	s := openMade(t, hostileTree(outside))
	for name, peer := range map[string]struct {
		format filerestore.Format
		args   []string
	}{
		"tar":    {filerestore.Tar, []string{"-P", "-xf"}}, // -P: believing all names
		"bsdtar": {filerestore.TarGzip, []string{"-P", "-xf"}},
		"unzip":  {filerestore.Zip, []string{"-:", "-o", "-q"}},
	} {
		testenv.Require(t, name)
		dir := filepath.Join(inside, name, "a", "b")
		require.NoError(t, os.MkdirAll(dir, 0o755))
		b, report := archive(t, s, peer.format, everything, nil)
		require.EqualValues(t, 3, report.SkipCount, report)
		file := filepath.Join(t.TempDir(), "archive")
		require.NoError(t, os.WriteFile(file, b.Bytes(), 0o600))
		cmd := exec.CommandContext(t.Context(), name, append(peer.args, file)...)
		cmd.Dir = dir
		out, _ := cmd.CombinedOutput() // some complain of a link where a file is
		inspect(t, name, outside, dir)
		require.FileExists(t, filepath.Join(dir, strings.Repeat("deep/", 60)+strings.Repeat("é", 120)), string(out))
	}
	dir := filepath.Join(inside, "extract", "a", "b")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	into, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer into.Close()
	report, err := s.Extract(t.Context(), into, everything, nil)
	require.NoError(t, err)
	require.EqualValues(t, 4, report.SkipCount, "a link where a file is, too: %s", report)
	inspect(t, "extract", outside, dir)
	report, err = s.Extract(t.Context(), into, everything, nil)
	require.NoError(t, err)
	require.ErrorIs(t, report.Skipped[0].Err, fs.ErrExist)
	_, err = s.Extract(t.Context(), into, everything, &filerestore.ExtractOptions{Overwrite: true})
	require.NoError(t, err)
	_, err = s.Extract(t.Context(), into, everything, &filerestore.ExtractOptions{Overwrite: true}) // links are there now
	require.NoError(t, err)
	inspect(t, "extract", outside, dir)
}

// inspect proves that nothing came out.
func inspect(t *testing.T, name, outside, dir string) {
	t.Helper()
	for _, d := range []string{outside, filepath.Dir(dir), filepath.Dir(filepath.Dir(dir))} {
		list, err := os.ReadDir(d)
		require.NoError(t, err)
		for _, e := range list {
			require.True(t, e.IsDir() && (e.Name() == "a" || e.Name() == "b"), "%s: %s in %s", name, e.Name(), d)
		}
	}
	got := 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if strings.Contains(path, "escaped-") {
			got++
		}
		return err
	}))
	require.GreaterOrEqual(t, got, 7, "%s: escaped names are inside", name)
}

func TestNamesForWindowsAreAllowedThere(t *testing.T) {
	s := openMade(t, hostileTree("/outside"))
	var b bytes.Buffer
	_, err := s.Archive(t.Context(), &b, filerestore.Zip, everything, &filerestore.ArchiveOptions{WindowsNames: true})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "archive.zip")
	require.NoError(t, os.WriteFile(file, b.Bytes(), 0o600))
	list := run(t, "bsdtar", "-tf", file)
	for name := range strings.Lines(list) {
		for element := range strings.SplitSeq(strings.TrimRight(name, "\n/"), "/") {
			require.NotContains(t, []string{"", ".", "..", "CON"}, element)
			require.False(t, strings.ContainsAny(element, `\<>:"|?*`) || strings.HasSuffix(element, "."), element)
		}
	}
	require.Contains(t, list, "%43ON")
}

var _ fsys.Nodes = (*made)(nil)
