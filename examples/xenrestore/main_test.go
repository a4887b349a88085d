package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/xva"
)

// listed is what list and show print, as far as these tests look at it.
type listed struct {
	ID, VM, Name, Mode, Compression, Error string
	Disks                                  []struct {
		VDI, SourceVDI, Error string
		Size                  int64
		Links                 int
		Memory                bool
	}
}

// repositories are the kinds that every command reads.
func repositories(t *testing.T) map[string]struct {
	*user
	*testenv.Repository
} {
	t.Helper()
	type place = struct {
		*user
		*testenv.Repository
	}
	plain, sealed, far := testenv.Golden(t), testenv.GoldenEncrypted(t), testenv.Golden(t)
	nfs := &user{env: map[string]string{}}
	port := testenv.GoNFS(t, far.Dir)
	nfs.env["XENBACKUP_REMOTE"] = fmt.Sprintf("nfs://127.0.0.1:%d/export?mountport=%[1]d", port)
	return map[string]place{
		"plain": {at(plain.Dir), plain}, "encrypted": {at(sealed.Dir, testenv.GoldenKey), sealed}, "nfs": {nfs, far},
	}
}

func TestEachKindOfRepositoryIsListedReadAndVerified(t *testing.T) {
	t.Parallel()
	for name, repo := range repositories(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var points []listed
			repo.json(t, &points, "list")
			require.Len(t, points, len(repo.Backups))
			require.Contains(t, repo.ok(t, "list"), points[0].ID)
			deltas := map[string]string{} // a point of each VM
			for _, p := range points {
				want, ok := repo.Backups["/"+p.ID]
				require.True(t, ok, p.ID)
				require.Equal(t, want.Mode, p.Mode)
				if p.Mode == "delta" && strings.ContainsAny(p.VM[len(p.VM)-1:], "237") { // files, directories, merged ones
					deltas[p.VM] = p.ID
				}
			}
			for _, id := range deltas {
				var p listed
				repo.json(t, &p, "show", "-backup", id)
				i := slices.IndexFunc(p.Disks, func(d struct {
					VDI, SourceVDI, Error string
					Size                  int64
					Links                 int
					Memory                bool
				},
				) bool {
					return !d.Memory
				})
				require.Positive(t, p.Disks[i].Links)
				raw := repo.ok(t, "disk", "-backup", "/"+id, "-disk", p.Disks[i].VDI, "-o", "-")
				want := repo.Backups["/"+id].Disks[p.Disks[i].SourceVDI]
				require.Equal(t, want.Size, int64(len(raw)))
				require.Equal(t, want.SHA256, sum([]byte(raw)), "%s %s", id, p.Disks[i].SourceVDI)
			}
			var report struct {
				Valid, Corrupt, Unknown int
				Points                  []catalog.PointVerdict
			}
			repo.json(t, &report, "verify", "-level", "structure")
			require.Equal(t, len(points), report.Valid)
			require.Len(t, report.Points, report.Valid)
			require.Zero(t, report.Corrupt+report.Unknown)
			requireNoLeases(t, repo.Dir)
		})
	}
}

func sum(content []byte) string {
	h := sha256.Sum256(content)
	return hex.EncodeToString(h[:])
}

func TestDiskIsWrittenToFilesAndPipes(t *testing.T) {
	t.Parallel()
	repo := testenv.Golden(t)
	u, dir := at(repo.Dir), t.TempDir()
	want := repo.Backups["/"+lastPoint].Disks[system]

	raw := filepath.Join(dir, "disk.raw")
	require.Contains(t, u.ok(t, "disk", "-backup", lastPoint, "-disk", snapshot, "-o", raw), "12.0 MiB, raw")
	content, err := os.ReadFile(raw)
	require.NoError(t, err)
	require.Equal(t, want.SHA256, sum(content))
	u.fails(t, 1, []string{"disk.raw", "-force"}, "disk", "-backup", lastPoint, "-disk", snapshot, "-o", raw)

	var report struct {
		File, Format, VDI, SourceVDI string
		Size                         int64
	}
	u.json(t, &report, "disk", "-backup", lastPoint, "-disk", system, "-o", raw, "-format", "vhd", "-force")
	require.Equal(t, snapshot, report.VDI)
	image, err := os.ReadFile(raw)
	require.NoError(t, err)
	require.Len(t, image, int(report.Size))
	requireVHD(t, image, want.SHA256)
	requireVHD(t, []byte(u.ok(t, "disk", "-backup", lastPoint, "-disk", system, "-o", "-", "-format", "vhd")), want.SHA256)

	u.fails(t, 1, []string{"unknown disk", system, "show -backup"}, "disk", "-backup", lastPoint, "-disk", filesVM, "-o", filepath.Join(dir, "x"))
	u.fails(t, 2, []string{"-disk is needed", system}, "disk", "-backup", lastPoint, "-o", filepath.Join(dir, "x"))
	u.fails(t, 2, []string{"-json and -o -"}, "disk", "-backup", lastPoint, "-disk", system, "-o", "-", "-json")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "failures leave nothing")
	requireNoLeases(t, repo.Dir)
}

