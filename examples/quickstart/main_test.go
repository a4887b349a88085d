package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/examples/internal/progress"
	"github.com/xenbackup/xenbackup/internal/testenv"
)

// build compiles the program once per test that runs it.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "quickstart")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	return path
}

func TestEveryDiskIsTheSame(t *testing.T) {
	program := build(t)
	dir := filepath.Join(t.TempDir(), "repository")
	out, err := exec.CommandContext(t.Context(), program, "-dir", dir, "-size", "65").CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "Every disk is what the guest's disk held; the repository is in "+dir)
	require.NotContains(t, string(out), "DIFFERS")
	kept, err := filepath.Glob(filepath.Join(dir, "xo-vm-backups", "*", "*.json"))
	require.NoError(t, err)
	require.Len(t, kept, 3, "retention is three")

	again := exec.CommandContext(t.Context(), program, "-dir", dir)
	out, err = again.CombinedOutput()
	require.Error(t, err)
	require.Equal(t, 3, again.ProcessState.ExitCode())
	require.Contains(t, string(out), "is not empty")
}

func TestRestoredFilesystemIsClean(t *testing.T) {
	fsck, debugfs := testenv.Require(t, "fsck.ext4"), testenv.Require(t, "debugfs")
	s := &story{out: progress.New(&bytes.Buffer{}, false), held: map[string]digests{}}
	t.Cleanup(func() { require.NoError(t, s.close()) })
	require.NoError(t, s.start(t.Context(), t.TempDir(), t.TempDir(), 64<<20))
	for n := range backups {
		require.NoError(t, s.backUpGeneration(t.Context(), n))
	}
	_, err := s.compare(t.Context())
	require.NoError(t, err)

	clones := 0
	for _, vm := range s.server.VMs() {
		if vm.UUID == s.vm.UUID {
			continue
		}
		path := vm.Disks[0].Path
		out, err := exec.CommandContext(t.Context(), fsck, "-fn", path).CombinedOutput()
		require.NoError(t, err, string(out))
		ledger, err := exec.CommandContext(t.Context(), debugfs, "-R", "cat /srv/ledger.txt", path).Output()
		require.NoError(t, err)
		generation := backups - 3 // the oldest of three that are kept
		if strings.Contains(vm.Name, date(s.points[2])) {
			generation = backups - 1
		}
		require.True(t, bytes.Equal(ledgerText(generation), ledger), "%s: not generation %d", vm.Name, generation)
		clones++
	}
	require.Equal(t, 2, clones)
}

func TestWrongDiskIsSaid(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, printTable(&out, []result{{want: "aa", kept: "aa"}, {want: "aa", kept: "aa", restored: "aa"}}))
	require.ErrorIs(t, printTable(&out, []result{{want: "aa", kept: "aa"}, {want: "aa", kept: "aa", restored: "bb"}}), errDiffers)
	require.Contains(t, out.String(), "DIFFERS")
	require.ErrorIs(t, printTable(&out, []result{{}}), errDiffers, "a point of which nothing is known")
}

// The first example of the README is the code that the quickstart runs.
func TestReadmeShowsThisCode(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	source, err := os.ReadFile("backup.go")
	require.NoError(t, err)
	_, code, ok := strings.Cut(string(source), "\n)\n\n")
	require.True(t, ok)
	require.Contains(t, string(readme), "```go\n"+code+"```\n")
}
