package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/examples/internal/sample"
)

// machineFiles is what sha256sum said of the files of lvm:vg0/root when they were put there.
func machineFiles(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../filerestore/testdata/root.sha256")
	require.NoError(t, err)
	sums := map[string]string{}
	for line := range strings.Lines(string(text)) {
		hash, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "  ./")
		sums[name] = hash
	}
	return sums
}

var machineImages = sync.OnceValues(func() (images [][]byte, err error) {
	for _, name := range []string{"a", "b", "fat"} {
		raw, failed := sample.Image("../../filerestore/testdata/" + name + ".img.zst")
		images, err = append(images, raw), errors.Join(err, failed)
	}
	return images, err
})

// machine is a user of a repository with a point of three disks, and the arguments that
// name the point.
func machine(t *testing.T) (u *user, backup, dir string) {
	t.Helper()
	images, err := machineImages()
	require.NoError(t, err)
	dir = t.TempDir()
	backup, err = sample.Write(t.Context(), dir, images...)
	require.NoError(t, err)
	t.Cleanup(func() { requireNoLeases(t, dir) })
	return at(dir), backup, dir
}

// names are those of the files below a directory.
func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	require.NoError(t, fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			list = append(list, name)
		}
		return err
	}))
	return list
}

func TestFilesAreListedAndFound(t *testing.T) {
	t.Parallel()
	u, id, _ := machine(t)
	var volumes []struct {
		ID, Type, Error string
		Files           bool
	}
	u.json(t, &volumes, "files", "ls", "-backup", id)
	files := map[string]bool{}
	for _, v := range volumes {
		files[v.ID] = v.Files
	}
	require.True(t, files["lvm:vg0/root"] && files["xvda/p1"] && files["xvdc"])
	require.False(t, files["xvda"] || files["xvda/p2"])
	require.Contains(t, u.ok(t, "files", "ls", "-backup", id), "xvda/p1")

	var list []struct {
		Volume, Path, Type, Mode, Target string
		Size                             int64
	}
	u.json(t, &list, "files", "ls", "-backup", id, "-volume", "lvm:vg0/root", "/etc")
	require.Equal(t, "etc/absolute", list[0].Path)
	require.Equal(t, "link", list[0].Type)
	require.True(t, strings.HasPrefix(list[0].Target, "/"))
	require.Equal(t, "etc/deep", list[1].Path)
	require.Equal(t, "directory", list[1].Type)
	text := u.ok(t, "files", "ls", "/", "-backup", id, "-volume", "root")
	require.Contains(t, text, `"line\nbreak"`, "nothing of a name reaches the terminal")
	require.Contains(t, text, "bad%FF")
	require.Contains(t, text, "etc/")
	u.json(t, &list, "files", "find", "-backup", id, "-disk", sample.SourceVDI(2), "*.TXT")
	require.Empty(t, list, "case matters")
	require.Equal(t, "xvdc\thello.txt\n", u.ok(t, "files", "find", "-backup", id, "-disk", "xvdc", "h*.txt"))
	require.Equal(t, "etc/deep/er/numbers\n", u.ok(t, "files", "find", "-backup", id, "-volume", "root", "/etc/**/numb*"))
	require.Contains(t, u.ok(t, "files", "find", "-backup", id, "hostname"), "lvm:vg0/home\tetc/hostname\n")

	u.fails(t, 1, []string{`"nix"`, "files ls -backup ID lists the volumes"}, "files", "ls", "-backup", id, "-volume", "nix")
	u.fails(t, 1, []string{"no file system", "volumes"}, "files", "ls", "-backup", id, "-volume", "xvda/p2")
	u.fails(t, 1, []string{"xvdq"}, "files", "ls", "-backup", id, "-disk", "xvdq")
	u.fails(t, 1, []string{"etc/nix", "files find show what there is"}, "files", "ls", "-backup", id, "-volume", "root", "/etc/nix")
	u.fails(t, 2, []string{"-volume is needed", "lvm:vg0/home", "xvdc"}, "files", "ls", "-backup", id, "/")
	u.fails(t, 2, []string{"quote it"}, "files", "find", "-backup", id, "a", "b")
	u.fails(t, 2, []string{"not a pattern"}, "files", "find", "-backup", id, "[")
	u.fails(t, 2, []string{"-backup is needed"}, "files", "find", "x")
	u.fails(t, 2, []string{"files get"}, "files")
}