func requireVHD(t *testing.T, file []byte, sha256 string) {
	t.Helper()
	image, err := vhd.Open(bytes.NewReader(file), int64(len(file)), nil)
	require.NoError(t, err)
	require.Equal(t, vhd.Dynamic, image.Type())
	require.Equal(t, snapshot, image.UUID().String())
	content, err := io.ReadAll(io.NewSectionReader(image, 0, image.Size()))
	require.NoError(t, err)
	require.Equal(t, sha256, sum(content))
}

func TestClosedPipeIsAFailureThatLeavesNothing(t *testing.T) {
	t.Parallel()
	repo := testenv.Golden(t)
	for _, args := range [][]string{{"disk", "-disk", system}, {"disk", "-disk", system, "-format", "vhd"}, {"xva"}} {
		cmd := at(repo.Dir).command(t, append(args, "-backup", lastPoint, "-o", "-")...)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		require.NoError(t, cmd.Start())
		_, err = io.ReadFull(out, make([]byte, 10))
		require.NoError(t, err)
		require.NoError(t, out.Close())
		require.Error(t, cmd.Wait())
		require.Equal(t, 1, cmd.ProcessState.ExitCode(), errs.String())
		require.Contains(t, errs.String(), "has stopped reading")
	}
	requireNoLeases(t, repo.Dir)
}

func TestXVAIsMadeOrCopied(t *testing.T) {
	t.Parallel()
	repo := testenv.Golden(t)
	u, dir := at(repo.Dir), t.TempDir()
	for _, compress := range []string{"none", "zstd"} {
		file := filepath.Join(dir, compress+".xva")
		u.ok(t, "xva", "-backup", lastPoint, "-o", file, "-compress", compress)
		f, err := os.Open(file)
		require.NoError(t, err)
		r, err := xva.NewReader(f, nil)
		require.NoError(t, err)
		_, err = r.Blocks(t.Context())
		require.NoError(t, err, "proven complete")
		require.Len(t, r.Disks(), 2)
		require.NoError(t, r.Close())
		require.NoError(t, f.Close())
	}
	require.Equal(t, repo.Backups["/"+fullPoint].XVA.SHA256, sum([]byte(u.ok(t, "xva", "-backup", fullPoint, "-o", "-"))))
	u.fails(t, 2, []string{"gzip"}, "xva", "-backup", lastPoint, "-o", "-", "-compress", "best")
	requireNoLeases(t, repo.Dir)
}

func TestDamageIsAnExitCode(t *testing.T) {
	t.Parallel()
	repo := testenv.Golden(t)
	u := at(repo.Dir)
	disks := filepath.Join(repo.Dir, "xo-vm-backups", filesVM, "vdis", "*", system, "*T030000Z.vhd")
	found, err := filepath.Glob(disks)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.NoError(t, os.Truncate(found[0], 1<<20))
	u.fails(t, 3, []string{"3 points are corrupt"}, "verify", "-vm", filesVM, "-level", "structure")
	u.fails(t, 3, []string{"can be opened"}, "show", "-backup", lastPoint)
	u.fails(t, 1, []string{"xenrestore disk:"}, "disk", "-backup", lastPoint, "-disk", system, "-o", filepath.Join(t.TempDir(), "x"))

	require.NoError(t, os.WriteFile(filepath.Join(repo.Dir, filepath.FromSlash(midPoint)), []byte("{"), 0o600))
	code, stdout, stderr := u.run(t, "list", "-vm", filesVM, "-json")
	require.Equal(t, 3, code)
	require.Contains(t, stderr, "1 points cannot be read")
	var points []listed
	require.NoError(t, json.Unmarshal([]byte(stdout), &points))
	require.Len(t, points, 3)
	require.Equal(t, midPoint, points[1].ID)
	require.NotEmpty(t, points[1].Error)
	u.fails(t, 4, nil, "clean", "-vm", filesVM)
	u.fails(t, 1, []string{"metadata of this point"}, "disk", "-backup", midPoint, "-disk", system, "-o", "-")
	require.Contains(t, u.ok(t, "delete", "-backup", midPoint, "-no-merge"), "deleted "+midPoint, "who names it has decided")
	require.NotContains(t, u.ok(t, "list", "-vm", filesVM), midPoint)
}

func TestInterruptedVerificationGoesOn(t *testing.T) {
	t.Parallel()
	repo := testenv.Golden(t)
	u, state := at(repo.Dir), filepath.Join(t.TempDir(), "verify.state")
	whole := u.ok(t, "verify", "-level", "data", "-json")
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGKILL} {
		cmd := u.command(t, "verify", "-level", "data", "-state", state, "-limit", "8")
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		_, err = io.ReadFull(out, make([]byte, 200))
		require.NoError(t, err)
		require.NoError(t, cmd.Process.Signal(signal))
		_, err = io.Copy(io.Discard, out)
		require.NoError(t, err)
		_ = cmd.Wait() // the exit code tells
		if signal == os.Interrupt {
			require.Equal(t, 130, cmd.ProcessState.ExitCode())
			require.FileExists(t, state)
		}
	}
	u.fails(t, 2, []string{"other arguments"}, "verify", "-level", "quick", "-state", state)
	require.Equal(t, report(t, whole), report(t, u.ok(t, "verify", "-level", "data", "-state", state, "-json")))
	require.NoFileExists(t, state)
}

// report is a report of verify without what depends on the order of reading.
func report(t *testing.T, text string) []catalog.PointVerdict {
	t.Helper()
	var doc struct{ Points []catalog.PointVerdict }
	require.NoError(t, json.Unmarshal([]byte(text), &doc))
	for i := range doc.Points {
		doc.Points[i].Bytes = 0
	}
	return doc.Points
}

func TestDeletedPointFreesItsDisksAndOthersStayReadable(t *testing.T) {
	t.Parallel()
	repo := testenv.Golden(t)
	u := at(repo.Dir)
	before := tree(t, repo.Dir)
	u.fails(t, 1, []string{"no such file", "list shows"}, "delete", "-backup", strings.Replace(midPoint, "000002/", "0000ff/", 1))
	require.Equal(t, before, tree(t, repo.Dir), "no directory of a VM that is not there")

	var done struct {
		Deleted         string
		Merged, Removed []string
	}
	u.json(t, &done, "delete", "-backup", "/"+midPoint)
	require.Equal(t, midPoint, done.Deleted)
	require.Len(t, done.Merged, 2)
	for _, id := range []string{lastPoint, strings.Replace(lastPoint, "T05", "T03", 1)} {
		raw := u.ok(t, "disk", "-backup", id, "-disk", system, "-o", "-")
		require.Equal(t, repo.Backups["/"+id].Disks[system].SHA256, sum([]byte(raw)))
	}
	u.fails(t, 1, []string{"no such file"}, "show", "-backup", midPoint)
	requireNoLeases(t, repo.Dir)
}

func TestCleanPlansBeforeItActs(t *testing.T) {
	t.Parallel()
	repo := testenv.GoldenInterrupted(t)
	u, plan := at(repo.Dir), filepath.Join(t.TempDir(), "plan.json")
	before := tree(t, repo.Dir)
	require.Contains(t, u.ok(t, "clean"), "Nothing was changed: -apply does it.")
	text := u.ok(t, "clean", "-json")
	require.NoError(t, os.WriteFile(plan, []byte(text), 0o600))
	require.Equal(t, before, tree(t, repo.Dir))
	u.fails(t, 2, []string{"-plan goes with -apply"}, "clean", "-plan", plan)

	require.Contains(t, u.ok(t, "clean", "-vm", interruptedVM), "resume")
	u.fails(t, 1, []string{"no restore points of this VM"}, "clean", "-vm", system, "-apply")
	require.Contains(t, u.ok(t, "clean", "-apply", "-plan", plan, "-json"), `"done": true`)
	require.Contains(t, u.ok(t, "clean"), "Everything is in order.")
	require.Contains(t, u.ok(t, "verify", "-level", "data"), fmt.Sprintf("%d points are valid, 0 corrupt", len(repo.Backups)))
}