func TestFilesComeOutAsArchivesAndIntoDirectories(t *testing.T) {
	t.Parallel()
	u, id, _ := machine(t)
	want, dir := machineFiles(t), t.TempDir()
	get := func(args ...string) []string {
		return append([]string{"files", "get", "-backup", id, "-volume", "root"}, args...)
	}

	name := filepath.Join(dir, "one.tar.zst") // a file
	require.Contains(t, u.ok(t, get("/etc/hostname", "-o", name)...), "1 files")
	f, err := os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	z, err := zstd.NewReader(f)
	require.NoError(t, err)
	defer z.Close()
	requireTar(t, z, want, "etc/hostname")
	u.fails(t, 1, []string{"one.tar.zst", "-force"}, get("/etc/hostname", "-o", name)...)

	name = filepath.Join(dir, "etc.zip") // a directory
	u.fails(t, 4, []string{"left out: lvm:vg0/root: etc/null: devices", "2 entries are missing"}, get("etc", "-o", name)...)
	var report struct {
		Output, Format             string
		Files, Directories, Others int64
		Complete                   bool
		Skipped, Warnings          []any
		SkipCount                  int64
	}
	u.json(t, &report, get("/etc/deep/", "-o", name, "-force")...)
	require.True(t, report.Complete)
	require.Equal(t, "zip", report.Format)
	archive, err := zip.OpenReader(name)
	require.NoError(t, err)
	defer archive.Close()
	content, err := fs.ReadFile(archive, "etc/deep/er/numbers")
	require.NoError(t, err)
	require.Equal(t, want["etc/deep/er/numbers"], sum(content))

	back := filepath.Join(dir, "back") + "/" // patterns
	u.ok(t, get("-o", back, "/etc/h*", "**/numbers")...)
	require.Equal(t, []string{"etc/deep/er/numbers", "etc/hard", "etc/hostname"}, names(t, back))
	content, err = os.ReadFile(filepath.Join(back, "etc/hostname"))
	require.NoError(t, err)
	require.Equal(t, want["etc/hostname"], sum(content))
	u.fails(t, 4, []string{"left out: lvm:vg0/root: etc/hostname", "-force replaces"}, get("-o", back, "/etc/hostname")...)
	u.ok(t, get("-o", back, "-force", "/etc/hostname")...)

	requireTar(t, strings.NewReader(u.ok(t, get("-o", "-", "/etc/deep")...)), want, "etc/deep/er/numbers")
	u.fails(t, 1, []string{"/etc/*.nix", "files find"}, get("-o", filepath.Join(dir, "x.zip"), "/etc/*.nix")...)
	u.fails(t, 1, []string{"files ls -backup ID"}, "files", "get", "-backup", id, "-volume", "nix", "-o", filepath.Join(dir, "x.zip"), "/")
	u.fails(t, 2, []string{".tar.zst", "directory"}, get("-o", filepath.Join(dir, "x.rar"), "/")...)
	u.fails(t, 2, []string{"-format is"}, get("-o", "-", "-format", "rar", "/")...)
	u.fails(t, 2, []string{"Name a PATH"}, get("-o", "-")...)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 3, "failures leave nothing")
}

// requireTar looks that an archive has these files and no others.
func requireTar(t *testing.T, r io.Reader, want map[string]string, files ...string) {
	t.Helper()
	var got []string
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if h.Typeflag != tar.TypeReg {
			continue
		}
		content, err := io.ReadAll(tr)
		require.NoError(t, err)
		require.Equal(t, want[h.Name], sum(content), h.Name)
		got = append(got, h.Name)
	}
	require.ElementsMatch(t, files, got)
}

func TestHostileNamesStayWhereTheyBelong(t *testing.T) {
	t.Parallel()
	raw, err := sample.Image("../../filerestore/testdata/fat.img.zst")
	require.NoError(t, err)
	at11 := bytes.Index(raw, []byte("HELLO   TXT"))
	require.Positive(t, at11)
	copy(raw[at11:], "../../\x01ATXT")
	dir := t.TempDir()
	id, err := sample.Write(t.Context(), dir, raw)
	require.NoError(t, err)
	u, out := at(dir), t.TempDir()
	_, listing, _ := u.run(t, "files", "ls", "-backup", id, "/")
	require.NotContains(t, listing, "\x01")
	within := filepath.Join(out, "a", "b", "c")
	require.NoError(t, os.MkdirAll(within, 0o755))
	u.run(t, "files", "get", "-backup", id, "-o", within, "/")
	for _, name := range names(t, out) {
		require.True(t, strings.HasPrefix(name, "a/b/c/"), name)
	}
	code, archive, _ := u.run(t, "files", "get", "-backup", id, "-o", "-", "/")
	require.Contains(t, []int{0, 3, 4}, code)
	tr := tar.NewReader(strings.NewReader(archive))
	for h, err := tr.Next(); err == nil; h, err = tr.Next() {
		require.True(t, filepath.IsLocal(h.Name), h.Name)
	}
}

func TestDamagedFilesAreSaidAndCounted(t *testing.T) {
	t.Parallel()
	images, err := machineImages()
	require.NoError(t, err)
	raw := bytes.Clone(images[0])
	require.Contains(t, string(raw), "hostname")
	copy(raw, bytes.ReplaceAll(raw, []byte("hostname"), []byte("hoStname"))) // in a directory with checksums
	dir := t.TempDir()
	id, err := sample.Write(t.Context(), dir, raw)
	require.NoError(t, err)
	out := filepath.Join(t.TempDir(), "all.tar")
	u := at(dir)
	u.fails(t, 3, []string{"left out: xvda/p1: ", "entries are missing"}, "files", "get", "-backup", id, "-volume", "xvda/p1", "-o", out, "/")
	f, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Contains(t, string(f), "RESTORE-REPORT.txt")
	u.fails(t, 3, []string{"left out: xvda/p1"}, "files", "find", "-backup", id, "-volume", "xvda/p1", "*")
}

// TestInterruptedOutputLeavesNoHalfFile ends the program, within this process, while it
// reads the content of a file.
func TestInterruptedOutputLeavesNoHalfFile(t *testing.T) {
	_, id, repo := machine(t)
	dir := t.TempDir()
	for _, target := range []string{filepath.Join(dir, "all.tar.zst"), filepath.Join(dir, "all") + "/"} {
		ctx, cancel := context.WithCancel(t.Context())
		var errs bytes.Buffer
		std := &command.Streams{Out: io.Discard, Err: &onWrite{&errs, cancel}, Terminal: true} // progress cancels
		code := program().Run(ctx, []string{"files", "get", "-remote", fileURL(repo), "-backup", id, "-volume", "root", "-o", target, "large", "sparse"}, std)
		cancel()
		require.Equal(t, command.Interrupted, code, errs.String())
	}
	for _, name := range names(t, dir) {
		t.Errorf("%s was left", name)
	}
}

// onWrite calls do before each write.
type onWrite struct {
	io.Writer
	do func()
}

func (w *onWrite) Write(p []byte) (int, error) {
	w.do()
	return w.Writer.Write(p)
}