func TestRetentionExplains(t *testing.T) {
	t.Parallel()
	repo := testenv.Golden(t)
	u := at(repo.Dir)
	var fates []struct {
		ID, Reason string
		Keep       bool
	}
	u.json(t, &fates, "retention", "-plan", "-keep", "1", "-vm", filesVM)
	require.Len(t, fates, 3)
	for _, f := range fates {
		require.Equal(t, f.ID == lastPoint, f.Keep, f.Reason)
		require.NotEmpty(t, f.Reason)
	}
	require.Contains(t, u.ok(t, "retention", "-plan", "-keep", "1", "-monthly", "1"), "monthly=2026-01")
	u.fails(t, 2, []string{"-plan and -keep"}, "retention", "-keep", "1")
}

func TestRepositoryIsBegunAndProbed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	u, key := at(filepath.Join(dir, "new")), filepath.Join(dir, "repository.key")
	u.fails(t, 1, []string{"init begins"}, "list")
	var plain struct{ Identity, Algorithm string }
	u.json(t, &plain, "init")
	require.NotEmpty(t, plain.Identity)
	require.Contains(t, u.ok(t, "init"), plain.Identity, "the same one")
	require.Contains(t, u.ok(t, "list"), "No restore points.")
	require.Contains(t, u.ok(t, "probe", "-size", "1"), "capabilities:")

	sealed := at(filepath.Join(dir, "sealed"))
	sealed.fails(t, 2, []string{"needs a key"}, "init", "-encrypt")
	require.Contains(t, sealed.ok(t, "init", "-encrypt", "-new-key", key), "encrypted with chacha20-poly1305")
	text, err := os.ReadFile(key)
	require.NoError(t, err)
	require.Len(t, strings.TrimSpace(string(text)), 32)
	sealed.fails(t, 1, []string{"repository.key"}, "init", "-encrypt", "-new-key", key)
	require.Contains(t, sealed.ok(t, "list", "-key-file", key), "No restore points.")
	var probed struct {
		Encryption   string
		Capabilities []string
	}
	sealed.json(t, &probed, "probe", "-size", "1")
	require.Equal(t, "chacha20-poly1305", probed.Encryption)
	require.NotEmpty(t, probed.Capabilities)
	at(testenv.Golden(t).Dir, testenv.GoldenKey).fails(t, 1, []string{"empty directory"}, "init", "-encrypt")
}

func TestMessagesSayWhatToDo(t *testing.T) {
	t.Parallel()
	plain, sealed := testenv.Golden(t), testenv.GoldenEncrypted(t)
	u := at(plain.Dir)
	require.Contains(t, u.ok(t, "-h"), "Exit codes")
	for _, c := range program().Commands {
		help := u.ok(t, append(strings.Fields(c.Name), "-h")...)
		require.Contains(t, help, "\n  xenrestore "+c.Name, "an example")
		require.Contains(t, help, "Exit codes")
	}
	u.fails(t, 2, []string{"list"})
	u.fails(t, 2, []string{`no command "restore"`}, "restore")
	u.fails(t, 2, []string{"list -h"}, "list", "-all")
	u.fails(t, 2, []string{"-backup is needed"}, "show")
	u.fails(t, 1, []string{"no such file", "list shows"}, "show", "-backup", strings.Replace(lastPoint, "T05", "T06", 1))
	u.fails(t, 1, []string{"invalid name", "list shows"}, "disk", "-backup", "latest", "-o", "-")
	u.fails(t, 1, []string{"no restore points of this VM"}, "list", "-vm", system)
	u.fails(t, 1, []string{"known: file, nfs, smb"}, "list", "-remote", "s3://bucket")
	u.fails(t, 1, []string{"smb://u:xxxxx@"}, "list", "-remote", "smb://u:hunter2@127.0.0.1:1/share")
	u.fails(t, 1, []string{"smb://dom;u@"}, "list", "-remote", `smb://u:hunter2@dom\\127.0.0.1:1\share`)
	(&user{}).fails(t, 2, []string{"-remote is needed"}, "list")
	at(sealed.Dir).fails(t, 1, []string{"encrypted", "XENBACKUP_REMOTE_KEY"}, "list")
	at(sealed.Dir, strings.Repeat("k", 32)).fails(t, 1, []string{"wrong key", "32 characters"}, "list")
	at(plain.Dir, testenv.GoldenKey).fails(t, 1, []string{"not encrypted", "unset $XENBACKUP_REMOTE_KEY"}, "list")
}
